"""What one training step of a balancing method costs: passes, FLOPs and wall time."""
