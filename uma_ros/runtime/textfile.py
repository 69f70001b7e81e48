"""Parsers of untrusted YAML and JSON, with limits on size and depth. Every error is an `InputError`."""

from __future__ import annotations

import json
import math
import re
import reprlib
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from uma.types import InputError

MAX_YAML = 4 * 1024 * 1024
"""Largest YAML text, characters."""
MAX_DEPTH = 40
"""Largest nesting depth of YAML; a configuration has five levels."""
MAX_JSON = 256 * 1024 * 1024
"""Largest JSON file, bytes; the calibrations of DROID's 36,000 episodes have about 20 MB."""


POINTER = "version https://git-lfs"
"""First words of a file that Git LFS has not fetched."""


INTEGER = re.compile(r"[-+]?[0-9]+|0x[0-9a-fA-F]+")
REAL = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
"""Numbers of YAML 1.2, as in JSON: 1e-3 is one. In YAML 1.1 it is a text, 010 is 8 and 1:30 is 90."""


class _Loader(yaml.SafeLoader):
    """Refuses aliases, keys that occur twice, and a nesting deeper than `MAX_DEPTH`.

    Nested aliases can expand to any number of values.
    """

    depth = 0
    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":int", ":float"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.events.AliasEvent):
            raise yaml.composer.ComposerError(
                None, None, f"alias *{event.anchor[:40]} is not allowed here", event.start_mark
            )
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.composer.ComposerError(None, None, f"nested over {MAX_DEPTH} deep", event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen = set()
        for key, _ in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name is not None and name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {name[:80]!r} occurs twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    return int(node.value, 16 if node.value.startswith("0x") else 10)


_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(f"^({INTEGER.pattern})$"), list("-+0123456789"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(f"^({REAL.pattern})$"), list("-+0123456789."))
_Loader.add_constructor("tag:yaml.org,2002:int", _integer)


def parse_yaml(text: str, what: str) -> Any:
    """Return the value of a YAML text.

    Raises:
        InputError: the text is invalid, too long, too deep, or has an alias or a key twice. The message starts with
            ``what``.
    """
    if len(text) > MAX_YAML:
        raise InputError(f"{what}: {len(text)} characters, limit {MAX_YAML}")
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise InputError(f"{what}: no YAML: {error}") from None
    except (
        Exception
    ) as error:  # PyYAML passes on any error of its constructors (!!int, !!timestamp) and of deep nesting
        raise InputError(f"{what}: no YAML: {type(error).__name__}: {str(error)[:200]}") from None


def parse_json(text: str, what: str) -> Any:
    """Return the value of a JSON text. Raises `InputError`, starting with ``what``, if it is invalid or too deep."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{what}: no JSON: {str(error)[:200]}") from None


def read_value(path: Path, what: str) -> Any:
    """Return the value of a file: JSON for the suffix .json, else YAML.

    Raises:
        InputError: the file is unreadable, too large, not UTF-8 or invalid. The message starts with ``what`` and the
            path.
    """
    name, is_json = f"{what} {path}".strip(), path.suffix == ".json"
    limit = MAX_JSON if is_json else MAX_YAML
    try:
        size = path.stat().st_size
        if size > limit:
            raise InputError(f"{name}: {size} bytes, limit {limit}")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name}: {error}") from None
    if text.startswith(POINTER):
        raise InputError(f"{name}: a Git LFS pointer, not the file; `git lfs pull` gets it")
    return (parse_json if is_json else parse_yaml)(text, name)


def numbers(value: Any, name: str, count: int | None = None, most: int = 64) -> np.ndarray:
    """Return a list of numbers as ``(n,)`` float64.

    Args:
        count: n; None = 0 to ``most``.

    Raises:
        InputError: the value is not a list of that many finite numbers.
    """
    required = f"{count} finite numbers" if count is not None else f"a list of at most {most} finite numbers"
    fits = isinstance(value, list) and (len(value) == count if count is not None else len(value) <= most)
    if not fits or not all(is_number(v) for v in value):
        raise InputError(f"{name}: {reprlib.repr(value)}, must be {required}")
    return np.array([float(v) for v in value])


def is_number(value: Any) -> bool:
    """Return whether the value is a finite number in the range of float64; bools are not numbers."""
    return (
        isinstance(value, float)
        and math.isfinite(value)
        or isinstance(value, int)
        and not isinstance(value, bool)
        and abs(value) < 10**300
    )


def text_of(value: Any, name: str, most: int = 256) -> str:
    """Return the value if it is a text of 1 to ``most`` characters, else raise `InputError`."""
    if not isinstance(value, str) or not 1 <= len(value) <= most:
        raise InputError(f"{name}: {reprlib.repr(value)}, must be a text of 1 to {most} characters")
    return value
