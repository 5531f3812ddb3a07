"""Measuring the sample complexity of constrained empirical risk minimisation, Eq. (3)."""
