"""Peer algorithms for the same minimax problem, one file each."""
