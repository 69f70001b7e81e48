"""The settings of every node: the schema of a configuration file."""

from __future__ import annotations

import importlib
import os
from typing import Any

NODES = {
    "station": "StationSettings",
    "camera": "CameraSettings",
    "extrinsics": "ExtrinsicsSettings",
    "policy": "PolicySettings",
    "controller": "ControllerNodeSettings",
    "robot_state": "RobotStateSettings",
    "recorder": "RecorderSettings",
    "gripper": "GripperSettings",
    "robot": "RobotSettings",
    "franka": "FrankaSettings",
    "manager": "ManagerSettings",
    "teach": "TeachSettings",
}
"""Node -> name of its settings dataclass."""


def settings_of(node: str) -> Any:
    """Return the settings dataclass of a node, with its defaults.

    The import of a node sets environment variables for its own process. They are taken back here.

    Raises:
        ModuleNotFoundError: a Python package of the node is missing.
    """
    before = dict(os.environ)
    try:
        return getattr(importlib.import_module(f"uma_ros.nodes.{node}"), NODES[node])()
    finally:
        os.environ.clear()
        os.environ.update(before)
