"""Configuration as data: a preset in YAML, overrides, and a frozen dataclass that checks both.

A study declares a frozen dataclass; a preset is a YAML file with the same fields. Unknown fields,
wrong types and values out of range are refused before any work, each with its place.
"""

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

__all__ = [
    "ConfigurationError",
    "dump",
    "load",
    "message",
    "plain",
    "preset_path",
    "presets",
    "strict",
]

C = TypeVar("C")

PRESETS = Path(__file__).parent / "presets"

strict = ConfigDict(extra="forbid", frozen=True)
"""For ``pydantic.dataclasses.dataclass(config=strict)``: no unknown field passes."""


class ConfigurationError(ValueError):
    """A configuration that cannot be used; the message names the field, the value and a remedy."""


def message(error: Exception) -> str:
    """What an error says; of one from a process that loads data, without that one's traceback."""
    return str(error).rpartition(f"{ConfigurationError.__name__}: ")[2].strip()


def presets(study: str) -> list[str]:
    """Names of the presets of a study ("bert", "mae"), as they can be given to `load`."""
    return sorted(path.stem for path in (PRESETS / study).glob("*.yaml"))


def preset_path(study: str, preset: str) -> Path:
    """The YAML file of a preset: one of ours by name, or a path to one's own.

    Args:
        study: "bert" or "mae".
        preset: a name of `presets`, or a path that ends in .yaml.

    Raises:
        ConfigurationError: there is no such preset.
    """
    path = (
        Path(preset) if preset.endswith((".yaml", ".yml")) else PRESETS / study / f"{preset}.yaml"
    )
    if not path.is_file():
        known = presets(study)
        near = difflib.get_close_matches(preset, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigurationError(
            f"unknown preset {preset!r}{hint} (known: {', '.join(known)}, or a path to a YAML file)"
        )
    return path


def load(
    kind: type[C], path: Path, overrides: Sequence[str] = (), *, study: str | None = None
) -> C:
    """Read a preset, apply overrides, check everything.

    Args:
        kind: a dataclass; nested dataclasses are nested mappings in YAML.
        path: the YAML file. A field ``inherits: NAME`` starts from the preset of that name: in the
            same folder, or one of ours.
        overrides: ``key=value`` with dots for nested fields; the value is read as YAML.
        study: whose presets can be inherited.

    Returns:
        An instance of the dataclass.

    Raises:
        ConfigurationError: YAML that cannot be read, an unknown field, a value of the wrong type or
            out of range.
    """
    content = _read(path, study)
    for override in overrides:
        _apply(content, override)
    try:
        return TypeAdapter(kind).validate_python(content)
    except ValidationError as error:
        raise ConfigurationError(_explain(error, path)) from None


def dump(configuration: Any, *, without: Collection[str] = ()) -> str:
    """The whole configuration as YAML, every default written out, to be kept beside results.

    Args:
        configuration: a dataclass.
        without: fields that are left out.
    """
    kept = {name: value for name, value in asdict(configuration).items() if name not in without}
    text: str = yaml.safe_dump(plain(kept), sort_keys=False, allow_unicode=True)
    return text


def _read(path: Path, study: str | None, seen: tuple[Path, ...] = ()) -> dict[str, Any]:
    if path in seen:
        raise ConfigurationError(f"{path}: `inherits` goes in a circle")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError(f"{path}: {error}") from error
    if not isinstance(content, dict):
        raise ConfigurationError(f"{path}: should be a mapping of fields; found {content!r}")
    parent = content.pop("inherits", None)
    if parent is None:
        return content
    return _merged(_read(_parent(path, parent, study), study, (*seen, path)), content)


def _parent(path: Path, name: Any, study: str | None) -> Path:
    """The preset that another inherits from."""
    folders = [path.parent] if study is None else [path.parent, PRESETS / study]
    if isinstance(name, str) and "/" not in name:
        for folder in folders:
            if (folder / f"{name}.yaml").is_file():
                return folder / f"{name}.yaml"
    known = ", ".join([] if study is None else presets(study))
    raise ConfigurationError(
        f"{path}: `inherits` should name a preset in its folder or one of ours ({known}); "
        f"found {name!r}"
    )


def _merged(base: Mapping[str, Any], update: Mapping[str, Any]) -> dict[str, Any]:
    """`update` over `base`, mapping by mapping."""
    result = dict(base)
    for key, value in update.items():
        old = result.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        result[key] = _merged(old, value) if both else value  # type: ignore[arg-type]
    return result


def _apply(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigurationError(f"--set {override!r}: should be key=value, such as model.layers=4")
    *parents, last = key.strip().split(".")
    for parent in parents:
        content = content.setdefault(parent, {})
        if not isinstance(content, dict):
            raise ConfigurationError(f"--set {override!r}: {parent!r} has no fields")
    try:
        content[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigurationError(f"--set {override!r}: {error}") from error


def _explain(error: ValidationError, path: Path) -> str:
    lines = []
    for each in error.errors():
        if each["type"] == "value_error":  # our own checks, which say what they found
            lines.append(each["msg"].removeprefix("Value error, "))
            continue
        place = ".".join(str(part) for part in each["loc"])
        lines.append(f"`{place}`: {each['msg']}; found {each['input']!r}")
    return f"{path}: " + "; ".join(lines)


def plain(value: Any) -> Any:
    """A value with tuples as lists and paths as text, for YAML."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, tuple | list):
        return [plain(each) for each in value]
    return str(value) if isinstance(value, Path) else value
