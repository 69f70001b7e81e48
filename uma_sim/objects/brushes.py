"""Objects of the sweeping task: a hand brush, paper scraps and dustpans, made of primitives."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from uma_sim.objects import contacts
from uma_sim.objects.utensils import vivid

BOX = mujoco.mjtGeom.mjGEOM_BOX
WALL, FLOOR, RAMP = 0.003, 0.002, 0.012
"""Dustpan dimensions, metres: thickness of walls and floor, and depth of the lip's slope."""

LAYER = 0.6
"""Height of a scrap's lower layer, relative to the whole."""

GIVE = 0.001
"""Depth to which a scrap's corner may press into a wall of the dustpan, metres."""


@dataclass(frozen=True)
class Brush:
    """A hand brush that stands on its bristles, with a grip along it.

    In its frame x runs along the grip, z is up, and the origin is the grasp point.

    Attributes:
        half_length: of the bristles along x, metres.
        half_thickness: of the bristles along y.
        bristles: their height.
        grip_half_width, grip_height: of the grip above them.
        mass: kilograms.
        color, bristle_color: RGBA.
    """

    half_length: float
    half_thickness: float
    bristles: float
    grip_half_width: float
    grip_height: float
    mass: float
    color: tuple[float, ...]
    bristle_color: tuple[float, ...]

    @property
    def drop(self) -> float:
        """Metres from the bristle tips up to the origin; the closed pads end 3 mm above the bristles."""
        return self.bristles + 0.017

    def points(self) -> np.ndarray:
        """Return ``(10, 3)`` surface points: five stations along it, alternately on the grip and at the bristles."""
        x = np.repeat(np.linspace(-0.9, 0.9, 5) * self.half_length, 2)
        side = np.tile([1.0, -1.0], 5)
        is_grip = np.arange(10) % 4 < 2
        y = side * np.where(is_grip, self.grip_half_width, self.half_thickness)
        z = np.where(is_grip, 0.009, 0.4 * self.bristles - self.drop)
        return np.stack([x, y, z], -1)


def sample_brush(rng: np.random.Generator) -> Brush:
    """Draw a random brush; its grip is wider than that of any scraper of the training data."""
    hue = float(rng.uniform())
    return Brush(
        half_length=float(rng.uniform(0.050, 0.060)),
        half_thickness=float(rng.uniform(0.012, 0.016)),
        bristles=float(rng.uniform(0.030, 0.040)),
        grip_half_width=float(rng.uniform(0.0125, 0.015)),
        grip_height=float(rng.uniform(0.028, 0.036)),
        mass=float(rng.uniform(0.08, 0.15)),
        color=vivid(rng, hue),
        bristle_color=vivid(rng, 0.1 + rng.uniform(-0.06, 0.06)),
    )


def add_brush(spec: mujoco.MjSpec, brush: Brush, position: np.ndarray, yaw: float) -> None:
    """Add ``brush`` as the free body ``brush`` with its bristle tips at ``position`` (3,)."""
    body = spec.worldbody.add_body(
        name="brush", pos=np.array(position) + [0, 0, brush.drop], quat=[np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]
    )
    body.add_freejoint(name="brush")
    grip_low = brush.bristles - brush.drop
    kw = dict(contacts.OBJECT)
    body.add_geom(
        type=BOX,
        size=[brush.half_length, brush.half_thickness, brush.bristles / 2],
        pos=[0, 0, brush.bristles / 2 - brush.drop],
        mass=0.7 * brush.mass,
        rgba=brush.bristle_color,
        **kw,
    )
    body.add_geom(
        type=BOX,
        size=[0.9 * brush.half_length, brush.grip_half_width, brush.grip_height / 2],
        pos=[0, 0, grip_low + brush.grip_height / 2],
        mass=0.2 * brush.mass,
        rgba=brush.color,
        **kw,
    )
    # The board between them, slightly wider than the bristles.
    body.add_geom(
        type=BOX,
        size=[brush.half_length + 0.001, brush.half_thickness + 0.001, 0.003],
        pos=[0, 0, grip_low - 0.003],
        mass=0.1 * brush.mass,
        rgba=brush.color,
        **kw,
    )


