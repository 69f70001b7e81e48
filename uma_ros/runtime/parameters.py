"""Names of parameters: those that every node has, those that were removed, and a check of the given ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from uma.settings import nearest
from uma.types import InputError
from uma_ros.runtime.textfile import read_value

REMOVED = {"controller": {"lead_s": "removed in 0.1.0"}}
"""Node -> parameter of an older configuration file -> when it was removed. A file may still set it, without effect."""
OF_EVERY_NODE = frozenset({"managed", "use_sim_time", "start_type_description_service"})
"""Parameters that `UmaNode` and rclpy declare."""
OPEN_PREFIXES = ("qos_overrides.",)
"""Prefixes of the names that rclpy declares per topic."""
ALL_NODES = "/**"
"""Section of a parameter file for all nodes."""
OF_LAUNCH = "launch_params_"
"""Start of the names of the files in which launch_ros passes one node's parameters, in a section for all nodes."""


def unknown_names(node: str, given: Iterable[str], known: Collection[str]) -> list[str]:
    """Return the names of ``given`` that a node neither has nor had, in order.

    Args:
        node: default name of the node.
        known: names of the node's own parameters.
    """
    old = REMOVED.get(node, {})
    return sorted(
        name
        for name in set(given)
        if name not in known and name not in OF_EVERY_NODE and name not in old and not name.startswith(OPEN_PREFIXES)
    )


def check_names(node: str, given: Collection[str], known: Collection[str], shared: Collection[str] = ()) -> list[str]:
    """Return one warning per name without effect: a removed one, or one for all nodes that resembles a known one.

    Args:
        node: default name of the node.
        given: names of the parameters with a value from outside.
        known: names of the node's own parameters.
        shared: names in sections for all nodes, where a name may belong to another node.

    Raises:
        InputError: a given name is unknown. The message contains the nearest known name.
    """
    warnings = [f"{name}: {why}, without effect" for name, why in REMOVED.get(node, {}).items() if name in given]
    for name in unknown_names(node, given, known):
        hint = nearest(name, known, 0.85 if name in shared else 0.6)
        if name not in shared:
            raise InputError(f"{name}: unknown parameter of {node}{hint}")
        if hint:
            warnings.append(f"{name}: unknown parameter of {node}, given for all nodes{hint}")
    return warnings


def shared_names(words: Sequence[str]) -> set[str]:
    """Return the names in the sections for all nodes of the parameter files on a node's command line."""
    names: set[str] = set()
    for option, path in zip(words, words[1:]):
        if option == "--params-file" and not Path(path).name.startswith(OF_LAUNCH):
            for section, values in sections(read_value(Path(path), "")):
                names |= set(values) if node_of(section) == ALL_NODES else set()
    return names


def node_of(section: str) -> str:
    """Return the node's name of a section such as /left/controller; `ALL_NODES` if it ends with a wildcard."""
    last = section.rstrip("/").rpartition("/")[2]
    return ALL_NODES if "*" in last else last


def sections(data: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (section, dotted name -> value) for every section of a parameter file's value.

    Raises:
        InputError: a value stands outside ros__parameters, or a section is no mapping.
    """
    yield from _sections(data, "")


def _sections(data: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if not isinstance(data, dict):
        where = path or "file"
        raise InputError(f"{where}: {type(data).__name__}, must be a mapping with a section ros__parameters")
    for key, value in data.items():
        if key == "ros__parameters":
            yield path, dict(_flat(value or {}, f"{path}.ros__parameters"))
        elif value is not None:
            yield from _sections(value, f"{path}/{str(key).strip('/')}" if path else str(key))


def _flat(value: Any, path: str, prefix: str = "") -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        raise InputError(f"{path}: {type(value).__name__}, must be a mapping")
    for key, inner in value.items():
        if isinstance(inner, dict):
            yield from _flat(inner, path, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", inner
