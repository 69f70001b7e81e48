"""Scenes of the "gather" primitive: a heap of bits, two straight paths, an upright tool, optional trays and other
objects.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uma_sim import scene
from uma_sim.objects import catalog as shapes
from uma_sim.objects import debris as bits
from uma_sim.objects import utensils
from uma_sim.objects.catalog import CatalogShape, Finish
from uma_sim.objects.debris import Bit, PushPath, Tray
from uma_sim.scene import Room

BEHIND = 0.055
"""Metres from the tool's face to the centre of the nearest bit at the start of a stroke."""

AHEAD = 0.007
"""Approximate metres from the tool's face to the centre of a pushed bit."""

PAST_LIP = (0.015, 0.040)
"""Range of the distance from a tray's lip to the tool's face at the end of a stroke, metres.

A stroke that ends short by centimetres leaves bits before the lip, and is corrected.
"""

APART, APART_TRAYS = 0.6, 1.0
"""Least angle between the two paths, radians: without and with trays."""

LONGEST = 0.21
"""Longest path, metres."""

SMALLEST = 0.005
"""Least half size of a bit, metres. The tool's edge, raised by noise, would ride up on a lower one."""

LOW, HIGH = np.array([0.32, -0.27]), np.array([0.68, 0.29])
"""Corners of the area of strokes, base frame, metres."""


@dataclass(frozen=True)
class Scene:
    """One sampled scene.

    Attributes:
        room: robot, camera and light.
        tool, finish, tool_place: the tool; place ``(3,)`` x, y, yaw.
        bits: the bits.
        ways: two paths from the centre of the bits.
        trays: one at the end of each path, or none.
        others: object, finish and place ``(3,)`` of uninvolved objects.
        goal: index of the goal path; only the reference motion reveals it.
    """

    room: Room
    tool: CatalogShape
    finish: Finish
    tool_place: np.ndarray
    bits: tuple[Bit, ...]
    ways: tuple[PushPath, PushPath]
    trays: tuple[Tray, ...]
    others: tuple[tuple[CatalogShape, Finish, np.ndarray], ...]
    goal: int


def behind(x: float, half_thickness: float) -> float:
    """Return the tool centre at the start of a stroke at bits from ``x`` on, metres along the path."""
    return x - BEHIND - half_thickness


def sample(seed: int, held_out: bool = False) -> Scene:
    """Sample the scene of ``seed``; ``held_out`` draws the tool from the evaluation-only shapes."""
    rng = np.random.default_rng([seed, 70])
    room = scene.varied_room(rng)
    tool = shapes.sample(rng, ("scraper",), held_out)
    length, thick = tool.blade or (0.0, 0.0)
    radius = float(rng.uniform(0.018, max(0.020, min(0.040, 0.8 * length - 0.004))))  # the heap that the blade can hold
    has_trays = bool(rng.uniform() < 0.8)
    while True:
        middle = rng.uniform([0.43, -0.14], [0.57, 0.14])
        ways = _ways(rng, middle, radius, thick, has_trays)
        trays = (
            tuple(
                bits.sample_tray(rng, way.length - AHEAD - rng.uniform(*PAST_LIP), max(length, radius) + 0.012)
                for way in ways
            )
            if has_trays
            else ()
        )
        if trays and not _stand_apart(ways, trays, max(length, radius) + 0.015, radius + BEHIND + thick):
            continue
        ground = np.concatenate([middle[None], *(_ground(way, tray) for way, tray in zip(ways, trays, strict=False))])
        place = _free_place(
            rng,
            (0.40, -0.27),
            (0.60, 0.25),
            ground,
            tool.radius + np.where(np.arange(len(ground)) == 0, radius + 0.04, 0.015),
        )
        if place is not None:
            break
    others = []
    ground = np.concatenate(
        [
            ground,
            place[None, :2],
            *(way.base(np.array([[behind(-radius, thick), 0.0], [way.length, 0.0]])) for way in ways),
        ]
    )
    for _ in range(int(rng.integers(0, 3))):
        thing = shapes.sample(rng, ("box", "can", "pebble", "bowl"))
        spot = _free_place(rng, (0.68, -0.38), (0.80, 0.38), ground, np.array(thing.radius + tool.radius + 0.04))
        if spot is not None:
            ground = np.concatenate([ground, spot[None, :2]])
            others.append((thing, shapes.finish(rng), spot))
    return Scene(
        room,
        tool,
        shapes.finish(rng),
        place,
        _heap(rng, middle, radius),
        ways,
        trays,
        tuple(others),
        int(rng.integers(2)),
    )


