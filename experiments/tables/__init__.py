"""The paper's tables as runs, each beside its printed values; so far Table 3."""
