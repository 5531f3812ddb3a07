"""The official files of NYU Depth v2 in their formats, with a few small frames."""

import h5py
import numpy as np
from scipy.io import savemat

HEIGHT, WIDTH = 6, 9
NAMES = 60
"""Fewer than the 894 of the official file, for speed."""
HEADER = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Wed May  2 12:00:00 2012 HDF5 schema"


def frames(count, seed=0, size=(HEIGHT, WIDTH)):
    """Arrays as MATLAB shows them: H×W×3×N, H×W×N, H×W×N."""
    rng = np.random.default_rng(seed)
    return {
        "images": rng.integers(0, 256, (*size, 3, count)).astype(np.uint8),
        "depths": rng.uniform(0.7, 9.99, (*size, count)).astype(np.float32),
        "labels": rng.integers(0, NAMES + 1, (*size, count)).astype(np.uint16),
    }


def write_frames(path, arrays, names=NAMES):
    """MATLAB 7.3: HDF5 with the axes in reverse, after 512 bytes that say so."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in arrays.items():
            reverse = np.asfortranarray(values).T
            file.create_dataset(name, data=reverse, chunks=True, compression="gzip")
        cells = file.create_group("#refs#")
        references = np.empty((1, names), h5py.ref_dtype)
        for number in range(names):
            text = np.frombuffer(f"name {number}".encode("utf-16-le"), np.uint16)
            references[0, number] = cells.create_dataset(str(number), data=text[:, None]).ref
        file.create_dataset("names", data=references, dtype=h5py.ref_dtype)
    with path.open("r+b") as stream:
        stream.write(HEADER.ljust(124) + b"\0\2IM")


def maps(seed=0):
    """All names to 40 classes, 40 to 13."""
    rng = np.random.default_rng(seed)
    return rng.integers(1, 41, NAMES), rng.integers(1, 14, 40)


def cell(texts):
    values = np.empty((1, len(texts)), object)
    values[0] = texts
    return values


def write_maps(folder, to_40, to_13):
    savemat(
        folder / "classMapping40.mat",
        {
            "mapClass": np.asarray(to_40, np.float64)[None],
            "className": cell([f"class {number}" for number in range(1, 41)]),
            "allClassName": cell([f"name {number}" for number in range(NAMES)]),
        },
    )
    thirteen = cell([f"kind {number}" for number in range(1, 14)])
    savemat(
        folder / "class13Mapping.mat",
        {"classMapping13": {"labels13": np.asarray(to_13, np.float64)[None], "class13": thirteen}},
    )


def write_splits(folder, train, test):
    columns = {"trainNdxs": np.array(train)[:, None], "testNdxs": np.array(test)[:, None]}
    savemat(folder / "splits.mat", columns)


def write_official(folder, count=5, test=(2, 5), seed=0, size=(HEIGHT, WIDTH)):
    """All files; returns the arrays of the frames and both maps."""
    folder.mkdir(parents=True, exist_ok=True)
    arrays, (to_40, to_13) = frames(count, seed, size), maps(seed)
    write_frames(folder / "nyu_depth_v2_labeled.mat", arrays)
    write_maps(folder, to_40, to_13)
    write_splits(folder, [n for n in range(1, count + 1) if n not in test], list(test))
    return arrays, to_40, to_13
