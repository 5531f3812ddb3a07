"""What a preparation depends on, so that finished and interrupted ones are told apart."""

import hashlib
import json
import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from experiments.bert import tags
from experiments.bert.preparation.generated import GRAMMAR
from experiments.bert.preparation.sources import Sources
from experiments.bert.preparation.tagger import tagger_named
from experiments.bert.tags import table_key

__all__ = ["cache_key", "identity", "versions"]

_HERE = Path(__file__).parent


def identity(where: Sources, tokenizer: PreTrainedTokenizerBase | None) -> dict[str, Any]:
    """Configuration and content of all that goes in; the number of processes changes nothing.

    Args:
        where: the sources; their files are read through once.
        tokenizer: the given one; None if one is to be trained.

    Returns:
        Plain data, as YAML and JSON give it back.
    """
    configuration = asdict(where.preparation)
    del configuration["processes"]
    found = {
        "preparation": configuration,
        "tag_table": table_key(),
        "tagger_model": tagger_named(where.preparation.tagger).digest(),
        "vocabulary": None if tokenizer is None else _digest(_tokenizer_bytes(tokenizer)),
        "inputs": _inputs(where),
    }
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def versions() -> dict[str, str]:
    """Versions of what decides on the result."""
    packages = ("datasets", "nltk", "tokenizers", "transformers", "numpy")
    return {
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def cache_key(found: Mapping[str, Any]) -> str:
    """Name of the folder of an interrupted preparation: inputs, versions, and our own code.

    Args:
        found: from `identity`.
    """
    code = sorted([*_HERE.glob("*.py"), *_HERE.glob("*.yaml"), Path(tags.__file__)])
    text = json.dumps([found, versions(), [_digest_of(path) for path in code]], sort_keys=True)
    return _digest([text.encode()])[:16]


def _inputs(where: Sources) -> dict[str, str]:
    """Digest of each file, or what ``datasets`` says identifies a data set of the Hub."""
    paths = sorted({path for files in where.files.values() for path in files})
    if where.preparation.source == "generated":
        return {GRAMMAR.name: _digest_of(GRAMMAR)}
    return {
        **{_name(path, where.folder): _digest_of(path) for path in paths},
        **{texts.name: texts.fingerprint for texts in where.hub},
    }


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _tokenizer_bytes(tokenizer: PreTrainedTokenizerBase) -> Iterable[bytes]:
    yield tokenizer.backend_tokenizer.to_str().encode()


def _digest_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
