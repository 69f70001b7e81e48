"""Open containers of the catalogue: polygonal walls and a floor; bowls and low trays."""

from __future__ import annotations

import mujoco
import numpy as np

G = mujoco.mjtGeom

FLOOR = 0.004
"""Thickness of a container's floor, metres."""

KINDS = ("bowl", "tray")
"""Kinds of the catalogue that hold other objects."""


def walls(r: float, h: float, sides: int, thick: float) -> list[dict]:
    """Return the geoms of an open container with inner radius ``r`` and half height ``h``, metres.

    The origin is at half its height.
    """
    side = (r + thick) * np.tan(np.pi / sides)
    out = [dict(type=G.mjGEOM_CYLINDER, size=[r, FLOOR / 2, 0], pos=[0, 0, -h + FLOOR / 2], shade=0.8)]
    for i in range(sides):
        a = 2 * np.pi * i / sides
        c, s = float(np.cos(a / 2)), float(np.sin(a / 2))
        place = [(r + thick / 2) * np.cos(a), (r + thick / 2) * np.sin(a), 0]
        out.append(dict(type=G.mjGEOM_BOX, size=[thick / 2, side, h], pos=place, shade=1.0, quat=[c, 0, 0, s]))
    return out


def rings(radii: tuple[float, float], heights: tuple[float, float]) -> np.ndarray:
    """Return ``(16, 3)`` points on two rings, metres."""
    angle = np.arange(8) * np.pi / 4 + 0.2
    ring = np.stack([np.cos(angle), np.sin(angle)], -1)
    return np.concatenate([np.column_stack([r * ring, np.full(8, z)]) for r, z in zip(radii, heights, strict=True)])


def _container(r: float, h: float, sides: int) -> dict:
    return dict(
        geoms=tuple(walls(r, h, sides, 0.004)),
        points=rings((r, r), (0.0, h)),
        half_height=h,
        radius=r * 1.25 + 0.01,
        grasp_axis=None,
    )


def make_bowl(rng: np.random.Generator) -> dict:
    """Draw a bowl: the fields of a `CatalogShape` except its name."""
    r, h, sides = rng.uniform(0.045, 0.06), rng.uniform(0.02, 0.04), int(rng.choice([4, 6, 8]))
    return _container(r, h, sides)


def make_tray(rng: np.random.Generator) -> dict:
    """Draw a low tray, wide enough for the open gripper: the fields of a `CatalogShape` except its name."""
    r, h, sides = rng.uniform(0.075, 0.095), rng.uniform(0.007, 0.012), int(rng.choice([4, 6, 8]))
    return _container(r, h, sides)


def opening(points: np.ndarray) -> float:
    """Return the distance from a container's axis to its walls, metres, of its ``(16, 3)`` surface points."""
    return float(np.linalg.norm(points[0, :2]))
