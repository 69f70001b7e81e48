"""A catalogue of objects: boxes, cans, bottles, mugs, bowls, trays, pebbles, bars, utensils and tools, from primitives
and meshes.

A shape depends on its kind and number only, so that `HELD_OUT` can list shapes that training excludes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import Any

import mujoco
import numpy as np

from uma_sim.objects import contacts, containers, scrapers, utensils
from uma_sim.objects.containers import rings, walls

COUNT = 40
"""Number of shapes of each kind."""

G = mujoco.mjtGeom


@dataclass(frozen=True)
class CatalogShape:
    """One shape. In its frame z points up at rest on the table, x runs along the grasp axis, and the jaws close along
    y.

    Attributes:
        name: kind and number, such as "bottle-07".
        geoms: keyword arguments of each geom; ``shade``, a factor or three, darkens the object's colour.
        mesh: ``(V, 3)`` vertices of an additional convex hull, or None.
        points: ``(16, 3)`` on the surface.
        half_height: height of the origin above the table, metres.
        radius: of its footprint.
        grasp_axis: ``(low, high)`` along x, metres; None for shapes too wide for the gripper.
        grasp_z: height of the grasp above the origin.
        width: between the jaws there.
        tip: ``(3,)`` middle of a tool's functional end; None for other objects.
        blade: half length and half thickness of an upright tool's edge, metres; None for other objects.
    """

    name: str
    geoms: tuple[dict, ...]
    points: np.ndarray
    half_height: float
    radius: float
    grasp_axis: tuple[float, float] | None
    grasp_z: float = 0.0
    width: float = 0.0
    mesh: np.ndarray | None = None
    tip: np.ndarray | None = None
    blade: tuple[float, float] | None = None

    @property
    def kind(self) -> str:
        """The name without its number."""
        return self.name.rsplit("-", 1)[0]


@dataclass(frozen=True)
class Finish:
    """Scene-dependent properties of a shape: mass in kilograms, sliding friction, RGBA."""

    mass: float
    friction: float
    color: tuple[float, ...] = field(default=(0.5, 0.5, 0.5, 1.0))


def _box(half: Any, at: Any = (0.0, 0.0, 0.0), shade: float = 1.0, **more: Any) -> dict:
    return dict(type=G.mjGEOM_BOX, size=list(half), pos=list(at), shade=shade, **more)


def _grasp_z(half_height: float) -> float:
    """Height of a top-down grasp above the origin: 1.2 cm below the top, but with the tips above the table."""
    return max(0.0165 - half_height, half_height - 0.012)


def _shell(half: np.ndarray) -> np.ndarray:
    """``(16, 3)`` points on the faces of a box."""
    s = np.array([[x, y] for x in (-0.8, -0.27, 0.27, 0.8) for y in (-0.6, 0.6)])
    top = np.column_stack([s, np.ones(8)])
    sides = np.column_stack([np.repeat([-0.8, -0.27, 0.27, 0.8], 2), np.tile([-1.0, 1.0], 4), np.zeros(8)])
    return np.concatenate([top, sides]) * half


def _make_box(rng: np.random.Generator) -> dict:
    half = np.array([rng.uniform(0.02, 0.05), rng.uniform(0.012, 0.026), rng.uniform(0.012, 0.035)])
    lid = (_box([half[0] * 0.98, 0.3 * half[1], 0.0004], [0, 0, half[2]], 0.7),)
    return dict(
        geoms=(_box(half), *lid),
        points=_shell(half),
        half_height=half[2],
        radius=float(np.hypot(*half[:2])),
        grasp_axis=(-0.6 * half[0], 0.6 * half[0]),
        grasp_z=_grasp_z(half[2]),
        width=2 * half[1],
    )


def _make_bar(rng: np.random.Generator) -> dict:
    half = np.array([rng.uniform(0.06, 0.09), rng.uniform(0.008, 0.016), rng.uniform(0.008, 0.016)])
    return dict(
        geoms=(_box(half), _box([0.012, half[1] + 0.0005, half[2] + 0.0005], [half[0] - 0.02, 0, 0], 0.6)),
        points=_shell(half),
        half_height=half[2] + 0.0005,
        radius=half[0],
        grasp_axis=(-0.6 * half[0], 0.6 * half[0]),
        grasp_z=_grasp_z(half[2]),
        width=2 * half[1],
    )


def _make_can(rng: np.random.Generator) -> dict:
    r, h = rng.uniform(0.016, 0.027), rng.uniform(0.025, 0.055)
    label = dict(type=G.mjGEOM_CYLINDER, size=[r + 0.0004, 0.5 * h, 0], pos=[0, 0, 0], shade=0.6)
    return dict(
        geoms=(dict(type=G.mjGEOM_CYLINDER, size=[r, h, 0], pos=[0, 0, 0], shade=1.0), label),
        points=rings((r, 0.8 * r), (0.4 * h, h)),
        half_height=h,
        radius=r,
        grasp_axis=(-0.003, 0.003),
        grasp_z=_grasp_z(h),
        width=2 * r,
    )


def _make_bottle(rng: np.random.Generator) -> dict:
    r, h, neck = rng.uniform(0.020, 0.027), rng.uniform(0.055, 0.085), rng.uniform(0.35, 0.5)
    profile = [(r * 0.92, -h), (r, -0.9 * h), (r, 0.2 * h), (r * 0.8, 0.45 * h), (r * neck, 0.7 * h), (r * neck, h)]
    angle = np.arange(16) * np.pi / 8
    mesh = np.array([[radius * np.cos(a), radius * np.sin(a), z] for radius, z in profile[:4] for a in angle])
    cap = dict(type=G.mjGEOM_CYLINDER, size=[r * neck, 0.3 * h, 0], pos=[0, 0, 0.7 * h], shade=0.6)
    return dict(
        geoms=(cap,),
        mesh=mesh,
        points=rings((r, r * neck), (0.0, 0.85 * h)),
        half_height=h,
        radius=r,
        grasp_axis=(-0.003, 0.003),
        grasp_z=0.1 * h,
        width=2 * r,
    )


def _make_pebble(rng: np.random.Generator) -> dict:
    half = np.array([rng.uniform(0.018, 0.032), rng.uniform(0.014, 0.024), rng.uniform(0.012, 0.020)])
    directions = rng.normal(size=(40, 3))
    mesh = directions / np.linalg.norm(directions, axis=1, keepdims=True) * half * rng.uniform(0.9, 1.0, (40, 1))
    low = float(mesh[:, 2].min())
    mesh[:, 2] = np.maximum(mesh[:, 2], 0.6 * low)  # a flat underside prevents rolling
    top = mesh[np.argsort(-mesh[:, 2])[:16]]
    return dict(
        geoms=(),
        mesh=mesh,
        points=top,
        half_height=-0.6 * low,
        radius=float(half[0]),
        grasp_axis=(-0.004, 0.004),
        grasp_z=max(0.0165 + 0.6 * low, 0.0),
        width=2 * half[1],
    )


def _make_mug(rng: np.random.Generator) -> dict:
    r, h = rng.uniform(0.020, 0.0245), rng.uniform(0.035, 0.05)
    reach = r + 0.003
    ends = [(reach, 0.5 * h), (reach + 0.02, 0.35 * h), (reach + 0.02, -0.35 * h), (reach, -0.5 * h)]
    handle = [
        dict(type=G.mjGEOM_CAPSULE, size=[0.004, 0, 0], fromto=[a[0], 0, a[1], b[0], 0, b[1]], shade=0.7)
        for a, b in zip(ends[:-1], ends[1:], strict=True)
    ]
    return dict(
        geoms=(*walls(r, h, 8, 0.003), *handle),
        points=rings((r + 0.003, r + 0.0015), (0.0, h)),
        half_height=h,
        radius=r + 0.03,
        grasp_axis=(-0.003, 0.003),
        grasp_z=_grasp_z(h),
        width=2 * (r + 0.003),
    )


def _make_utensil(rng: np.random.Generator) -> dict:
    drawn = utensils.sample(rng)
    spec = mujoco.MjSpec()
    utensils.add_body(spec, drawn, np.zeros(3), 0.0)
    geoms = []
    for g in spec.body("utensil").geoms:
        place = dict(fromto=list(g.fromto)) if g.type == G.mjGEOM_CAPSULE else dict(pos=list(g.pos))
        geoms.append(dict(type=g.type, size=list(g.size), shade=1.0 if not geoms else 0.75, **place))
    low, half = drawn.half_length, drawn.handle_thickness / 2
    return dict(
        geoms=tuple(geoms),
        points=drawn.points(),
        half_height=max(half, 0.014 if drawn.shape == "whisk" else half),
        radius=low,
        grasp_axis=(-0.5 * low, 0.35 * low),
        grasp_z=_grasp_z(half),
        width=drawn.handle_width,
    )


def _tool(rng: np.random.Generator, heads: Callable[[float, float, float], tuple[list[dict], np.ndarray]]) -> dict:
    """A flat bar with ``heads(x of its end, half width, half thickness)`` at its far end."""
    half, w, t = rng.uniform(0.075, 0.095), rng.uniform(0.007, 0.010), rng.uniform(0.008, 0.011)
    head, tip = heads(half, w, t)
    points = _shell(np.array([half, w, t]))
    return dict(
        geoms=(_box([half, w, t]), *head),
        points=points,
        half_height=t,
        radius=half + 0.03,
        grasp_axis=(-0.8 * half, -0.1 * half),
        grasp_z=_grasp_z(t),
        width=2 * w,
        tip=tip,
    )


def _make_stick(rng: np.random.Generator) -> dict:
    n = rng.uniform(0.008, 0.016)
    return _tool(rng, lambda x, w, t: ([_box([n, w + 0.002, t], [x + n, 0, 0], 0.6)], np.array([x + 2 * n, 0.0, 0.0])))


def _make_rake(rng: np.random.Generator) -> dict:
    wide, n = rng.uniform(0.035, 0.05), rng.uniform(0.006, 0.009)
    # Its side faces sweep: the head runs along the bar, so that a stroke across it meets the target flat.
    return _tool(
        rng, lambda x, w, t: ([_box([wide, n, t], [x + wide - 0.01, 0, 0], 0.6)], np.array([x + wide - 0.01, n, 0.0]))
    )


def _make_hook(rng: np.random.Generator) -> dict:
    arm, n, side = rng.uniform(0.03, 0.045), rng.uniform(0.006, 0.009), float(rng.choice([-1, 1]))
    return _tool(
        rng,
        lambda x, w, t: (
            [_box([n, arm, t], [x - n, side * (w + arm - 0.001), 0], 0.6)],
            np.array([x - 2 * n, side * (w + 1.15 * arm), 0.0]),
        ),
    )


MAKERS: dict[str, Callable[[np.random.Generator], dict]] = {
    "box": _make_box,
    "bar": _make_bar,
    "can": _make_can,
    "bottle": _make_bottle,
    "pebble": _make_pebble,
    "mug": _make_mug,
    "bowl": containers.make_bowl,
    "utensil": _make_utensil,
    "stick": _make_stick,
    "rake": _make_rake,
    "hook": _make_hook,
    "scraper": scrapers.make,
    "tray": containers.make_tray,
}
"""kind -> function that draws a shape's fields."""

