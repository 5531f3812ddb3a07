"""How near downstream risks are to convex combinations of upstream ones (Eq. 9, Prop. 5.1)."""
