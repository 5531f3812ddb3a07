"""The balancer's part of a checkpoint, and which checkpoints are whole."""

import json
import os
import re
import zipfile
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers.trainer import TRAINER_STATE_NAME

from taskrobust.balancers.base import Balancer

__all__ = [
    "BALANCER_FILE",
    "discard_checkpoint",
    "last_complete_checkpoint",
    "load_balancer",
    "save_balancer",
]

BALANCER_FILE = "balancer.pt"
"""Name of the balancer's file in a checkpoint folder."""


def save_balancer(balancer: Balancer, folder: str | Path, epochs_ended: int) -> None:
    """Write the balancer's state beside the optimiser's, whole or not at all.

    Args:
        balancer: the balancer.
        folder: an existing checkpoint folder.
        epochs_ended: epochs the balancer has been told of.

    Raises:
        OSError: the file cannot be written.
    """
    target = Path(folder) / BALANCER_FILE
    partial = target.with_suffix(f".{os.getpid()}.partial")
    content = {
        "balancer": type(balancer).__name__,
        "task_names": list(balancer.task_names),
        "epochs_ended": epochs_ended,
        "state": balancer.state_dict(),
    }
    try:
        torch.save(content, partial)
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def load_balancer(balancer: Balancer, folder: str | Path) -> int:
    """Restore what `save_balancer` wrote; nothing is unpickled.

    Args:
        balancer: of the same class and with the same task names, in the same order.
        folder: the checkpoint folder.

    Returns:
        Epochs the balancer had been told of.

    Raises:
        FileNotFoundError: the checkpoint has no balancer.
        ValueError: it is damaged, or of another class, other tasks or other options.
    """
    path = Path(folder) / BALANCER_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: the checkpoint was not written by TaskRobustTrainer (or with "
            "save_only_model), so the balancer's state is lost; resume from another checkpoint, or "
            "start anew from its model"
        )
    content = _read(path)
    expected = {"balancer": type(balancer).__name__, "task_names": list(balancer.task_names)}
    for field, value in expected.items():
        if content[field] != value:
            raise ValueError(
                f"{path}: `{field}` should be {value}; found {content[field]}; resume with the "
                "balancer and the tasks of the stopped run"
            )
    try:
        balancer.load_state_dict(content["state"])
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: `state` should fit {balancer!r}; resume with the options of the stopped run "
            f"({error})"
        ) from error
    return int(content["epochs_ended"])


def discard_checkpoint(checkpoint: str | Path) -> None:
    """Take away what makes a checkpoint whole, before another is written over it.

    Args:
        checkpoint: folder of a checkpoint, which need not exist.
    """
    folder = Path(checkpoint)
    for path in (folder / TRAINER_STATE_NAME, *folder.glob("rng_state*.pth")):
        path.unlink(missing_ok=True)


def last_complete_checkpoint(output_dir: str | Path) -> Path | None:
    """The newest checkpoint in a folder that was written to its end; None if there is none.

    A process that is killed while it saves leaves a part of a checkpoint, which is passed over.

    Args:
        output_dir: folder that holds ``checkpoint-N`` folders.

    Returns:
        Its path.
    """
    folder = Path(output_dir)
    steps = {
        int(match.group(1)): path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if path.is_dir() and (match := re.fullmatch(r"checkpoint-(\d+)", path.name))
    }
    return next((steps[n] for n in sorted(steps, reverse=True) if _complete(steps[n])), None)


def _complete(checkpoint: Path) -> bool:
    """Whether the Trainer's state, written last, is there, and no file was cut off."""
    try:
        json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
        for path in checkpoint.glob("*.safetensors"):
            with safe_open(path, "pt"):  # compares the length of the file with its header
                pass
    except (OSError, ValueError, SafetensorError):
        return False
    random_states = list(checkpoint.glob("rng_state*.pth"))
    # An archive has its directory at the end.
    archives = [*random_states, *checkpoint.glob("*.pt")]
    return bool(random_states) and all(zipfile.is_zipfile(path) for path in archives)


def _read(path: Path) -> dict[str, Any]:
    """The content of a balancer's file."""
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
    except (OSError, RuntimeError, EOFError, ValueError, UnpicklingError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(
            f"{path} should be a file written by TaskRobustTrainer; it is damaged or of another "
            f"origin ({reason}); resume from another checkpoint"
        ) from error
    fields = {"balancer", "task_names", "epochs_ended", "state"}
    if not isinstance(content, dict) or set(content) != fields:
        found = sorted(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise ValueError(
            f"{path} should hold {sorted(fields)}, as written by TaskRobustTrainer; found {found}; "
            "resume from another checkpoint"
        )
    return content
