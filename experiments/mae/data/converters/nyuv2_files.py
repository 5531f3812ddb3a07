"""The official files of NYU Depth v2, as arrays in the order of images.

``nyu_depth_v2_labeled.mat`` is MATLAB 7.3, that is HDF5. MATLAB stores columns first, so that HDF5
shows each array with its axes in reverse: colour, H×W×3×N in MATLAB, is ``[N, 3, W, H]``. The other
files are MATLAB 5. The frames are numbered from 1.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat

from experiments.configuration import ConfigurationError

__all__ = ["FRAMES", "MAP_13", "MAP_40", "SPLITS", "Frame", "Frames", "class_tables", "open_frames",
           "read_splits"]  # fmt: skip

FRAMES, SPLITS = "nyu_depth_v2_labeled.mat", "splits.mat"
MAP_40, MAP_13 = "classMapping40.mat", "class13Mapping.mat"

_CACHE = 64 << 20
"""Bytes of HDF5's cache, so that a chunk that spans frames is unpacked once."""

Table = NDArray[np.uint8]


@dataclass(frozen=True)
class Frame:
    """One of the labelled frames."""

    rgb: NDArray[np.uint8]
    """``[H, W, 3]``."""
    depth: NDArray[np.float32]
    """``[H, W]`` in metres, missing values filled in by the authors."""
    labels: NDArray[np.uint16]
    """``[H, W]``: 0 unlabelled, then the names of the file in order."""


