"""Debris of the gathering primitive: small bits, straight push paths, and low trays at their ends."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from uma_sim.objects import contacts

BOX = mujoco.mjtGeom.mjGEOM_BOX


@dataclass(frozen=True)
class Bit:
    """One bit.

    Attributes:
        half: ``(3,)`` half sizes, metres; the last is its height at rest.
        place: ``(3,)`` x, y in the base frame, yaw.
        number: seed of a pebble's shape; None for a box.
        density: kg/m3.
        color: RGBA.
    """

    half: np.ndarray
    place: np.ndarray
    number: int | None
    density: float
    color: tuple[float, ...]

    @property
    def radius(self) -> float:
        """Radius of its footprint, metres."""
        return float(np.hypot(*self.half[:2])) if self.number is None else float(self.half[:2].max())

    def point(self, turn: int) -> np.ndarray:
        """Return a surface point ``(3,)`` in its frame: the top's centre for turn 0, and points beside it otherwise."""
        angle = 2.4 * turn
        return (
            self.half * np.array([0.6 * np.cos(angle), 0.6 * np.sin(angle), 0.8])
            if turn
            else self.half * [0.0, 0.0, 1.0]
        )


@dataclass(frozen=True)
class PushPath:
    """A straight push path on the table. In its frame x runs along it from its start, and y to its left.

    Attributes:
        start: ``(2,)`` base frame, metres.
        heading: of its x axis about base z, radians.
        length: metres.
    """

    start: np.ndarray
    heading: float
    length: float

    @property
    def direction(self) -> np.ndarray:
        """``(2,)`` unit vector along it, base frame."""
        return np.array([np.cos(self.heading), np.sin(self.heading)])

    def local(self, xy: np.ndarray) -> np.ndarray:
        """Map ``(..., 2)`` base x, y to the path's frame."""
        c, s = self.direction
        return (np.asarray(xy) - self.start) @ np.array([[c, -s], [s, c]])

    def base(self, local: np.ndarray) -> np.ndarray:
        """Invert `local`."""
        c, s = self.direction
        return np.asarray(local) @ np.array([[c, s], [-s, c]]) + self.start


@dataclass(frozen=True)
class Tray:
    """A low tray across the end of a path, fixed to the table; coordinates are in the path's frame.

    Attributes:
        lip: x of its lip, metres.
        half_width, depth: of the inside.
        floor: thickness.
        slope: depths of the lip's two slopes, each rising by half the floor. Equal depths form one slope, others a
            kink.
        walls: height of the side walls; 0 for none.
        back: height of the rear wall; 0 for none.
        color: RGBA.
    """

    lip: float
    half_width: float
    depth: float
    floor: float
    slope: tuple[float, float]
    walls: float
    back: float
    color: tuple[float, ...]

    def holds(self, way: PushPath, points: np.ndarray) -> np.ndarray:
        """Return which of ``(..., 3)`` base-frame points lie low, behind the lip and between the sides."""
        local = way.local(points[..., :2])
        inside = (
            (local[..., 0] > self.lip + 0.004)
            & (local[..., 0] < self.lip + self.depth)
            & (np.abs(local[..., 1]) < self.half_width)
        )
        return inside & (points[..., 2] < 0.05)

    def corners(self, way: PushPath) -> np.ndarray:
        """Return the ``(4, 3)`` corners of its floor in the base frame."""
        w, x = self.half_width, (self.lip, self.lip + self.depth)
        return np.concatenate(
            [way.base(np.array([[x[0], -w], [x[0], w], [x[1], w], [x[1], -w]])), np.full((4, 1), self.floor)], -1
        )


