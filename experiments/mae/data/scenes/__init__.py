"""Procedurally rendered scenes: colour, exact depth, semantic labels and a class, from a seed."""
