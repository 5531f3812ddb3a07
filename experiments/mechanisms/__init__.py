"""Mechanisms behind the results, measured: whether what the theory supposes holds in training."""
