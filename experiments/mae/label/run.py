"""Pseudo-labels for all images of a folder or manifest, batch by batch."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from experiments.configuration import ConfigurationError
from experiments.mae.data.build import build_manifest
from experiments.mae.data.declarations import DepthFiles, LabelFiles
from experiments.mae.data.files import stored_values
from experiments.mae.data.manifest import Manifest
from experiments.mae.label import record
from experiments.mae.label.images import RgbImage, checked_images, place
from experiments.mae.label.models import Inputs, Rgb
from experiments.mae.label.stored import Stored, digest, is_of, write
from experiments.progress import Stages

__all__ = ["Labeller", "label"]


class Labeller(Protocol):
    """Such as `depth.DepthModel` and `semantics.SemanticModel`."""

    @property
    def files(self) -> DepthFiles | LabelFiles:
        """What is stored."""
        ...

    def prepare(self, image: Rgb) -> Inputs:
        """What the network is given for an image ``[H, W, 3]``."""
        ...

    def predict(self, inputs: Sequence[Inputs], sizes: Sequence[tuple[int, int]]) -> list[Stored]:
        """Labels of images whose inputs have the same shape, at their sizes."""
        ...

    def describe(self) -> dict[str, Any]:
        """What labels depend on."""
        ...


def label(
    data: Path,
    out: Path,
    labellers: Sequence[Labeller],
    *,
    batch_size: int = 16,
    copy: bool = False,
    threads: int = 4,
    command: str = "",
    stages: Stages | None = None,
) -> Manifest:
    """Write labels to ``out/{split}/{modality}/[class/]{stem}.png``, and a manifest of all.

    Labels that are there are kept, if they are of the same model, settings and image. Batches are
    the same ones whether a run was interrupted or not.

    Args:
        data: a folder with ``{split}/rgb/[class/]{stem}.ext``, or a manifest.
        out: a folder; that of the images itself is allowed.
        labellers: what makes the labels.
        batch_size: images that a network sees together, if its image processor makes them of the
            same shape.
        copy: images into `out`, rather than links to them.
        threads: that read, prepare and write images.
        command: as typed, for the record.
        stages: shows the progress; on standard error if None.

    Returns:
        The manifest ``out/manifest.jsonl`` of the images and all their labels.

    Raises:
        ConfigurationError: an image cannot be read, `out` holds something else, or a network
            predicts something impossible; the first two before any label is made.
    """
    stages = stages or Stages()
    if batch_size < 1 or threads < 1:
        raise ConfigurationError(
            f"--batch-size and --threads should be positive; found {batch_size} and {threads}"
        )
    identities = {each.files.name: each.describe() for each in labellers}
    before = record.read(out)
    for name, identity in identities.items():
        record.check(out, name, identity, before)
    images, header = checked_images(data, threads, stages)
    out.mkdir(parents=True, exist_ok=True)
    place(images, out, copy=copy)
    made = {each.files.name: (each.files, identities[each.files.name]) for each in labellers}
    entries = record.record(out, made, command)
    # Those of the same size together, so that they share batches.
    ordered = sorted(images, key=lambda each: (each.size, each.split, each.stem))
    for labeller in labellers:
        _label_all(labeller, ordered, out, batch_size, threads, stages)
    rgb = images[0].files
    origin = {"source": str(data), "digest": header.digest, **header.provenance}
    return build_manifest(
        out,
        [rgb, *record.declared(entries)],
        provenance={
            **{f"{rgb.name} {key}": value for key, value in origin.items()},
            **record.flat(entries),
        },
        stages=stages,
    )


@dataclass(frozen=True, eq=False)
class _Loaded:
    image: RgbImage
    digest: str
    inputs: Inputs

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.inputs["pixel_values"].shape)


def _label_all(
    labeller: Labeller,
    images: Sequence[RgbImage],
    out: Path,
    batch_size: int,
    threads: int,
    stages: Stages,
) -> None:
    """Label all images that have no label of this kind yet."""
    name = labeller.files.name
    paths = [out / each.split / name / f"{each.stem}.png" for each in images]
    with ThreadPoolExecutor(threads) as pool:
        done = []
        with stages.stage(f"look for {name}", "images", len(images)) as advance:
            for each in pool.map(_is_done, images, paths):
                done.append(each)
                advance(1, False)
        every = (slice(start, start + batch_size) for start in range(0, len(images), batch_size))
        spans = [span for span in every if not all(done[span])]
        batches = _ahead(pool, labeller, [images[span] for span in spans])
        with stages.stage(name, "images", len(images)) as advance:
            advance(sum(done), True)
            for span, batch in zip(spans, batches, strict=True):
                # All of a batch are predicted again, so that it is the same batch as before.
                labels = _predicted(labeller, batch)
                writes = [
                    pool.submit(write, path, stored, loaded.digest)
                    for path, stored, loaded, there in zip(
                        paths[span], labels, batch, done[span], strict=True
                    )
                    if not there
                ]
                for each_write in writes:
                    each_write.result()
                advance(len(writes), False)


def _predicted(labeller: Labeller, batch: Sequence[_Loaded]) -> list[Stored]:
    """Labels of images in their order; those of the same shape are predicted together."""
    groups: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for number, each in enumerate(batch):
        groups[each.shape].append(number)
    found: dict[int, Stored] = {}
    for numbers in groups.values():
        group = [batch[number] for number in numbers]
        try:
            labels = labeller.predict(
                [each.inputs for each in group], [each.image.size for each in group]
            )
        except ValueError as error:
            raise ConfigurationError(
                f"{labeller.files.name} of one of {', '.join(str(x.image.path) for x in group)}: "
                f"{error}; try --batch-size 1 to tell which, and another model"
            ) from error
        found.update(zip(numbers, labels, strict=True))
    return [found[number] for number in range(len(batch))]


def _ahead(
    pool: ThreadPoolExecutor, labeller: Labeller, batches: Iterable[Sequence[RgbImage]]
) -> Iterator[list[_Loaded]]:
    """Batches, the next of which is loaded while one is used."""
    waiting = ([pool.submit(_load, each, labeller) for each in batch] for batch in batches)
    now = next(waiting, None)
    while now is not None:
        following = next(waiting, None)
        yield [each.result() for each in now]
        now = following


def _is_done(image: RgbImage, path: Path) -> bool:
    return path.exists() and is_of(path, digest(image.path.read_bytes()), image.size)


def _load(image: RgbImage, labeller: Labeller) -> _Loaded:
    content = image.path.read_bytes()
    values = stored_values(image.path, image.files, content)
    return _Loaded(image, digest(content), labeller.prepare(values))
