"""Peer algorithms for the same minimax problem, one file each, and a registry of them."""

from theory.solvers.registry import SOLVERS, Solver
from theory.solvers.result import Checkpoint, Recorder, Result

__all__ = ["SOLVERS", "Checkpoint", "Recorder", "Result", "Solver"]