@dataclass(frozen=True)
class Dustpan:
    """One dustpan on the table. In its frame x runs from the middle of the lip inward, y along the lip.

    Attributes:
        lip: ``(2,)`` x, y of the lip's middle in the base frame, metres.
        heading: of its x axis about base z, radians.
        half_width, depth, height: of the inside, metres.
    """

    lip: tuple[float, float]
    heading: float
    half_width: float
    depth: float
    height: float

    @property
    def inward(self) -> np.ndarray:
        """``(2,)`` unit vector of its x axis in the base frame."""
        return np.array([np.cos(self.heading), np.sin(self.heading)])

    def local(self, xy: np.ndarray) -> np.ndarray:
        """Map ``(..., 2)`` base x, y to the pan's frame."""
        c, s = self.inward
        return (np.asarray(xy) - self.lip) @ np.array([[c, -s], [s, c]])

    def base(self, local: np.ndarray) -> np.ndarray:
        """Invert `local`."""
        c, s = self.inward
        return np.asarray(local) @ np.array([[c, s], [-s, c]]) + self.lip

    def holds(self, points: np.ndarray) -> np.ndarray:
        """Return which of ``(..., 3)`` base-frame points lie behind the lip, between the walls, below twice their
        height.
        """
        local = self.local(points[..., :2])
        return (
            (local[..., 0] > 0.004)
            & (local[..., 0] < self.depth + GIVE)
            & (np.abs(local[..., 1]) < self.half_width + GIVE)
            & (points[..., 2] < 2 * self.height)
        )

    def rim_points(self) -> np.ndarray:
        """Return ``(4, 3)`` base-frame points: both ends of the lip, and the rear corners at the top of the walls."""
        xy = self.base(
            np.array(
                [
                    [0.01, -self.half_width],
                    [0.01, self.half_width],
                    [self.depth, self.half_width],
                    [self.depth, -self.half_width],
                ]
            )
        )
        return np.concatenate([xy, np.full((4, 1), self.height)], -1)


def add_dustpan(spec: mujoco.MjSpec, pan: Dustpan, name: str, color: tuple[float, ...]) -> None:
    """Add ``pan`` to the scene, fixed to the table."""
    body = spec.worldbody.add_body(
        name=name, pos=[*pan.lip, 0.0], quat=[np.cos(pan.heading / 2), 0, 0, np.sin(pan.heading / 2)]
    )
    shade = np.array(color)
    w, d, h = pan.half_width, pan.depth, pan.height
    slope = np.arctan2(FLOOR, RAMP)
    body.add_geom(
        type=BOX,
        size=[(d - RAMP) / 2, w, FLOOR / 2],
        pos=[(d + RAMP) / 2, 0, FLOOR / 2],
        rgba=shade * [0.8, 0.8, 0.8, 1],
        **contacts.PAN_FLOOR,
    )
    # The lip is a slab whose upper face rises from the table to the floor.
    body.add_geom(
        type=BOX,
        size=[np.hypot(RAMP, FLOOR) / 2, w, FLOOR / 2],
        pos=[RAMP / 2 + FLOOR / 2 * np.sin(slope), 0, FLOOR / 2 - FLOOR / 2 * np.cos(slope)],
        quat=[np.cos(slope / 2), 0, -np.sin(slope / 2), 0],
        rgba=shade * [0.6, 0.6, 0.6, 1],
        **contacts.PAN_FLOOR,
    )
    for y in (-1, 1):
        body.add_geom(
            type=BOX,
            size=[d / 2, WALL / 2, h / 2],
            pos=[d / 2, y * (w + WALL / 2), h / 2],
            rgba=shade,
            **contacts.PAN_WALL,
        )
    body.add_geom(
        type=BOX, size=[WALL / 2, w + WALL, h / 2], pos=[d + WALL / 2, 0, h / 2], rgba=shade, **contacts.PAN_WALL
    )
    body.add_geom(
        type=BOX,
        size=[0.03, 0.011, 0.006],
        pos=[d + WALL + 0.03, 0, h - 0.006],
        rgba=shade * [0.7, 0.7, 0.7, 1],
        **contacts.PAN_WALL,
    )


def add_scrap(
    spec: mujoco.MjSpec, name: str, half_size: np.ndarray, position: np.ndarray, yaw: float, color: tuple[float, ...]
) -> None:
    """Add a folded scrap of paper as the free body ``name``, within ``half_size`` (3,) metres.

    One half of it has two layers: a step that no bit of the training data has.
    """
    body = spec.worldbody.add_body(name=name, pos=position, quat=[np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)])
    body.add_freejoint(name=name)
    x, y, z = (float(v) for v in half_size)
    low, high = LAYER * z, (1.0 - LAYER) * z
    # 150 kg/m3: folded paper contains air.
    kw = dict(type=BOX, density=150.0, rgba=color, **contacts.SCRAP)
    body.add_geom(size=[x, y, low], pos=[0.0, 0.0, low - z], **kw)
    body.add_geom(size=[x / 2, y, high], pos=[-x / 2, 0.0, z - high], **kw)
