"""Pseudo-labels: depth and semantics that published models predict for images without any."""
