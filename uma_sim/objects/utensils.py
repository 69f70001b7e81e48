"""Kitchen utensils made of primitives: shape, mass, colour and surface points."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from dataclasses import dataclass

import mujoco
import numpy as np

from uma_sim.objects import contacts

NUM_POINTS = 16
"""Number of surface keypoints of a utensil."""


@dataclass(frozen=True)
class Proportions:
    """Ranges that distinguish families of utensils.

    Attributes:
        handle_width: ``(low, high)`` metres.
        head_width: factor on the width of every head.
    """

    handle_width: tuple[float, float]
    head_width: float


SEEN, UNSEEN = Proportions((0.011, 0.016), 1.0), Proportions((0.0175, 0.022), 0.85)
"""Families of the training data and of the benchmark. No utensil belongs to both."""


@dataclass(frozen=True)
class Utensil:
    """One utensil. In its frame x runs toward the head, z is its thin direction, and the origin is at half its length.

    Attributes:
        shape: a key of `SHAPES`.
        length, handle_width, handle_thickness, head_length: metres.
        mass: kilograms.
        color, head_color: ``(4,)`` RGBA in [0, 1].
        head_width: factor on the width of the head of `SHAPES`.
    """

    shape: str
    length: float
    handle_width: float
    handle_thickness: float
    head_length: float
    mass: float
    color: tuple[float, ...]
    head_color: tuple[float, ...]
    head_width: float = 1.0

    @property
    def half_length(self) -> float:
        """Metres from the origin to either end."""
        return self.length / 2

    def points(self) -> np.ndarray:
        """Return ``(16, 3)`` surface points in the utensil's frame: eight stations, alternately on sides and faces."""
        x = np.linspace(-0.97, 0.97, NUM_POINTS // 2) * self.half_length
        out = np.zeros((NUM_POINTS, 3))
        out[:, 0] = np.repeat(x, 2)
        sign = np.tile([1.0, -1.0], NUM_POINTS // 2)
        for i, xi in enumerate(out[:, 0]):
            in_head = xi > self.half_length - self.head_length
            if in_head:
                width, thickness = SHAPES[self.shape].profile(
                    (xi - self.half_length + self.head_length) / self.head_length
                )
                width *= self.head_width
            else:
                width, thickness = self.handle_width / 2, self.handle_thickness / 2
            out[i, 1 if (i // 2) % 2 == 0 else 2] = sign[i] * (width if (i // 2) % 2 == 0 else thickness)
        return out


@dataclass(frozen=True)
class Shape:
    """The head of a utensil.

    Attributes:
        head_length: ``(low, high)`` metres.
        profile: maps the position along the head (0 at the handle, 1 at the tip) to half width and half thickness in
            metres.
        draw: adds the head's geoms, given the body, the x where the head starts, its length, its keyword defaults and
            a factor on its width.
    """

    head_length: tuple[float, float]
    profile: Callable[[float], tuple[float, float]]
    draw: Callable


def _ellipse(s: float, half_width: float, half_thickness: float) -> tuple[float, float]:
    r = float(np.sqrt(max(0.0, 1 - (2 * s - 1) ** 2)))
    return half_width * r, half_thickness * r


def _box(body, x0, x1, half_width, half_thickness, kw, y=0.0) -> None:
    body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[(x1 - x0) / 2, half_width, half_thickness],
        pos=[(x0 + x1) / 2, y, 0],
        **kw,
    )


def _draw_spoon(body, x, n, kw, wide) -> None:
    body.add_geom(type=mujoco.mjtGeom.mjGEOM_ELLIPSOID, size=[n / 2, wide * 0.018, 0.006], pos=[x + n / 2, 0, 0], **kw)


def _draw_fork(body, x, n, kw, wide) -> None:
    _box(body, x - 0.002, x + 0.4 * n, wide * 0.013, 0.003, kw)
    for y in (-0.0105, 0.0, 0.0105):
        _box(body, x + 0.4 * n, x + n, wide * 0.0025, 0.003, kw, wide * y)


def _draw_spatula(body, x, n, kw, wide) -> None:
    _box(body, x - 0.002, x + n, wide * 0.019, 0.0035, kw)


def _draw_knife(body, x, n, kw, wide) -> None:
    _box(body, x - 0.002, x + 0.8 * n, wide * 0.009, 0.0025, kw)
    tip = [0.3 * n, wide * 0.009, 0.0025]
    body.add_geom(type=mujoco.mjtGeom.mjGEOM_ELLIPSOID, size=tip, pos=[x + 0.7 * n, 0, 0], **kw)


def _draw_brush(body, x, n, kw, wide) -> None:
    _box(body, x - 0.002, x + 0.45 * n, wide * 0.016, 0.006, kw)
    dark = dict(kw, rgba=[*(0.45 * np.array(kw["rgba"][:3]) + 0.35 * np.array([1.0, 0.75, 0.2])), 1.0])
    for y in (-0.012, -0.004, 0.004, 0.012):
        _box(body, x + 0.45 * n, x + n, wide * 0.0036, 0.0055, dark, wide * y)


def _draw_whisk(body, x, n, kw, wide) -> None:
    for angle in (0.0, np.pi / 3, 2 * np.pi / 3):
        side = np.array([0.0, wide * np.cos(angle), np.sin(angle)])
        for sign in (-1, 1):
            mid = np.array([x + 0.6 * n, 0, 0]) + sign * 0.0135 * side
            for a, b in ((np.array([x, 0, 0]), mid), (mid, np.array([x + n - 0.002, 0, 0]))):
                body.add_geom(type=mujoco.mjtGeom.mjGEOM_CAPSULE, size=[0.0018, 0, 0], fromto=[*a, *b], **kw)


def _whisk_profile(s: float) -> tuple[float, float]:
    r = 0.0018 + 0.0135 * (s / 0.6 if s < 0.6 else (1 - s) / 0.4)
    return r, 0.866 * r


SHAPES: dict[str, Shape] = {
    "spoon": Shape((0.036, 0.042), lambda s: _ellipse(s, 0.018, 0.006), _draw_spoon),
    "fork": Shape((0.036, 0.042), lambda s: (0.013, 0.003), _draw_fork),
    "spatula": Shape((0.036, 0.042), lambda s: (0.019, 0.0035), _draw_spatula),
    "knife": Shape(
        (0.040, 0.050),
        lambda s: (0.009 if s < 0.8 else 0.009 * float(np.sqrt(max(0.0, 1 - ((s - 0.7) / 0.3) ** 2))), 0.0025),
        _draw_knife,
    ),
    "brush": Shape(
        (0.034, 0.040), lambda s: (0.016 if s < 0.45 else 0.0156, 0.006 if s < 0.45 else 0.0055), _draw_brush
    ),
    "whisk": Shape((0.040, 0.046), _whisk_profile, _draw_whisk),
}


def vivid(rng: np.random.Generator, hue: float | None = None) -> tuple[float, ...]:
    """Draw a saturated RGBA colour. Robot and table are grey, so colour distinguishes objects."""
    h = float(rng.uniform()) if hue is None else hue % 1.0
    return (*colorsys.hsv_to_rgb(h, rng.uniform(0.65, 0.95), rng.uniform(0.6, 0.95)), 1.0)


def sample(rng: np.random.Generator, shape: str | None = None, family: Proportions = SEEN) -> Utensil:
    """Draw a random utensil of ``family``, of ``shape`` if given.

    Raises:
        ValueError: the shape is not in `SHAPES`.
    """
    if shape is not None and shape not in SHAPES:
        raise ValueError(f"shape {shape!r}: must be one of {sorted(SHAPES)}")
    drawn = str(rng.choice(sorted(SHAPES)))
    name = shape or drawn
    hue = float(rng.uniform())
    return Utensil(
        shape=name,
        length=float(rng.uniform(0.14, 0.185)),
        handle_width=float(rng.uniform(*family.handle_width)),
        handle_thickness=float(rng.uniform(0.011, 0.016)),
        head_length=float(rng.uniform(*SHAPES[name].head_length)),
        mass=float(rng.uniform(0.04, 0.11)),
        color=vivid(rng, hue),
        head_color=vivid(rng, hue + rng.uniform(-0.08, 0.08)),
        head_width=family.head_width,
    )


def add_body(spec: mujoco.MjSpec, utensil: Utensil, position: np.ndarray, yaw: float) -> None:
    """Add ``utensil`` as the free body ``utensil`` at ``position`` (3,) with ``yaw`` radians about base z."""
    body = spec.worldbody.add_body(name="utensil", pos=position, quat=[np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)])
    body.add_freejoint(name="utensil")
    h, n = utensil.half_length, utensil.head_length
    # The mass is distributed by volume, mostly in the handle.
    kw = dict(contacts.OBJECT, density=1.0)
    _box(body, -h, h - n, utensil.handle_width / 2, utensil.handle_thickness / 2, dict(kw, rgba=utensil.color))
    SHAPES[utensil.shape].draw(body, h - n, n, dict(kw, rgba=utensil.head_color), utensil.head_width)
    volumes = [_volume(geom) for geom in body.geoms]
    for geom, volume in zip(body.geoms, volumes, strict=True):
        geom.mass = utensil.mass * volume / sum(volumes)


def _volume(geom) -> float:
    a, b, c = (float(v) for v in geom.size)
    if geom.type == mujoco.mjtGeom.mjGEOM_BOX:
        return 8 * a * b * c
    if geom.type == mujoco.mjtGeom.mjGEOM_ELLIPSOID:
        return 4 / 3 * np.pi * a * b * c
    ends = np.array(geom.fromto)
    return float(np.pi * a * a * np.linalg.norm(ends[:3] - ends[3:]))
