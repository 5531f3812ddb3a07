"""``python -m experiments mae label``."""

import argparse
from pathlib import Path

__all__ = ["add_label"]


def add_label(parser: argparse.ArgumentParser) -> None:
    """Give a parser the options of pseudo-labels; ``run(options, command)`` makes them."""
    parser.description = (
        "Predict depth and semantics for images by published models, as files beside the images "
        "with a manifest. What is there is kept: an interrupted command goes on where it was."
    )
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="PATH",
        help="a folder with {split}/rgb/[class/]{stem}.ext, or a manifest",
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="where labels, links to the images and the manifest go; may be the folder of --data",
    )
    parser.add_argument(
        "--depth",
        metavar="MODEL",
        help="for depth, such as Intel/dpt-hybrid-midas: Hub id or folder, safetensors only",
    )
    parser.add_argument("--depth-revision", metavar="REV", help="commit, tag or branch of the Hub")
    parser.add_argument(
        "--depth-kind",
        choices=["inverse", "relative", "metres"],
        help="what the model predicts: inverse as MiDaS, relative as Omnidata, or metres "
        "(default: what its configuration says, if it does)",
    )
    parser.add_argument(
        "--depth-scale",
        type=float,
        metavar="S",
        help="metres of the stored value 1 (default: 0.001, or more where the model reaches far)",
    )
    parser.add_argument(
        "--semseg",
        metavar="MODEL",
        help="for semantics, such as facebook/mask2former-swin-small-coco-panoptic",
    )
    parser.add_argument("--semseg-revision", metavar="REV", help="commit, tag or branch of the Hub")
    parser.add_argument(
        "--batch-size",
        type=int,
        metavar="N",
        default=16,
        help="images that a network sees together (default: %(default)s)",
    )
    parser.add_argument(
        "--device", metavar="D", default="cpu", help="such as cuda or cuda:1 (default: cpu)"
    )
    parser.add_argument(
        "--precision",
        choices=["float32", "bfloat16"],
        default="float32",
        help="of the products of --semseg; depth keeps 32 bits (default: float32)",
    )
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        default=4,
        help="that read and write images (default: %(default)s)",
    )
    parser.add_argument(
        "--copy", action="store_true", help="copy the images to --out rather than link to them"
    )
    parser.set_defaults(run=_Run(parser))


class _Run:
    """Load the models, then label; what is wrong ends in one line."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        self._parser = parser

    def __call__(self, options: argparse.Namespace, command: str) -> int:
        from experiments.configuration import ConfigurationError

        try:
            return _label(options, command)
        except ConfigurationError as error:
            self._parser.error(str(error))
        except OSError as error:  # a full disk, say; what was finished is kept
            self._parser.error(f"{error.filename or 'output'}: {error.strerror or error}")


def _label(options: argparse.Namespace, command: str) -> int:
    import torch

    from experiments.configuration import ConfigurationError
    from experiments.mae.label.depth import load_depth
    from experiments.mae.label.run import Labeller, label
    from experiments.mae.label.semantics import load_semantics

    try:
        device = torch.device(options.device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigurationError(
            f"--device should be cpu or a device of this computer; found {options.device!r} "
            f"({str(error).splitlines()[0]})"
        ) from error
    labellers: list[Labeller] = []
    if options.depth is not None:
        labellers.append(
            load_depth(
                options.depth,
                revision=options.depth_revision,
                kind=options.depth_kind,
                scale=options.depth_scale,
                device=device,
            )
        )
    if options.semseg is not None:
        labellers.append(
            load_semantics(
                options.semseg,
                revision=options.semseg_revision,
                device=device,
                precision=getattr(torch, options.precision),
            )
        )
    if not labellers:
        raise ConfigurationError("--depth or --semseg should name a model; found neither")
    label(
        options.data,
        options.out,
        labellers,
        batch_size=options.batch_size,
        copy=options.copy,
        threads=options.threads,
        command=command,
    )
    return 0
