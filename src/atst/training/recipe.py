"""Flat recipes: YAML and `key=value` overrides become a typed dataclass; a wrong key or value is named."""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from importlib import resources
from itertools import chain
from pathlib import Path
from typing import Any, Self

import yaml

from atst.errors import TrainingError, UsageError, unknown
from atst.output.version import KEY, check_version

RECIPE = "recipe.yaml"  # in a run's folder
FORMAT_VERSION = 1  # of it
MOST_VALUES = 10_000  # in a file
LONGEST_NUMBER = 64  # characters


class Settings:
    """Base of the recipes of both trainings, which are frozen dataclasses."""

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """A recipe from its keys; those without a default must be there. Raises `UsageError`."""
        types = {field.name: field.type for field in fields(cls)}  # type: ignore[arg-type]
        for key in values:
            if key not in types:
                raise unknown("recipe key", str(key), types)
        required = [field.name for field in fields(cls) if field.default is MISSING]  # type: ignore[arg-type]
        missing = [key for key in required if key not in values]
        if missing:
            raise UsageError(f"recipe keys missing: {', '.join(missing)}.")
        typed = {key: _typed(key, value, types[key]) for key, value in values.items()}
        if typed.get("precision") == "32":
            typed["precision"] = "float32"
        return cls(**typed)

    @classmethod
    def stored(cls, folder: Path) -> Self | None:
        """The recipe of an existing run, or none. Raises `TrainingError` when it cannot be read."""
        path = folder / RECIPE
        if not path.is_file():
            return None
        try:
            values = read_yaml(path)
            check_version(values.pop(KEY, None), FORMAT_VERSION, path, TrainingError)
            return cls.from_mapping(values)
        except UsageError as error:
            raise TrainingError(f"{path}: not the recipe of such a run: {error}") from None

    def override(self, overrides: Sequence[str]) -> Self:
        """The recipe with `key=value` changes."""
        return self.from_mapping(asdict(self) | parse(overrides))  # type: ignore[call-overload]

    def plain(self) -> dict[str, Any]:
        """Every key, as YAML and JSON hold it."""
        values = asdict(self)  # type: ignore[call-overload]
        return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}

    def dump(self) -> str:
        """The recipe as YAML: the format's version and every key."""
        return yaml.safe_dump({KEY: FORMAT_VERSION, **self.plain()}, sort_keys=False)

    def check_choice(self, key: str, valid: Iterable[str]) -> None:
        """Raises `UsageError` if the value of a key is not one of `valid`."""
        if getattr(self, key) not in valid:
            raise unknown(key, getattr(self, key), valid)

    def check_range(self, least: float, most: float, *keys: str) -> None:
        """Raises `UsageError` if the value of a key, or one of its values, is out of range."""
        for key in keys:
            value = getattr(self, key)
            if not all(
                least <= number <= most for number in (value if isinstance(value, tuple) else [value])
            ):
                allowed = f"at least {least:g}" if most == math.inf else f"between {least:g} and {most:g}"
                raise UsageError(f"{key} must be {allowed}, not {value}.")


def bundled(package: str) -> list[str]:
    """Names of the recipes in the folder `recipes` of a package."""
    folder = resources.files(package) / "recipes"
    return sorted(
        entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml")
    )


def load(recipe: str | Path, package: str, default: str, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """Keys of a bundled recipe, or of a YAML file; either may name only some and a `base` for the rest.

    A file's base is `default` if it names none; a bundled recipe without one has every key. `above` are the
    recipes that this one is the base of.
    """
    names = bundled(package)
    is_bundled = str(recipe) in names and not str(recipe).endswith((".yaml", ".yml"))
    if is_bundled:
        with resources.as_file(resources.files(package) / "recipes" / f"{recipe}.yaml") as path:
            values = read_yaml(path)
    elif os.path.isfile(recipe):  # noqa: PTH113 - Path.is_file() fails on impossible names
        values = read_yaml(Path(recipe))
    else:
        raise unknown("recipe", str(recipe), [*names, "a path to a .yaml file"])
    check_version(values.pop(KEY, None), FORMAT_VERSION, recipe, UsageError)
    base = values.pop("base", None if is_bundled else default)
    if base is None:
        return values
    if not isinstance(base, str):
        raise UsageError(f"{recipe}: its base must be the name of a recipe, or of a file of one.")
    if base in above:
        raise UsageError(f"{recipe}: its base '{base}' leads back to itself.")
    return load(base, package, default, (*above, str(recipe), base)) | values


def read_yaml(path: Path) -> dict[str, Any]:
    """The keys and values in a YAML file. Raises `UsageError`."""
    try:
        values = _values(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}.") from None
    except ValueError as error:
        raise UsageError(f"{path}: not valid YAML: {error}.") from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UsageError(f"{path}: must be 'key: value' lines.")
    return values


def _values(text: str) -> Any:
    """What a YAML text says. Raises `ValueError` with one line."""
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > MOST_VALUES:
            raise ValueError(f"more than {MOST_VALUES:,} values, or its aliases stand for so many")
        return loader.construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # a date that is none, a very deep list
        raise ValueError(" ".join(str(error).split())) from None


def _size(node: yaml.Node, known: dict[int, float]) -> float:
    """How many values a node stands for, those behind its aliases counted each time: a few lines can mean
    more than any memory holds. Raises `ValueError` for a number that Python would not print.
    """
    if isinstance(node, yaml.ScalarNode):
        if node.tag == "tag:yaml.org,2002:int" and len(node.value) > LONGEST_NUMBER:
            raise ValueError("a whole number is too long")
        return 1
    if id(node) not in known:
        known[id(node)] = math.inf  # for an alias to a list in that list
        entries = node.value if isinstance(node, yaml.SequenceNode) else chain.from_iterable(node.value)
        known[id(node)] = 1 + sum(_size(entry, known) for entry in entries)
    return known[id(node)]


def parse(overrides: Sequence[str]) -> dict[str, Any]:
    """Values of `key=value` texts. Raises `UsageError` for a text of another form."""
    values = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise UsageError(f"--set takes key=value, not '{override}'.")
        try:
            values[key.strip()] = _values(text)
        except ValueError:
            raise UsageError(f"--set {key}: '{text}' is not a value.") from None
    return values


def shorthand(**values: int | None) -> list[str]:
    """The `key=value` texts of options that stand for a recipe key; none for those not given."""
    return [f"{key}={value}" for key, value in values.items() if value is not None]


def _typed(key: str, value: Any, kind: Any) -> Any:
    """`value` as `kind`; YAML reads 1e-3 as text, and 5 for a float is fine."""
    try:
        if kind is bool and isinstance(value, bool):
            return value
        if kind is int and not isinstance(value, bool) and float(value) == int(float(value)):
            return int(float(value))
        if kind is float and not isinstance(value, bool) and math.isfinite(float(value)):
            return float(value)
        if kind is str and isinstance(value, str | int):
            return str(value)
        if kind == tuple[float, float]:
            start, end = value if isinstance(value, list | tuple) else (value, value)
            return float(start), float(end)
    except (TypeError, ValueError, OverflowError):
        pass
    expected = {bool: "true or false", int: "a whole number", float: "a finite number", str: "text"}
    raise UsageError(f"{key} must be {expected.get(kind, 'a number or [start, end]')}, not '{value}'.")