def sample_tray(rng: np.random.Generator, lip: float, half_width: float) -> Tray:
    """Draw a random tray with its lip at ``lip``, up to 3 cm wider than ``half_width``."""
    first = rng.uniform(0.005, 0.012)
    return Tray(
        lip=lip,
        half_width=half_width + float(rng.uniform(0.0, 0.03)),
        depth=float(rng.uniform(0.10, 0.13)),
        floor=float(rng.uniform(0.0015, 0.003)),
        slope=(float(first), float(first if rng.uniform() < 0.5 else rng.uniform(0.008, 0.020))),
        walls=float(rng.choice([0.0, rng.uniform(0.005, 0.016)])),
        back=float(rng.choice([0.0, rng.uniform(0.006, 0.030)])),
        color=(*(float(c) for c in rng.uniform(0.1, 0.95, 3)), 1.0),
    )


def add_tray(spec: mujoco.MjSpec, tray: Tray, way: PushPath, name: str) -> None:
    """Add ``tray`` to the scene as the fixed body ``name``."""
    c, s = np.cos(way.heading / 2), np.sin(way.heading / 2)
    body = spec.worldbody.add_body(name=name, pos=[*way.base(np.array([tray.lip, 0.0])), 0.0], quat=[c, 0, 0, s])
    shade, w, d, thick = np.array(tray.color), tray.half_width, tray.depth, tray.floor
    x, z = 0.0, 0.0
    for run in tray.slope:
        # A slab whose upper face continues the previous one.
        rise = thick / 2
        tilt, half = np.arctan2(rise, run), np.hypot(run, rise) / 2
        middle = np.array([x + run / 2, z + rise / 2]) + thick / 2 * np.array([np.sin(tilt), -np.cos(tilt)])
        body.add_geom(
            type=BOX,
            size=[half, w, thick / 2],
            pos=[middle[0], 0, middle[1]],
            quat=[np.cos(tilt / 2), 0, -np.sin(tilt / 2), 0],
            rgba=shade * [0.6, 0.6, 0.6, 1],
            **contacts.PAN_FLOOR,
        )
        x, z = x + run, z + rise
    body.add_geom(
        type=BOX,
        size=[(d - x) / 2, w, thick / 2],
        pos=[(d + x) / 2, 0, thick / 2],
        rgba=shade * [0.8, 0.8, 0.8, 1],
        **contacts.PAN_FLOOR,
    )
    if tray.walls:
        for y in (-1, 1):
            body.add_geom(
                type=BOX,
                size=[d / 2, 0.002, tray.walls / 2],
                pos=[d / 2, y * (w + 0.002), tray.walls / 2],
                rgba=shade,
                **contacts.PAN_WALL,
            )
    if tray.back:
        body.add_geom(
            type=BOX,
            size=[0.002, w + 0.004, tray.back / 2],
            pos=[d + 0.002, 0, tray.back / 2],
            rgba=shade,
            **contacts.PAN_WALL,
        )


def add_bit(spec: mujoco.MjSpec, bit: Bit, name: str) -> None:
    """Add ``bit`` as the free body ``name``."""
    yaw = float(bit.place[2])
    body = spec.worldbody.add_body(
        name=name, pos=[*bit.place[:2], bit.half[2] + 0.001], quat=[np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]
    )
    body.add_freejoint(name=name)
    kw = dict(contacts.SCRAP, density=bit.density, rgba=bit.color)
    if bit.number is None:
        body.add_geom(type=BOX, size=bit.half, **kw)
        return
    directions = np.random.default_rng([bit.number, 41]).normal(size=(24, 3))
    mesh = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    # A flat underside prevents rolling, and the full height keeps a tool's edge from riding up.
    mesh[:, 2] = np.maximum(mesh[:, 2], -0.55)
    mesh = mesh * [*bit.half[:2], 1.0]
    low, high = mesh[:, 2].min(), mesh[:, 2].max()
    mesh[:, 2] = bit.half[2] * (2 * (mesh[:, 2] - low) / (high - low) - 1)
    spec.add_mesh(name=f"{name}_mesh", uservert=mesh.ravel(), inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX)
    body.add_geom(type=mujoco.mjtGeom.mjGEOM_MESH, meshname=f"{name}_mesh", **kw)
