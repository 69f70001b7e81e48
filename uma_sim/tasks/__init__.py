"""One module per task: how its scene is drawn, what success means, and what a person would sketch as the reference.

A module describes itself by a `Task`; `load` finds it by name.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import mujoco

    from uma.types import ReferenceMotion
    from uma_sim.objects.tracked import Tracked
    from uma_sim.scene import Room
    from uma_sim.station import Station

MODULES = {
    **{name: f"uma_sim.tasks.{name}:TASK" for name in ("insertion", "sweeping", "folding")},
    "primitives/move": "uma_sim.tasks.primitives.move:TASK",
    "primitives/stand": "uma_sim.tasks.primitives.stand:TASK",
    "primitives/cloth": "uma_sim.tasks.primitives.cloth:TASK",
    "primitives/cable": "uma_sim.tasks.primitives.cable:TASK",
    **{f"primitives/{use}": f"uma_sim.tasks.primitives.tool:{use.upper()}" for use in ("sweep", "poke", "hook")},
    "primitives/gather": "uma_sim.tasks.primitives.gather:TASK",
}
"""name -> 'module:variable' of its `Task`. The primitives are for training alone (paper B.2)."""

MIXTURE = "primitives/all"
"""Name of the mixture of all primitives, which `of_seed` resolves."""


def of_seed(name: str, seed: int) -> str:
    """The task of one scene: ``name`` itself, or for `MIXTURE` one of the primitives, drawn from the seed."""
    if name != MIXTURE:
        return name
    primitives = [task for task in MODULES if task.startswith("primitives/")]
    return str(np.random.default_rng([seed, 12]).choice(primitives))


class TaskScene(Protocol):
    """What the scene of every task holds. Frozen: everything that can be known of it before time passes.

    Attributes:
        room: robot, camera and light.
        goal: index of what should be done; only the reference motion tells.
    """

    room: Room
    goal: int


@dataclass(frozen=True)
class Task:
    """A task as the station, the recorder and the benchmark see it. The functions take the station, whose ``scene`` is
    one that ``sample`` drew.

    Attributes:
        name: key of `MODULES`.
        sample: ``(seed, **options) -> scene``.
        add_bodies: ``(spec, scene)``, adds the scene's bodies to the model.
        track: ``station -> Tracked``, the object that the task moves; called once, on the compiled model.
        static_points: ``station -> (Q, 3)`` metres, base frame: points that do not move, for pinned keypoints.
        outcome: ``station -> (verdict, reason)``; the verdict is "success", "wrong_goal" (the distractor's goal was
            reached instead), or "in_progress"; the
            reason says what is missing.
        plan_reference: ``(station, rng, num_keypoints, num_waypoints, goal, pinned) -> ReferenceMotion`` in the camera
            frame, from the present scene alone.
        taken: ``station -> bool``, the object is surely in the gripper, not merely touched; the benchmark's measure of
            a grasp.
        grasp_pose: ``station -> (4, 4)`` where the expert would grasp now; the mishap "miss" closes beside it.
        may_drop: ``(station, height) -> bool``, whether the mishap "drop" may happen: held, moved by ``height`` metres,
            and to be had again.
        instruction: ``(station, goal) -> str``, what a person would say.
        max_steps: control steps that a demonstration may take.
    """

    name: str
    sample: Callable[..., Any]
    add_bodies: Callable[[mujoco.MjSpec, Any], None]
    track: Callable[[Station], Tracked]
    static_points: Callable[[Station], np.ndarray]
    outcome: Callable[[Station], tuple[str, str]]
    plan_reference: Callable[..., ReferenceMotion]
    taken: Callable[[Station], bool]
    grasp_pose: Callable[[Station], np.ndarray]
    may_drop: Callable[[Station, float], bool]
    instruction: Callable[[Station, int], str]
    max_steps: int = 220


def load(name: str) -> Task:
    """The task of this name.

    Raises:
        ValueError: there is none.
    """
    if name not in MODULES:
        raise ValueError(f"task {name!r}: must be one of {', '.join(MODULES)}")
    module, _, variable = MODULES[name].partition(":")
    return getattr(importlib.import_module(module), variable)
