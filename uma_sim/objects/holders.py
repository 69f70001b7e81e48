"""Holders for utensils: open containers with a narrow mouth."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from uma_sim.objects import contacts

WALL = 0.005
FLOOR = 0.004


@dataclass(frozen=True)
class Holder:
    """One holder standing on the table.

    Attributes:
        center: ``(2,)`` x, y of its axis in the base frame, metres.
        yaw: rotation about base z, radians.
        half_opening: distance from the axis to the inner face of a wall, metres.
        height: of the rim above the table, metres.
        sides: 4 (square) or 8 (octagon).
    """

    center: tuple[float, float]
    yaw: float
    half_opening: float
    height: float
    sides: int

    def normals(self) -> np.ndarray:
        """Return ``(sides, 2)`` outward unit normals of the walls in the base frame."""
        angle = self.yaw + np.arange(self.sides) * 2 * np.pi / self.sides
        return np.stack([np.cos(angle), np.sin(angle)], -1)

    def inset(self, xy: np.ndarray) -> float:
        """Return the distance of a point ``(2,)`` inside the opening to the nearest wall, metres; negative outside."""
        return self.half_opening - float((self.normals() @ (np.asarray(xy) - self.center)).max())

    def rim_points(self) -> np.ndarray:
        """Return ``(4, 3)`` points on the middle of the rim, a quarter turn apart, in the base frame."""
        angle = self.yaw + np.arange(4) * np.pi / 2
        r = self.half_opening + WALL / 2
        xy = np.array(self.center) + r * np.stack([np.cos(angle), np.sin(angle)], -1)
        return np.concatenate([xy, np.full((4, 1), self.height)], -1)


def add_body(spec: mujoco.MjSpec, holder: Holder, name: str, color: tuple[float, ...]) -> None:
    """Add ``holder`` to the scene, fixed to the table."""
    body = spec.worldbody.add_body(name=name, pos=[*holder.center, 0.0])
    reach = holder.half_opening + WALL
    half_side = reach * np.tan(np.pi / holder.sides)
    shade = np.array(color)
    for i in range(holder.sides):
        angle = holder.yaw + i * 2 * np.pi / holder.sides
        r = holder.half_opening + WALL / 2
        # A thin darker band at the rim makes the opening visible in images.
        for z0, z1, c in (
            (0.0, holder.height - 0.006, shade),
            (holder.height - 0.006, holder.height, shade * [0.7, 0.7, 0.7, 1]),
        ):
            body.add_geom(
                type=mujoco.mjtGeom.mjGEOM_BOX,
                size=[WALL / 2, half_side, (z1 - z0) / 2],
                pos=[r * np.cos(angle), r * np.sin(angle), (z0 + z1) / 2],
                quat=[np.cos(angle / 2), 0, 0, np.sin(angle / 2)],
                rgba=c,
                **contacts.WORLD,
            )
    body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_CYLINDER,
        size=[holder.half_opening, FLOOR / 2, 0],
        pos=[0, 0, FLOOR / 2],
        rgba=shade * [0.8, 0.8, 0.8, 1],
        **contacts.WORLD,
    )
