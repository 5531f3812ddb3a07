"""Models of transformers that read one image: loaded from safetensors alone, complete, tried."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoConfig, AutoImageProcessor, PreTrainedModel
from transformers.utils import cached_file

from experiments.configuration import ConfigurationError
from experiments.quiet import quiet

__all__ = ["FAILURES", "ImageModel", "Inputs", "LoadedModel", "Rgb", "find", "first_line", "load"]

Rgb = NDArray[np.uint8]
Inputs = dict[str, Tensor]
"""What the image processor makes of one image, each tensor with a batch dimension of 1."""

_VOLATILE = frozenset({"_name_or_path", "name_or_path", "transformers_version", "dtype"})
"""Fields of configurations that change with place and version, not with what is computed."""
FAILURES = (
    RuntimeError, ValueError, TypeError, AttributeError, KeyError, IndexError, SafetensorError,
)  # fmt: skip
"""What models and processors raise when they are given something that they do not take."""


@dataclass(frozen=True)
class ImageModel:
    """A model before its weights are read.

    Attributes:
        name: id on the Hub, or folder.
        commit: of the Hub, on which all further files are read; None for a folder.
        config: its configuration.
    """

    name: str
    commit: str | None
    config: Any


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model, its image processor, and where it came from."""

    source: ImageModel
    network: PreTrainedModel
    processor: Any
    digest: str
    """SHA-256 of weights, configuration and image processor."""
    device: torch.device
    precision: torch.dtype
    """float32, or a narrower one in which products are computed."""

    def prepare(self, image: Rgb, **options: Any) -> Inputs:
        """An image ``[H, W, 3]`` as the image processor gives it to the network."""
        # A PIL image: an array of 3 rows could be taken for one with its channels first.
        made = self.processor(images=Image.fromarray(image), return_tensors="pt", **options)
        return {name: values for name, values in made.items() if isinstance(values, Tensor)}

    @torch.inference_mode()
    def __call__(self, inputs: Sequence[Inputs]) -> Any:
        """Outputs of the network for prepared images of the same shape, together."""
        batch = {
            name: torch.cat([each[name] for each in inputs]).to(self.device) for name in inputs[0]
        }
        narrow = self.precision != torch.float32
        with torch.autocast(self.device.type, self.precision, enabled=narrow):
            return self.network(**batch)

    def describe(self) -> dict[str, Any]:
        """Id, commit, digest, class, configuration of the image processor, precision."""
        return {
            "model": self.source.name,
            "commit": self.source.commit,
            "digest": self.digest,
            "class": type(self.network).__name__,
            "image processor": _plain(self.processor.to_dict()),
            "precision": str(self.precision).removeprefix("torch."),
        }


def find(name: str, revision: str | None, option: str) -> ImageModel:
    """Read a model's configuration.

    Args:
        name: id on the Hub, or folder.
        revision: branch, tag or commit of the Hub; None: the default branch.
        option: that gave the name, for messages.

    Raises:
        ConfigurationError: there is no such model, transformers does not know its kind, it needs
            code of its own, or a folder is given with a revision.
    """
    if revision is not None and Path(name).is_dir():
        raise ConfigurationError(
            f"{option}-revision should be of a model of the Hub; found {revision!r} for the folder "
            f"{name}; leave it out"
        )
    try:
        with quiet():
            path = Path(cached_file(name, "config.json", revision=revision))
            snapshot = path.parent.parent.name == "snapshots"
            commit = path.parent.name if snapshot and not Path(name).is_dir() else None
            config = AutoConfig.from_pretrained(
                name, revision=commit or revision, trust_remote_code=False
            )
    except (OSError, ValueError, KeyError) as error:
        what = "found" if isinstance(error, OSError) else "used"
        raise ConfigurationError(
            f"{option} {name!r}{_at(revision)}: cannot be {what} ({first_line(error)}); give an id "
            "of the Hub (cached, or with a network), or a folder of save_pretrained"
        ) from error
    return ImageModel(name, commit, config)


def load(
    source: ImageModel,
    kind: Any,
    option: str,
    *,
    device: torch.device,
    precision: torch.dtype = torch.float32,
) -> LoadedModel:
    """Read a model's weights, from safetensors alone, and its image processor.

    Weights that the files lack become NaN, so that a network that computes with any of them is
    found out by what it puts out; some published models lack weights that nothing uses.

    Args:
        source: from `find`.
        kind: an AutoModel of transformers.
        option: that gave the name, for messages.
        device: that computes.
        precision: float32, or a narrower one for products.

    Raises:
        ConfigurationError: there are no such weights, or no image processor, or weights have other
            shapes than the configuration says.
    """
    try:
        with quiet():
            network, report = kind.from_pretrained(
                source.name,
                revision=source.commit,
                config=source.config,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                ignore_mismatched_sizes=True,  # reported below, by name
                output_loading_info=True,
            )
            processor = AutoImageProcessor.from_pretrained(
                source.name, revision=source.commit, trust_remote_code=False
            )
    except (*FAILURES, OSError) as error:
        raise ConfigurationError(
            f"{option} {source.name!r}: cannot be loaded ({first_line(error)}); it should have "
            "weights in safetensors, for pickled ones are not read (load it where you trust it and "
            "write it with save_pretrained), and a preprocessor_config.json"
        ) from error
    for key, stored, wanted in sorted(report["mismatched_keys"]):
        raise ConfigurationError(
            f"{option} {source.name!r}: {key} should have the shape {tuple(wanted)} of "
            f"{type(network).__name__}; found {tuple(stored)}; give a model that was trained for "
            "this, with the config.json that belongs to it"
        )
    _forget(network, set(report["missing_keys"]))
    network.eval().requires_grad_(False)
    digest = _digest(network, processor)
    return LoadedModel(source, network.to(device), processor, digest, device, precision)


def _forget(network: PreTrainedModel, missing: set[str]) -> None:
    """Put NaN where the files have no weights."""
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name in missing and tensor.is_floating_point():
                tensor.fill_(torch.nan)


def _digest(network: PreTrainedModel, processor: Any) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    for each in (network.config, processor):
        found.update(json.dumps(_plain(each.to_dict()), sort_keys=True).encode())
    return found.hexdigest()


def _plain(content: dict[str, Any]) -> Any:
    """Of a configuration, what can be written as JSON and does not change with time."""

    def without(fields: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in fields.items() if name not in _VOLATILE}

    return json.loads(json.dumps(content, default=str), object_hook=without)


def first_line(error: Exception) -> str:
    """The first line of an error's message, without its full stop."""
    return str(error).strip().partition("\n")[0].rstrip(".")


def _at(revision: str | None) -> str:
    return f" at {revision}" if revision else ""
