"""The plot of a `theory.study.Study`: certified gaps of any problem against Theorem 3.1.

Not one of the named figures, for its data are yours.
"""

import numpy as np
from matplotlib.figure import Figure

from figures import style
from theory.study import Study

_COLOURS = (style.BLUE, style.GREEN, style.PURPLE, style.VERMILLION, style.SKY, style.ORANGE)
_MARKERS = "o^DXsv"


def draw(study: Study) -> Figure:
    """Draw the gap of every schedule against the number of steps, log-log.

    Each point stands at the upper end of its certified interval and the bar reaches to the lower
    end (usually invisible). A gap of at most the rounding error has no place on the axis.

    Args:
        study: from `theory.study.study`.

    Returns:
        A figure of one panel; save it with ``figure.savefig``.
    """
    with style.applied():
        figure = Figure(figsize=(0.6 * style.WIDTH, 4.2), layout="constrained")
        axes = figure.add_subplot()
        axes.plot(study.steps, study.bound, color=style.BLACK, label="guarantee $2R_0L'/\\sqrt{K}$")
        for index, (name, gaps) in enumerate(study.gaps.items()):
            upper = np.where(gaps[:, 1] > 0, gaps[:, 1], np.nan)
            reach = np.clip(upper - np.maximum(gaps[:, 0], 0.0), 0.0, upper)
            colour = _COLOURS[index % len(_COLOURS)]
            marker = _MARKERS[index % len(_MARKERS)]
            axes.plot(study.steps, upper, color=colour, marker=marker, label=name)
            axes.vlines(study.steps, upper - 0.999 * reach, upper, color=colour)
        axes.set(
            xscale="log",
            yscale="log",
            xlabel="number of steps $K$",
            ylabel="certified gap $F(\\bar\\theta_K)-F^*$ (loss units)",
            title=f"{study.name}: optimum {float(study.optimum.upper):.6g}",
        )
        axes.legend()
    return figure