def _ways(
    rng: np.random.Generator, middle: np.ndarray, radius: float, thick: float, has_trays: bool
) -> tuple[PushPath, PushPath]:
    """Draw two paths within reach of arm and wrist, with ends well apart."""
    out: list[PushPath] = []
    tries = 0
    # Trays of closer paths would collide.
    apart = APART_TRAYS if has_trays else APART
    while len(out) < 2:
        tries += 1
        if tries % 50 == 0:
            out = []
        # The lip must lie beyond the heap, not under it.
        way = PushPath(
            middle,
            float(rng.uniform(-np.pi, np.pi)),
            float(rng.uniform(radius + 0.065 if has_trays else 0.08, LONGEST)),
        )
        ends = way.base(np.array([[behind(-radius, thick), 0.0], [way.length, 0.0]]))
        if not ((ends > LOW) & (ends < HIGH)).all():
            continue
        if out:
            turn = np.abs((way.heading - out[0].heading + np.pi) % (2 * np.pi) - np.pi)
            if (
                turn < apart
                or np.linalg.norm(way.base(np.array([way.length, 0.0])) - out[0].base(np.array([out[0].length, 0.0])))
                < 0.10
            ):
                continue
        out.append(way)
    return out[0], out[1]


def _ground(way: PushPath, tray: Tray) -> np.ndarray:
    """Return ``(36, 2)`` points all over the tray, base frame."""
    x, y = np.meshgrid(np.linspace(tray.lip, tray.lip + tray.depth, 6), np.linspace(-1, 1, 6) * tray.half_width)
    return way.base(np.stack([x, y], -1).reshape(-1, 2))


def _stand_apart(ways: tuple[PushPath, PushPath], trays: tuple[Tray, ...], half_width: float, back: float) -> bool:
    """Whether each tray is clear of the other tray and of the other path's stroke.

    A stroke covers ``half_width`` on both sides of its path, from ``back`` before its start.
    """
    a, b = (_ground(way, tray) for way, tray in zip(ways, trays, strict=True))
    if (
        np.linalg.norm(a[:, None] - b, axis=-1).min() < 0.03
        or max(a[:, 0].max(), b[:, 0].max()) > 0.76
        or min(a[:, 0].min(), b[:, 0].min()) < 0.28
    ):
        return False
    for way, ground in ((ways[0], b), (ways[1], a)):
        local = way.local(ground)
        if ((local[:, 0] > -back - 0.02) & (local[:, 0] < way.length) & (np.abs(local[:, 1]) < half_width)).any():
            return False
    return True


def _free_place(
    rng: np.random.Generator, low: tuple[float, float], high: tuple[float, float], ground: np.ndarray, gap: np.ndarray
) -> np.ndarray | None:
    """Draw a place ``(3,)`` x, y, yaw at least ``gap`` metres (common or per point) from the points ``ground`` (n, 2).

    Returns:
        None if forty tries fail.
    """
    for _ in range(40):
        place = rng.uniform(low, high)
        if (np.linalg.norm(ground - place, axis=1) > gap).all():
            return np.array([*place, rng.uniform(-np.pi, np.pi)])
    return None


def _heap(rng: np.random.Generator, middle: np.ndarray, radius: float) -> tuple[Bit, ...]:
    """Draw three to eight bits within ``radius`` metres of ``middle``, without overlap."""
    count, size, density = int(rng.integers(3, 9)), float(rng.uniform(SMALLEST, 0.010)), float(rng.uniform(80, 400))
    pebbles, one_color = float(rng.choice([0.0, 0.5, 1.0])), utensils.vivid(rng) if rng.uniform() < 0.5 else None
    if one_color is not None and rng.uniform() < 0.3:
        one_color = (*(float(c) for c in rng.uniform(0.8, 1.0) * np.ones(3)), 1.0)
    out: list[Bit] = []
    tries = 0
    while len(out) < count:
        tries += 1
        if tries % 60 == 0:
            # Reduce size and number after failed tries.
            size, count, out = max(0.9 * size, SMALLEST), max(3, count - tries // 180), []
        half = np.clip(size * rng.uniform(0.75, 1.25, 3), SMALLEST, 0.010)
        half[2] = min(half[2], half[:2].min())  # tall bits would roll instead of slide
        angle, r = rng.uniform(-np.pi, np.pi), radius * np.sqrt(rng.uniform())
        place = np.array([*(middle + r * np.array([np.cos(angle), np.sin(angle)])), rng.uniform(-np.pi, np.pi)])
        number = int(rng.integers(1000)) if rng.uniform() < pebbles else None
        bit = Bit(half, place, number, density * float(rng.uniform(0.9, 1.1)), one_color or utensils.vivid(rng))
        if all(np.linalg.norm(place[:2] - other.place[:2]) > bit.radius + other.radius + 0.001 for other in out):
            out.append(bit)
    return tuple(out)
