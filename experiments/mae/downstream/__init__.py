"""Fine-tuning of a pre-trained encoder: classification, semantic segmentation, depth."""
