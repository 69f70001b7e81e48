"""The robot that config/robot.yaml describes."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from uma.robot import DROID, RobotConfig
from uma.settings import replaced
from uma.types import InputError
from uma_ros.runtime.resources import find
from uma_ros.runtime.textfile import read_value

PATH = "config/robot.yaml"


def load_robot(path: str | Path) -> RobotConfig:
    """Read a robot's file; a key that it lacks is DROID's. Raises `InputError` naming the file and the entry."""
    data = read_value(Path(path), "robot")
    if not isinstance(data, dict):
        raise InputError(f"robot {path}: {type(data).__name__}, must be a mapping")
    try:
        return replaced(DROID, _dotted(data))
    except InputError as error:
        raise InputError(f"robot {path}: {error}") from None


def _dotted(data: dict[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Names of nested entries joined by dots; lists as tuples."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict):
            flat.update(_dotted(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = tuple(value) if isinstance(value, list) else value
    return flat


@cache
def robot() -> RobotConfig:
    """The robot of `PATH`, read once in a process; DROID's where there is no such file. Raises `InputError` as
    `load_robot` does."""
    try:
        path = find(PATH)
    except InputError:
        return DROID
    return load_robot(path)
