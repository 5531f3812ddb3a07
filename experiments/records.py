"""Records of finished runs: where they lie, read with the standard library alone."""

import json
from pathlib import Path
from typing import Any

__all__ = ["RESULT", "RecordError", "collect", "read", "require", "run_folder"]

RESULT = "result.json"
"""Name of the file that a finished run leaves in its folder."""


class RecordError(RuntimeError):
    """The record of a run cannot be used; the message names the file."""


def run_folder(out: Path, arm: str, seed: int) -> Path:
    """Where a run keeps its checkpoints, model and result."""
    return out / arm / f"seed-{seed}"


def collect(out: Path) -> list[dict[str, Any]]:
    """Results of all finished runs below a folder, by arm and seed.

    Raises:
        RecordError: a result is damaged, or is not of the folder it lies in.
    """
    found = []
    for path in out.glob(f"*/seed-*/{RESULT}"):
        result = read(path)
        arm, seed = result.get("arm"), result.get("seed")
        if not isinstance(seed, int) or run_folder(out, str(arm), seed) != path.parent:
            raise RecordError(
                f"{path} should be of the arm and seed of its folder; found arm {arm!r}, "
                f"seed {seed!r}"
            )
        found.append(result)
    return sorted(found, key=lambda result: (result["arm"], result["seed"]))


def require(result: dict[str, Any], *fields: str) -> None:
    """Check that a record has fields that are about to be used.

    Args:
        result: the content of a ``result.json``.
        fields: their names.

    Raises:
        RecordError: one is missing.
    """
    for field in fields:
        if field not in result:
            names = [str(result[key]) for key in ("arm", "task") if key in result]
            run = "/".join([*names, f"seed-{result.get('seed')}"])
            raise RecordError(f"{RESULT} of {run} has no {field!r}; remove it to run anew")


def read(path: Path) -> dict[str, Any]:
    """The content of one ``result.json``.

    Raises:
        RecordError: the file cannot be read or is damaged.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecordError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise RecordError(f"{path} is not valid JSON: {error}; remove it to run anew") from error
    if not isinstance(content, dict):
        raise RecordError(f"{path} should hold an object; found {type(content).__name__}")
    return content
