"""Arms of both studies: order, colour and marker, and the one that others are compared with."""

from collections.abc import Mapping, Sequence

from figures import style

REFERENCE = "average"
"""The arm that others are compared with: the mean over tasks."""

ARMS: Mapping[str, tuple[str, str]] = {
    "average": (style.BLACK, "o"),
    "token-mean": (style.GREY, "s"),
    "minimax-0.3": (style.SKY, "^"),
    "minimax": (style.BLUE, "D"),
    "minimax-3": (style.VIOLET, "v"),
    "hard-max": (style.VERMILLION, "X"),
    "excess": (style.GREEN, "P"),
    "attached": (style.PURPLE, "d"),
    "uncertainty": (style.ORANGE, "p"),
    "gradnorm": (style.GREEN, "<"),
    "dwa": (style.PURPLE, ">"),
    "group-dro": (style.ORANGE, "h"),
}
"""Colour and marker of the arms of the presets, in the order in which they are drawn."""

_SPARE = [(c, m) for m in "*H1234" for c in (style.VERMILLION, style.SKY, style.GREEN, style.GREY)]
"""For arms of other names."""


def arm_look(arm: str, arms: Sequence[str]) -> tuple[str, str]:
    """Colour and marker of an arm among those of a figure."""
    if arm in ARMS:
        return ARMS[arm]
    others = [name for name in arms if name not in ARMS]
    return _SPARE[others.index(arm) % len(_SPARE)]


def in_order(arms: Sequence[str]) -> list[str]:
    """Different arms in the order of `ARMS`, then as they come."""
    known = list(ARMS)
    return sorted(
        dict.fromkeys(arms), key=lambda arm: known.index(arm) if arm in ARMS else len(known)
    )
