"""Softmax weighting outside convexity, beside a convex control whose minimax value is certified."""
