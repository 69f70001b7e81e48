"""Frozen dataclasses to and from JSON values; unknown and missing keys are errors."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any


def to_json(value: Any) -> Any:
    """Convert a dataclass, tuple or scalar to JSON values."""
    if dataclasses.is_dataclass(value):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [to_json(v) for v in value]
    return value


def from_json(kind: Any, value: Any, where: str = "config") -> Any:
    """Build ``kind`` (a dataclass, tuple type or scalar type) from JSON values.

    Raises:
        ValueError: an unknown key, a missing key or a value of the wrong type. The message names the field.
    """
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        if not isinstance(value, dict):
            raise ValueError(f"{where}: {type(value).__name__}, must be a mapping")
        hints = typing.get_type_hints(kind)
        names = {f.name for f in dataclasses.fields(kind)}
        if unknown := set(value) - names:
            raise ValueError(f"{where}: unknown key {sorted(unknown)[0]!r}, known are {sorted(names)}")
        required = {
            f.name
            for f in dataclasses.fields(kind)
            if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
        }
        if missing := required - set(value):
            raise ValueError(f"{where}: key {sorted(missing)[0]!r} is missing")
        return kind(**{k: from_json(hints[k], v, f"{where}.{k}") for k, v in value.items()})
    origin = typing.get_origin(kind)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{where}: {type(value).__name__}, must be a list")
        args = typing.get_args(kind)
        inner = [args[0]] * len(value) if len(args) == 2 and args[1] is Ellipsis else list(args)
        if len(inner) != len(value):
            raise ValueError(f"{where}: {len(value)} values, must be {len(inner)}")
        return tuple(from_json(k, v, f"{where}[{i}]") for i, (k, v) in enumerate(zip(inner, value, strict=True)))
    if origin in (typing.Union, types.UnionType):
        return value
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if isinstance(kind, type) and (not isinstance(value, kind) or (kind is not bool and isinstance(value, bool))):
        raise ValueError(f"{where}: {value!r} is a {type(value).__name__}, must be a {kind.__name__}")
    return value
