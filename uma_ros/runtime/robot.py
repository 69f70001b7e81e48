"""The robot of this process: config/robot.yaml, or another robot file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from uma.robot import DROID, RobotConfig
from uma.settings import flatten, replaced
from uma.types import InputError
from uma_ros.runtime.resources import find
from uma_ros.runtime.textfile import read_value

PATH = "config/robot.yaml"
ROBOT = f"robot file; empty: {PATH}"
"""Description of the option ``--robot`` and of the parameter ``robot``."""
FROM_ROBOT = {
    "base_frame": "base_frame",
    "robot_ee_frame": "flange_frame",
    "camera_frame": "camera_frame",
    "zed.frame": "camera_frame",
}
"""Setting of a node that may be empty -> the robot's field with its value."""

_chosen: list[RobotConfig] = []
"""Robots of this process in place of `PATH`; the last one counts."""


def load_robot(path: str | Path) -> RobotConfig:
    """Read a robot file. Missing keys have DROID's values, and the prefixes are before the names.

    Raises:
        InputError: with the file and the entry.
    """
    data = read_value(Path(path), "robot")
    if not isinstance(data, dict):
        raise InputError(f"robot {path}: {type(data).__name__}, must be a mapping")
    try:
        return replaced(DROID, _dotted(data)).with_prefixes()
    except InputError as error:
        raise InputError(f"robot {path}: {error}") from None


def _dotted(data: dict[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Flatten nested entries to dotted names, and lists to tuples."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            flat.update(_dotted(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = tuple(value) if isinstance(value, list) else value
    return flat


def robot() -> RobotConfig:
    """Return the robot of this process: the chosen one, or that of `PATH`, or DROID's if the file does not exist.

    Raises:
        InputError: as `load_robot`.
    """
    return _chosen[-1] if _chosen else _default()


@cache
def _default() -> RobotConfig:
    try:
        path = find(PATH)
    except InputError:
        return DROID
    return load_robot(path)


def choose_robot(path: str) -> RobotConfig:
    """Choose the robot of this process by its file; empty: `PATH`, which is read again. Return it.

    Raises:
        InputError: the file does not exist, or as `load_robot`.
    """
    try:
        found = find(path) if path else None
    except InputError as error:
        raise InputError(f"robot: {error}") from None
    _default.cache_clear()
    _chosen[:] = [load_robot(found)] if found else []
    return robot()


@contextmanager
def robot_of(config: RobotConfig) -> Iterator[None]:
    """Use another robot within the context."""
    _chosen.append(config)
    try:
        yield
    finally:
        _chosen.pop()


def recorded_robot(values: Any) -> RobotConfig:
    """Return the robot in a bag's configuration, whose names have their prefixes; without one this process's own.

    Raises:
        InputError: an entry is invalid.
    """
    if not isinstance(values, dict):
        return robot()
    known = flatten(DROID)
    return replaced(DROID, {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known})


def robot_values() -> dict[str, Any]:
    """Return the robot for a bag's configuration: dotted name -> value."""
    return {k: list(v) if isinstance(v, tuple) else v for k, (v, _) in flatten(robot()).items()}


def with_frames(settings: Any) -> Any:
    """Return a node's settings with the robot's frames in place of empty ones."""
    known = flatten(settings)
    empty = {name: key for name, key in FROM_ROBOT.items() if name in known and known[name][0] == ""}
    return replaced(settings, {name: getattr(robot(), key) for name, key in empty.items()})