HELD_OUT: frozenset[str] = frozenset(
    json.loads(resources.files("uma_sim").joinpath("assets/held_out.json").read_text(encoding="utf-8"))["shapes"]
)
"""Names of the evaluation-only shapes."""


def shape(kind: str, number: int) -> CatalogShape:
    """Return shape ``number`` (0 to `COUNT` - 1) of a kind; deterministic."""
    rng = np.random.default_rng([sum(map(ord, kind)), number, 40])
    return CatalogShape(name=f"{kind}-{number:02d}", **MAKERS[kind](rng))


def sample(rng: np.random.Generator, kinds: tuple[str, ...], held_out: bool = False) -> CatalogShape:
    """Draw a random shape of ``kinds``, either held out or not."""
    while True:
        kind, number = str(rng.choice(kinds)), int(rng.integers(COUNT))
        if (f"{kind}-{number:02d}" in HELD_OUT) == held_out:
            return shape(kind, number)


def finish(rng: np.random.Generator, light: bool = False) -> Finish:
    """Draw a random finish; ``light`` for pushed objects."""
    return Finish(
        float(rng.uniform(0.02, 0.05) if light else rng.uniform(0.03, 0.15)),
        float(rng.uniform(0.9, 1.4)),
        utensils.vivid(rng),
    )


