"""A model in a folder: its configuration as YAML and its parameters as safetensors, no pickle."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from experiments.configuration import ConfigurationError, dump, load
from experiments.mae.configuration import ModelSize
from experiments.mae.model.model import MultiModalMaskMae

__all__ = ["CONFIGURATION", "WEIGHTS", "load_model", "load_weights", "save_model"]

CONFIGURATION = "model.yaml"
WEIGHTS = "model.safetensors"
"""As `transformers.Trainer` names them."""


def save_model(model: MultiModalMaskMae, folder: Path) -> None:
    """Write a model, in a form that `load_model` reads.

    Args:
        model: to be saved.
        folder: made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / CONFIGURATION).write_text(dump(model.size), encoding="utf-8")


def load_model(folder: Path) -> MultiModalMaskMae:
    """The model that `save_model` wrote.

    Raises:
        ConfigurationError: a file is missing, damaged or of another model.
    """
    model = MultiModalMaskMae(load(ModelSize, folder / CONFIGURATION))
    load_weights(model, folder / WEIGHTS)
    return model


def load_weights(model: nn.Module, path: Path) -> None:
    """Read all parameters of a model from a safetensors file.

    Raises:
        ConfigurationError: the file cannot be read, or its tensors are not those of the model; the
            message names the first of them.
    """
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    _check(model.state_dict(), found, path)
    model.load_state_dict(found)


def _check(wanted: dict[str, Tensor], found: dict[str, Tensor], path: Path) -> None:
    remedy = "give the configuration of the model that the file was saved from"
    for name, tensor in wanted.items():
        if name not in found:
            raise ConfigurationError(f"{path}: has no {name}; {remedy}")
        if found[name].shape != tensor.shape:
            raise ConfigurationError(
                f"{path}: {name} should have shape {tuple(tensor.shape)}; "
                f"found {tuple(found[name].shape)} (another patch size, width or number of "
                f"classes?); {remedy}"
            )
    unknown = [name for name in found if name not in wanted]
    if unknown:
        raise ConfigurationError(f"{path}: has {unknown[0]}, which the model has not; {remedy}")
