"""The paper's experiments: its studies, and its tables as runs beside the printed values."""
