"""A coarse collision model of the tool against the table and the robot's own column."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uma.settings import check_settings, setting

TOOL = (
    ("gripper", (0.0, 0.0, -0.08), 0.05),
    ("coupling", (0.0, 0.0, -0.15), 0.045),
    ("wrist", (0.0, 0.0, -0.22), 0.06),
)
"""Spheres about a 2F-85 and the end of an FR3: name, centre in the end-effector frame (z points out of the gripper) and
radius, metres.

The fingertips have no sphere, because they must reach the table. The workspace box bounds them.
"""


@dataclass(frozen=True)
class CollisionSettings:
    """Obstacles of the tool in the base frame."""

    is_checked: bool = setting(
        True, "hold before the gripper's body or the wrist meets the table or the robot's column"
    )
    table_height: float = setting(0.0, "m; height of the table over the base frame", -1.0, 1.0)
    column_radius: float = setting(
        0.14, "m; radius of the robot's own column, an upright cylinder about the base frame's origin", 0.0, 0.5
    )
    column_height: float = setting(0.75, "m; height of the robot's own column", 0.0, 2.0)
    clearance: float = setting(0.01, "m; least distance to the table and to the column", 0.0, 0.2)

    def __post_init__(self) -> None:
        check_settings(self)


def collision(T_base_ee: np.ndarray, settings: CollisionSettings) -> str:
    """Describe the obstacle that the end-effector pose ``(4, 4)`` violates; empty if it is clear of all."""
    if not settings.is_checked:
        return ""
    for name, centre, radius in TOOL:
        p = T_base_ee[:3, :3] @ np.array(centre) + T_base_ee[:3, 3]
        above = float(p[2]) - settings.table_height - radius
        if above < settings.clearance:
            return f"the {name} would come to {above:.3f} m over the table, limit {settings.clearance} m"
        beside = float(np.hypot(p[0], p[1])) - settings.column_radius
        over = float(p[2]) - settings.column_height
        room = (np.hypot(max(beside, 0.0), max(over, 0.0)) if max(beside, over) > 0 else max(beside, over)) - radius
        if room < settings.clearance:
            return f"the {name} would come to {room:.3f} m from the robot's column, limit {settings.clearance} m"
    return ""
