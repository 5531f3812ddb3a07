"""Multi-Modal Mask MAE: masked reconstruction with one task for each modality, then fine-tuning."""