@dataclass(frozen=True)
class Frames:
    """The labelled frames of an open file, read one at a time.

    The arrays are kept open, for HDF5's cache is that of an open array.
    """

    path: Path
    images: h5py.Dataset
    depths: h5py.Dataset
    labels: h5py.Dataset
    names: int
    """Names that labels can have."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Frame:
        try:
            return Frame(
                np.ascontiguousarray(self.images[index].transpose(2, 1, 0)),
                np.ascontiguousarray(self.depths[index].T),
                np.ascontiguousarray(self.labels[index].T),
            )
        except (OSError, RuntimeError) as error:
            raise ConfigurationError(
                f"{self.path}: frame {index + 1} cannot be read ({error}); fetch the file again"
            ) from error


@contextmanager
def open_frames(path: Path) -> Iterator[Frames]:
    """Open ``nyu_depth_v2_labeled.mat``, and check what its arrays are.

    Raises:
        ConfigurationError: no such file, not HDF5, cut off, or other arrays than it should have.
    """
    try:
        file = h5py.File(path, "r", rdcc_nbytes=_CACHE)
    except OSError as error:
        raise ConfigurationError(
            f"{path}: should be the labelled data set of NYU Depth v2 in MATLAB 7.3 (HDF5); found "
            f"something else ({error}); fetch it again"
        ) from error
    with file:
        for name in ("images", "depths", "labels", "names"):
            if not isinstance(file.get(name), h5py.Dataset):
                raise ConfigurationError(
                    f"{path}: should have the array {name!r}; found {', '.join(file)}; fetch it "
                    "again"
                )
        images, depths, labels = file["images"], file["depths"], file["labels"]
        _check(path, "labels", labels, (None, None, None), "u")
        _check(path, "depths", depths, labels.shape, "f")
        _check(path, "images", images, (labels.shape[0], 3, *labels.shape[1:]), "u")
        if images.dtype != np.uint8:
            raise ConfigurationError(
                f"{path}: `images` should be uint8; found {images.dtype}; fetch it again"
            )
        yield Frames(path, images, depths, labels, int(file["names"].size))


def read_splits(path: Path, frames: int) -> dict[str, list[int]]:
    """Frame numbers, from 1, of ``train`` and ``test``, ascending.

    Args:
        path: ``splits.mat``, with `trainNdxs` and `testNdxs`.
        frames: how many there are.

    Raises:
        ConfigurationError: the file is something else, or a number is out of range or there twice.
    """
    found: dict[str, list[int]] = {}
    seen: set[int] = set()
    for split in ("train", "test"):
        name = f"{split}Ndxs"
        numbers = _integers(path, name, _variable(path, name), 1, frames)
        for number in numbers.tolist():
            if number in seen:
                raise ConfigurationError(
                    f"{path}: `{name}` should have each frame once and in one split; found "
                    f"{number} again; fetch the file again"
                )
            seen.add(number)
        found[split] = sorted(numbers.tolist())
    return found


def class_tables(folder: Path, names: int, classes: int) -> tuple[Table, tuple[str, ...]]:
    """What a label of the file is among 40 or 13 classes.

    Args:
        folder: with ``classMapping40.mat`` and, for 13 classes, ``class13Mapping.mat``.
        names: that labels can have, of `Frames.names`.
        classes: 40 or 13.

    Returns:
        Class by label ``[names + 1]``, from 1, 0 being unlabelled; and the names of the classes.

    Raises:
        ConfigurationError: a file is something else, or does not fit the labels.
    """
    path = folder / MAP_40
    to_40 = _integers(path, "mapClass", _variable(path, "mapClass"), 0, 40)
    if len(to_40) != names:
        raise ConfigurationError(
            f"{path}: `mapClass` should have a class for each of the {names} names in {FRAMES}; "
            f"found {len(to_40)}; fetch both again"
        )
    table = np.insert(to_40, 0, 0)
    if classes == 40:
        return table.astype(np.uint8), _strings(path, "className", _variable(path, "className"), 40)
    path = folder / MAP_13
    fields = _fields(path, "classMapping13")
    to_13 = _integers(path, "labels13", fields[0], 0, 13)
    if len(to_13) != 40:
        raise ConfigurationError(
            f"{path}: `labels13` should have 40 classes; found {len(to_13)}; fetch it again"
        )
    return (
        np.insert(to_13, 0, 0)[table].astype(np.uint8),
        _strings(path, "classMapping13", fields[1], 13),
    )


def _check(
    path: Path, name: str, array: h5py.Dataset, shape: tuple[int | None, ...], kind: str
) -> None:
    fits = array.ndim == len(shape) and all(
        wanted in (None, found) for wanted, found in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype.kind != kind or 0 in array.shape:
        wanted = "×".join("any" if each is None else str(each) for each in shape)
        what = {"u": "unsigned integers", "f": "floating point"}[kind]
        raise ConfigurationError(
            f"{path}: `{name}` should be {wanted} of {what} (frames, then width × height, as HDF5 "
            f"shows MATLAB's arrays); found {'×'.join(map(str, array.shape))} of {array.dtype}; "
            "fetch it again"
        )


def _variable(path: Path, name: str) -> NDArray[Any]:
    """A variable of a file of MATLAB 5; such a file holds no code."""
    try:
        content = loadmat(io.BytesIO(path.read_bytes()), variable_names=[name])
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path}: is missing; put it beside {FRAMES}, under this name"
        ) from None
    except Exception as error:  # damage shows as almost any exception of scipy's
        raise ConfigurationError(
            f"{path}: cannot be read as a file of MATLAB 5 ({error}); fetch it again"
        ) from error
    if name not in content:
        raise ConfigurationError(
            f"{path}: should have the variable {name!r}; found none; fetch it again"
        )
    found: NDArray[Any] = content[name]
    return found


def _integers(
    path: Path, name: str, values: NDArray[Any], least: int, most: int
) -> NDArray[np.int64]:
    """Whole numbers of a range ``[n]``, whether they are stored as a row or as a column."""
    flat = np.ravel(values)
    if not flat.size or flat.dtype.kind not in "iuf":
        raise ConfigurationError(
            f"{path}: `{name}` should be numbers; found {flat.size} of {flat.dtype}; fetch it again"
        )
    wrong = ~((flat >= least) & (flat <= most) & (flat == np.round(flat)))
    if wrong.any():
        raise ConfigurationError(
            f"{path}: `{name}` should be whole numbers of {least} to {most}; found "
            f"{flat[wrong][0]}; fetch it again"
        )
    return flat.astype(np.int64)


def _strings(path: Path, name: str, values: NDArray[Any], count: int) -> tuple[str, ...]:
    """Strings of a cell array."""
    found = tuple(str(np.squeeze(each)) for each in np.ravel(values))
    if len(found) != count or not all(found):
        raise ConfigurationError(
            f"{path}: `{name}` should have {count} names of classes; found {found}; fetch it again"
        )
    return found


def _fields(path: Path, name: str) -> list[NDArray[Any]]:
    """The first two fields of a structure, whatever the second is called."""
    found = _variable(path, name)
    names = found.dtype.names or ()
    if len(names) < 2 or names[0] != "labels13" or found.size != 1:
        raise ConfigurationError(
            f"{path}: `{name}` should be a structure of `labels13` and of the names of 13 classes; "
            f"found {names or found.dtype}; fetch it again"
        )
    return [found.ravel()[0][each] for each in names[:2]]
