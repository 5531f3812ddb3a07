"""The model of Multi-Modal Mask MAE, in parts."""

from experiments.mae.model.model import MultiModalMaskMae, MultiModalMaskMaeOutput

__all__ = ["MultiModalMaskMae", "MultiModalMaskMaeOutput"]
