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
    """Read a robot file. Missing keys have DROID's values. Raises `InputError` with the file and the entry."""
    data = read_value(Path(path), "robot")
    if not isinstance(data, dict):
        raise InputError(f"robot {path}: {type(data).__name__}, must be a mapping")
    try:
        return replaced(DROID, _dotted(data))
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


@cache
def robot() -> RobotConfig:
    """Return the robot of `PATH`, read once per process, or DROID's if the file does not exist.

    Raises:
        InputError: as `load_robot`.
    """
    try:
        path = find(PATH)
    except InputError:
        return DROID
    return load_robot(path)
