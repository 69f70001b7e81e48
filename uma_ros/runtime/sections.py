"""Sections of parameter files, and which node each is for, by the rules of rcl.

A section is a node's full name such as /left/controller. `/*` stands for one part of the name, `/**` for any number.
Sections apply in the order of the file, so that a later one overrides an earlier one. A section of the same name in a
second file, and a `-p NAME:=VALUE` (section `/**`), keep the place of the first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from uma.types import InputError
from uma_ros.runtime.textfile import parse_yaml, read_value

ALL_NODES = "/**"
"""Section of a parameter file for all nodes."""
OF_LAUNCH = "launch_params_"
"""Start of the names of the files in which launch_ros passes one node's parameters, in a section for all nodes."""

Sections = Sequence[tuple[str, dict[str, Any]]]
"""(Section, dotted name -> value), in the order of the file."""


def node_of(section: str) -> str:
    """Return the node's name of a section such as /left/controller; `ALL_NODES` if it ends with a wildcard."""
    last = section.rstrip("/").rpartition("/")[2]
    return ALL_NODES if "*" in last else last


def is_bare(section: str) -> bool:
    """Return whether a section is a node's name alone. rcl applies it to the node in the root namespace only."""
    return "/" not in section and "*" not in section


def applies(section: str, node: str) -> bool:
    """Return whether rcl applies a section to the node of a full name."""
    pattern = "".join(
        {"/**": r"(/\w+)*", "/*": r"/\w+"}.get(part, re.escape(part))
        for part in re.split(r"(/\*\*|/\*)", f"/{section.lstrip('/')}")
    )
    return re.fullmatch(pattern, node) is not None


def values_of(given: Sections, node: str) -> dict[str, Any]:
    """Return the values for the node of a full name. A bare section counts in every namespace."""
    values: dict[str, Any] = {}
    for section, named in given:
        if applies(section, node) or is_bare(section) and section == node_of(node):
            values |= named
    return values


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


def on_command_line(words: Sequence[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (file, section, dotted name -> value) of a node's command line, in order.

    An override ``-p NAME:=VALUE`` has an empty file, and its value remains a text.
    """
    for option, word in zip(words, words[1:]):
        if option == "--params-file":
            yield from ((word, section, values) for section, values in sections(read_value(Path(word), "")))
        elif option in ("-p", "--param") and ":=" in word:
            name, _, value = word.partition(":=")
            node, colon, parameter = name.rpartition(":")
            yield "", node if colon else ALL_NODES, {parameter: value}


def shared_names(words: Sequence[str]) -> set[str]:
    """Return the names in the sections for all nodes of the parameter files on a node's command line."""
    names: set[str] = set()
    for file, section, values in on_command_line(words):
        if file and not Path(file).name.startswith(OF_LAUNCH) and node_of(section) == ALL_NODES:
            names |= set(values)
    return names


def check_command_line(words: Sequence[str], node: str) -> None:
    """Refuse parameters on a node's command line that rcl ignores without a word.

    Args:
        node: full name of the node.

    Raises:
        InputError: a bare section of a file names a node in a namespace, or a section overrides a later ``-p``.
    """
    given = list(on_command_line(words))
    for file, section, _ in given:
        if is_bare(section) and section == node_of(node) and not applies(section, node):
            raise InputError(
                f"{file or '-p'}: {section}: for the node /{section} alone, this node is {node}; write /**/{section}"
            )
    for name in {name for file, _, values in given if not file for name in values}:
        _check_override(given, node, name)


def _check_override(given: Sequence[tuple[str, str, dict[str, Any]]], node: str, name: str) -> None:
    """Raise `InputError` if a section of a file overrides a ``-p`` that stands after the file."""
    places: dict[str, tuple[str, Any] | None] = {}  # section -> file and value; None without a value
    last_file = ""
    for file, section, values in given:
        key = f"/{section.lstrip('/')}"
        places.setdefault(key, None)
        if name in values and applies(section, node):
            places[key], last_file = (file, values[name]), file
    valid = [(section, *found) for section, found in places.items() if found]
    if not valid or last_file or not valid[-1][1]:
        return
    section, file, value = valid[-1]
    if value != parse_yaml(next(v[name] for f, _, v in reversed(given) if not f and name in v), f"-p {name}"):
        raise InputError(
            f"-p {name}: without effect, because {section} in {file} sets {value!r}; move its section {ALL_NODES} to "
            "the end of the file"
        )
