"""Other libraries' reports and collections of garbage, where they only cost time."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import transformers

__all__ = ["quick_collections", "quiet"]


@contextmanager
def quiet() -> Iterator[None]:
    """No bars and reports of transformers within."""
    level, bars = (
        transformers.logging.get_verbosity(),
        transformers.logging.is_progress_bar_enabled(),
    )
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers.logging.set_verbosity(level)
        if bars:
            transformers.logging.enable_progress_bar()


@contextmanager
def quick_collections() -> Iterator[None]:
    """Spare what is loaded by now: else the Trainer collects garbage for a second at each start."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
