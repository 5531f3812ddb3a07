"""What processes of torchrun agree on, so that none waits for another that has given up."""

import os
import sys
from pathlib import Path

from experiments.runs import BusyError, start

__all__ = ["any_process", "is_first", "refusal_of_any", "start_together"]


def is_first() -> bool:
    """Whether this is the process that writes, of those of torchrun."""
    return int(os.environ.get("RANK", "0")) == 0


def refusal_of_any(mine: str | None) -> str | None:
    """The refusal of the first process that has one, in all of them.

    Args:
        mine: of this process; None if it has nothing against going on.
    """
    distributed = sys.modules.get("torch.distributed")  # loaded if there are several processes
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return mine
    found: list[str | None] = [None] * distributed.get_world_size()
    distributed.all_gather_object(found, mine)
    return next((each for each in found if each is not None), None)


def any_process(mine: bool) -> bool:
    """Whether something is so in any process of torchrun."""
    return refusal_of_any("so" if mine else None) is not None


def start_together(folder: Path, configuration: str, *, first: bool) -> None:
    """`experiments.runs.start` in the first process; its refusal is raised in all.

    Args:
        folder: of the run.
        configuration: all that it depends on, as text.
        first: whether this is the first process.

    Raises:
        BusyError: another process is at this run.
    """
    refusal = None
    if first:
        try:
            start(folder, configuration)
        except BusyError as error:
            refusal = str(error)
    refusal = refusal_of_any(refusal)
    if refusal is not None:
        raise BusyError(refusal)
