"""Every mathematical claim of arXiv 2306.12070, checked against optima a convex solver certified.

`python -m theory` runs the ledger. The pieces are useful on their own: state a convex problem
(`theory.problems`), certify its minimax optimum (`theory.optima.certify`), run Algorithm 1 on it
(`theory.descent.descend`) and compare with any bound (`theory.bounds`).
"""
