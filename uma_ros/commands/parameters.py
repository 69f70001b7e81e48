"""The settings of every node in one place: the default configuration file is written from them, and a test holds that
it mirrors them."""

from __future__ import annotations

import importlib
from typing import Any

from uma.robot import DROID
from uma.settings import allowed, flatten

NODES = {
    "station": "StationSettings",
    "camera": "CameraSettings",
    "extrinsics": "ExtrinsicsSettings",
    "policy": "PolicySettings",
    "controller": "ControllerNodeSettings",
    "recorder": "RecorderSettings",
    "gripper": "GripperSettings",
    "robot": "RobotSettings",
    "franka": "FrankaSettings",
    "manager": "ManagerSettings",
}


def settings_of(node: str) -> Any:
    """The settings dataclass of a node, with its defaults."""
    return getattr(importlib.import_module(f"uma_ros.nodes.{node}"), NODES[node])()


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return str(list(value))
    return f'"{value}"' if isinstance(value, str) else str(value)


def _range(rule: dict) -> str:
    live = "; may change while the node runs" if rule.get("live") else ""
    return (f"; {allowed(rule)}" if allowed(rule) else "") + live


def _commented(settings: Any, indent: str = "") -> list[str]:
    """YAML lines of a dataclass, every key commented with unit and range. Topic names are left to the defaults."""
    lines, open_section = [], ""
    for key, (value, rule) in flatten(settings).items():
        section, _, name = key.rpartition(".")
        if section == "topics":
            continue
        if section != open_section:
            lines += [f"{indent}{section}:"] if section else []
            open_section = section
        pad = indent + ("  " if section else "")
        lines.append(f"{pad}{name}: {_value(value)}  # {rule['description']}{_range(rule)}")
    return lines


def as_yaml(node: str, indent: str = "") -> str:
    """A node's section of a configuration file."""
    lines = [f"{node}:", "  ros__parameters:", *_commented(settings_of(node), "    ")]
    return "\n".join(indent + line for line in lines)


def robot_yaml() -> str:
    """The robot's configuration file."""
    return "\n".join(_commented(DROID))


def topics_yaml() -> str:
    """The topic names as a commented section that holds for all nodes."""
    lines = [
        "# Where the nodes meet; to change a name, take the # away here, for all nodes at once.",
        "# /**:",
        "#   ros__parameters:",
        "#     topics:",
    ]
    for key, (value, rule) in flatten(settings_of("policy")).items():
        if key.startswith("topics."):
            lines.append(f"#       {key.removeprefix('topics.')}: {_value(value)}  # {rule['description']}")
    return "\n".join(lines)
