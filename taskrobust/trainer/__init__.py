"""Task-robust training with transformers' Trainer; needs the extra ``taskrobust[transformers]``."""

from taskrobust.trainer.checkpoints import last_complete_checkpoint
from taskrobust.trainer.trainer import TaskRobustTrainer

__all__ = ["TaskRobustTrainer", "last_complete_checkpoint"]
