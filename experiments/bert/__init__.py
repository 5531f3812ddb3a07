"""PoS-BERT: masked-token pre-training with one task for each part of speech, then GLUE."""
