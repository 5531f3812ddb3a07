"""Sweeps that survive being killed: one file a point, named by a hash of its configuration.

A point's result is written when it is known, atomically, so that a file is there whole or not at
all. A restarted sweep reads what is there and measures the rest; as each point draws from a
generator of its own, seeded by its configuration, it ends with the numbers of an uninterrupted one.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from taskrobust._files import write_atomically

SCHEMA_VERSION = 1
"""Part of every hash: raised whenever the same configuration would be measured differently."""

Configuration = Mapping[str, Any]
Result = dict[str, Any]


def key(configuration: Configuration) -> str:
    """Name of a configuration: 16 hexadecimal digits.

    Args:
        configuration: a mapping that JSON can hold; the order of its keys does not matter.

    Returns:
        The first 64 bits of the SHA-256 of its canonical JSON and the schema's version.
    """
    text = json.dumps([SCHEMA_VERSION, dict(configuration)], sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def generator(configuration: Configuration) -> np.random.Generator:
    """The random generator that belongs to a configuration."""
    return np.random.default_rng(int(key(configuration), 16))


def sweep(
    configurations: Sequence[Configuration],
    measure: Callable[[Configuration, np.random.Generator], Result],
    directory: Path | None = None,
    done: Callable[[int], None] = lambda _: None,
) -> list[Result]:
    """Measure every point that has no result yet.

    Args:
        configurations: the points.
        measure: from a configuration and its own generator to a result that JSON can hold.
        directory: where the results are kept, created if missing; None keeps nothing.
        done: called with the number of points finished so far, after each.

    Returns:
        The results in the order of the points.

    Raises:
        ValueError: a file in the directory is not the result of the point it is named after.
        OSError: the directory cannot be written.
    """
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
    results = []
    for finished, configuration in enumerate(configurations, start=1):
        path = None if directory is None else directory / f"{key(configuration)}.json"
        if path is not None and path.exists():
            result = _stored(path, configuration)
        else:
            result = measure(configuration, generator(configuration))
            # the numbers of a resumed sweep went through JSON; so should those of any other
            text = json.dumps({"configuration": dict(configuration), "result": result}, indent=1)
            result = json.loads(text)["result"]
            if path is not None:
                write_atomically(path, text + "\n")
        results.append(result)
        done(finished)
    return results


def _stored(path: Path, configuration: Configuration) -> Result:
    """Result in a file, which should belong to the configuration."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        belongs = key(document["configuration"]) == key(configuration)
        result = document["result"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not a result of a sweep; remove it to measure again"
        ) from error
    if not belongs or not isinstance(result, dict):
        raise ValueError(f"{path} holds the result of another point; remove it to measure again")
    return result
