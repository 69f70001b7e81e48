"""Scenes of the intents: one moved object, others around it, and two goals of which the reference shows the right
one."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from uma.geometry import se3
from uma_sim import scene
from uma_sim.objects import catalog as shapes
from uma_sim.objects.catalog import CatalogShape, Finish
from uma_sim.scene import Room
from uma_sim.tasks.intents import layout as layouts
from uma_sim.tasks.intents.goals import KINDS, Goal, distance
from uma_sim.tasks.intents.kinds import DRAW, is_reachable
from uma_sim.tasks.intents.layout import MOVED_BY, Layout

APART_M = 0.08
"""Least mean distance of the object's points between the ends of the two goals, metres."""

ONCE = ("lift", "turn", "into", "out")
"""Kinds that occur once in a scene, because their instruction names no side."""

TRIES = 30
"""Draws of a goal before other objects are drawn."""


@dataclass(frozen=True)
class Scene:
    """One sampled scene.

    Attributes:
        room: robot, camera and light.
        layout: objects and places, the moved object first.
        finishes: of the objects.
        goals: two goals; the one at ``goal`` is of the task's kind.
        goal: index of the goal; only the reference motion reveals it.
    """

    room: Room
    layout: Layout
    finishes: tuple[Finish, ...]
    goals: tuple[Goal, Goal]
    goal: int

    @property
    def things(self) -> tuple[CatalogShape, ...]:
        """The objects, the moved one first."""
        return self.layout.things

    @property
    def places(self) -> np.ndarray:
        """``(n, 3)`` x, y, yaw of the objects."""
        return self.layout.places


def sample(seed: int, kind: str, held_out: bool = False) -> Scene:
    """Sample the scene of ``seed`` for a goal of ``kind``.

    Args:
        held_out: draw the moved object and the goal's container from the evaluation-only shapes.
    """
    rng = np.random.default_rng([seed, 90, KINDS.index(kind)])
    room = scene.varied_room(rng)
    while True:
        layout = layouts.sample(rng, kind, held_out)
        if layout is None or not layouts.is_seen(room, se3.apply(layout.start, layout.things[0].points)):
            continue
        first = _draw(rng, room, layout, (kind,), None)
        second = None if first is None else _draw(rng, room, layout, _others(layout, kind), first)
        if first is not None and second is not None:
            break
    goal = int(rng.integers(2))
    finishes = tuple(shapes.finish(rng) for _ in layout.things)
    return Scene(room, layout, finishes, (first, second) if goal == 0 else (second, first), goal)


def _others(layout: Layout, kind: str) -> tuple[str, ...]:
    """Return the kinds of the other goal that suit the layout."""
    unfit = {kind} & set(ONCE) | ({"put", "slide", "into"} if layout.is_inside else {"out"})
    unfit |= set() if layout.container else {"into"}
    thing = layout.things[0].kind
    return tuple(k for k in KINDS if k not in unfit and thing in MOVED_BY.get(k, (thing,)))


def _draw(
    rng: np.random.Generator, room: Room, layout: Layout, kinds: tuple[str, ...], other: Goal | None
) -> Goal | None:
    """Draw a goal of one of ``kinds`` whose end is in view and apart from the ``other``'s; None after `TRIES`."""
    for _ in range(TRIES):
        goal = DRAW[str(rng.choice(kinds))](rng, layout)
        if goal is None:
            continue
        end, thing = goal.waypoints[-1], layout.things[0]
        is_apart = other is None or distance(thing, end, other.waypoints[-1])[0] > APART_M
        is_seen = is_apart and layouts.is_seen(room, se3.apply(end, thing.points))
        if is_seen and is_reachable(layout, goal):
            return goal
    return None


def add_bodies(spec: mujoco.MjSpec, drawn: Scene) -> None:
    """Add the free bodies ``thing0``, ``thing1``, ..."""
    for i, (thing, look, place) in enumerate(zip(drawn.things, drawn.finishes, drawn.places, strict=True)):
        shapes.add_thing(spec, thing, look, f"thing{i}", place[:2], float(place[2]))
    spec.body("thing0").pos[2] = drawn.layout.start[2, 3] + 0.001
