"""What a start needs, looked up before the first process starts: programs, files, folders, names of parameters."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from uma.settings import as_kind, flatten, nearest, replaced
from uma.types import InputError
from uma_ros.deployment.graph import GRAPHS, ROBOT_FILE, NodeSpec, Options
from uma_ros.deployment.schema import NODES, settings_of
from uma_ros.runtime.parameters import unknown_names
from uma_ros.runtime.resources import find
from uma_ros.runtime.robot import load_robot
from uma_ros.runtime.sections import ALL_NODES, Sections, node_of, sections, values_of
from uma_ros.runtime.textfile import read_value

PARAMETERS_OF_RUN = "node_parameters.yaml"
"""File in the folder of a run with the parameters of its nodes."""


def located(options: Options) -> Options:
    """Return the options with the paths of their configuration file and robot file.

    Raises:
        InputError: a file does not exist.
    """
    robot = str(find(options.robot)) if options.robot else ""
    return replace(options, config=str(find(options.config)), robot=robot)


def prepared(graph: str, options: Options, missing: Callable[[NodeSpec], str]) -> tuple[NodeSpec, ...]:
    """Return the processes of a graph, with all their parameters, after a check of all that they need.

    Args:
        options: with the paths of existing files, see `located`.
        missing: process -> why its program cannot be started; empty if it can.

    Returns:
        The processes. Their parameters are those of the configuration file, and the graph's own, which come first.

    Raises:
        InputError: one line for each program, file, folder or parameter that does not fit.
    """
    given = read_parameters(Path(options.config))
    specs = tuple(_with_own_departure(spec, given) for spec in GRAPHS[graph](options))
    defaults, absent = _schema()
    trouble = [why for spec in specs if (why := missing(spec) or absent.get(spec.name, ""))]
    trouble += _invalid_robot(options.robot)
    trouble += [f"{options.config}: {why}" for why in misspelt(given, defaults)]
    for spec in specs:
        if spec.name in defaults:
            trouble += _unusable(spec, given, defaults[spec.name], options.config)
    trouble += _unwritable("run_dir", options.run_dir)
    if trouble:
        raise InputError("\n".join(trouble))
    return tuple(_with_file(spec, given, defaults) for spec in specs)


def _with_file(spec: NodeSpec, given: Sections, defaults: dict[str, Any]) -> NodeSpec:
    """Return a node with the values of the configuration file, but those in sections for all nodes that it lacks."""
    if spec.name not in defaults:
        return spec
    values = values_of(given, spec.full_name)
    strange = unknown_names(spec.name, values, flatten(defaults[spec.name]))
    from_file = {name: value for name, value in values.items() if name not in strange and value is not None}
    return replace(spec, parameters=from_file | spec.parameters)


def write_parameters(specs: Iterable[NodeSpec], path: Path) -> None:
    """Write the parameters of processes to a parameter file, with one section for each node in any namespace."""
    data = {f"/**/{spec.name}": {"ros__parameters": spec.parameters} for spec in specs if spec.module}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(data, sort_keys=False))


def _with_own_departure(spec: NodeSpec, given: Sections) -> NodeSpec:
    """Return the controller of a graph with the max_departure of the configuration file, if that is not 0."""
    from_file = values_of(given, spec.full_name)
    if spec.name != "controller" or not from_file.get("max_departure"):
        return spec
    return replace(spec, parameters={k: v for k, v in spec.parameters.items() if k != "max_departure"})


def _schema() -> tuple[dict[str, Any], dict[str, str]]:
    """Return node -> settings with defaults, and node -> the missing Python package of the nodes without them."""
    defaults, absent = {}, {}
    for node in NODES:
        try:
            defaults[node] = settings_of(node)
        except ModuleNotFoundError as error:
            absent[node] = f"{node}: the Python package {error.name!r} is missing"
    return defaults, absent


def missing_module(spec: NodeSpec) -> str:
    """Return why a process cannot be started as a Python module or from the search path; empty if it can."""
    if spec.module:
        is_there = importlib.util.find_spec(spec.module) is not None
        return "" if is_there else f"{spec.name}: no Python module {spec.module}"
    return "" if shutil.which(spec.name) else f"{spec.name}: no such program in PATH"


def missing_executable(spec: NodeSpec, prefix: Callable[[str], str]) -> str:
    """Return why `ros2 launch` cannot start a process; empty if it can.

    Args:
        prefix: package -> folder of its installation; raises LookupError for an unknown package.
    """
    try:
        path = Path(prefix(spec.package)) / "lib" / spec.package / spec.name
    except LookupError:
        return f"{spec.name}: no package {spec.package!r} in this environment"
    if not path.is_file():
        return f"{spec.name}: no executable {path}; build the package again"
    return "" if os.access(path, os.X_OK) else f"{spec.name}: {path} is not executable"


def read_parameters(path: Path) -> Sections:
    """Return the sections of a file. Raises `InputError`, starting with the path, if it is no parameter file."""
    value = read_value(path, "")
    try:
        return list(sections({} if value is None else value))
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def misspelt(given: Sections, defaults: dict[str, Any]) -> Iterator[str]:
    """Yield one sentence per unknown parameter of a known node, and per section that resembles a node's name.

    Args:
        defaults: node -> its settings.
    """
    known = {node: set(flatten(settings)) for node, settings in defaults.items()}
    for full, values in given:
        section = node_of(full)
        if section == ALL_NODES:
            unknown = set.intersection(*(set(unknown_names(node, values, known[node])) for node in known))
            if len(known) < len(NODES):  # the name may belong to a node whose settings are unknown here
                unknown = set()
            names: set[str] = set().union(*known.values())
        elif section in known:
            unknown, names = set(unknown_names(section, values, known[section])), known[section]
        elif section not in NODES and not re.search(r"\d", section) and (hint := nearest(section, NODES, 0.8)):
            yield f"{section}: unknown node{hint}"  # with a number it is a vendor's further device: camera2
            continue
        else:
            continue
        for name in sorted(unknown):
            yield f"{section}: {name}: unknown parameter{nearest(name, names)}"


def _unusable(spec: NodeSpec, given: Sections, defaults: Any, file: str) -> Iterator[str]:
    """Yield one sentence per value out of range, and per file or folder that a process needs and does not find."""
    known = flatten(defaults)
    from_file = values_of(given, spec.full_name)
    try:
        replaced(defaults, {name: as_kind(v, known[name][0]) for name, v in from_file.items() if name in known})
    except InputError as error:
        yield f"{file}: {spec.name}: {error}"
        return
    values = {name: value for name, (value, _) in known.items()} | from_file | spec.parameters
    if spec.name == "policy":
        yield from _absent("checkpoint", values["checkpoint"], Path.is_dir, "a folder")
        if values["prompt"]:
            yield from _absent("prompt", values["prompt"], Path.is_file, "a file")
    elif spec.name == "extrinsics" and not values["wait_s"]:
        for sentence in _absent("calibration", values["calibration"], Path.is_file, "a file"):
            yield f"{sentence}; `uma calibrate` makes one, calibration:=FILE chooses another"
    elif spec.name == "camera" and values["source"] == "folder":
        yield from _absent("folder.path", values["folder.path"], Path.is_dir, "a folder")
    elif spec.name == "recorder" and values["path"] and Path(values["path"]).exists():
        yield f"record: {values['path']}, must be a folder that does not exist yet"
    elif spec.name == "recorder":
        yield from _unwritable("record", values["path"])
        yield from _unwritable("demonstrations", values["demonstrations"])


def _invalid_robot(path: str) -> Iterator[str]:
    """Yield a sentence if a robot file is invalid."""
    try:
        load_robot(path or find(ROBOT_FILE))
    except InputError as error:
        if path or not str(error).startswith(ROBOT_FILE):  # without the default file the robot is DROID's
            yield str(error)


def _absent(name: str, path: str, fits: Callable[[Path], bool], what: str) -> Iterator[str]:
    try:
        found = find(path)
    except InputError as error:
        yield f"{name}: {error}"
    else:
        if not fits(found):
            yield f"{name}: {found}, must be {what}"


def _unwritable(name: str, folder: str) -> Iterator[str]:
    """Yield a sentence if ``folder`` can neither be written nor made; an empty name stands for no folder."""
    if not folder:
        return
    path = Path(folder).expanduser().absolute()
    while not path.exists():
        path = path.parent
    if not path.is_dir():
        yield f"{name}: {folder}, {path} is not a folder"
    elif not os.access(path, os.W_OK | os.X_OK):
        yield f"{name}: {folder}, {path} must be writable"