def _add_geoms(
    spec: mujoco.MjSpec, body: Any, thing: CatalogShape, mesh: str, density: float, color: np.ndarray, friction: float
) -> None:
    kw = dict(contacts.OBJECT, density=density, friction=[friction, *contacts.OBJECT["friction"][1:]])
    if thing.mesh is not None:
        spec.add_mesh(name=mesh, uservert=thing.mesh.ravel(), inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_CONVEX)
        body.add_geom(type=G.mjGEOM_MESH, meshname=mesh, rgba=color, **kw)
    for geom in thing.geoms:
        body.add_geom(**{k: v for k, v in geom.items() if k != "shade"}, rgba=[*(geom["shade"] * color[:3]), 1.0], **kw)


@lru_cache(maxsize=512)
def volume(name: str) -> float:
    """Return the volume of a shape in cubic metres, from its mass at unit density."""
    kind, number = name.rsplit("-", 1)
    spec = mujoco.MjSpec()
    body = spec.worldbody.add_body(name="thing")
    _add_geoms(spec, body, shape(kind, int(number)), "mesh", 1.0, np.ones(4), 1.0)
    return float(spec.compile().body_mass[1])


def add_thing(
    spec: mujoco.MjSpec, thing: CatalogShape, look: Finish, name: str, position: np.ndarray, yaw: float
) -> None:
    """Add ``thing`` as the free body ``name``, at rest at ``position`` (2,) on the table."""
    body = spec.worldbody.add_body(
        name=name, pos=[*position, thing.half_height + 0.001], quat=[np.cos(yaw / 2), 0, 0, np.sin(yaw / 2)]
    )
    body.add_freejoint(name=name)
    _add_geoms(spec, body, thing, f"{name}_mesh", look.mass / volume(thing.name), np.array(look.color), look.friction)
