"""The paper's two studies, PoS-BERT and Multi-Modal Mask MAE; its rooms are not built yet."""
