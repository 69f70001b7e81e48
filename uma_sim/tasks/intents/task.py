"""The tasks of the intents: instructions, references and one `Task` per kind."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from uma.geometry import se3
from uma.types import ReferenceMotion
from uma_sim.planning import grasping, sketches
from uma_sim.station import Task
from uma_sim.tasks.intents import judge, scenes
from uma_sim.tasks.intents.goals import KINDS, spread
from uma_sim.tasks.primitives import move as primitive_move

if TYPE_CHECKING:
    from uma_sim.station import Station

TAIL = (15, 30)
"""Least and largest number of control steps that a demonstration goes on after its success."""


def intent(station: Station, goal: int) -> str:
    """Return the kind of goal ``goal``."""
    return station.scene.goals[goal].kind


def instruction(station: Station, goal: int) -> str:
    """Name the object and what happens to it; sides are those of the ends in the camera's view.

    Lifts are named in centimetres, and turns in tens of degrees.
    """
    drawn = station.scene
    one, thing = drawn.goals[goal], drawn.things[0].kind
    side = primitive_move.side_of(station, [g.waypoints[-1, :3, 3] for g in drawn.goals], goal)
    about = drawn.things[one.about].kind
    lift = f"lift the {thing} by {100 * float(one.waypoints[-1, 2, 3] - one.waypoints[0, 2, 3]):.0f} cm"
    degrees = 10 * round(abs(np.degrees(one.turn)) / 10)
    return {
        "lift": lift,
        "turn": f"{lift} and turn it by {degrees} degrees to the {'left' if one.turn > 0 else 'right'}",
        "carry": f"carry the {thing} to the {side}",
        "put": f"put the {thing} down on the {side}",
        "slide": f"slide the {thing} to the {side}",
        "tilt": f"tilt the {thing} over the {about} on the {side}" if one.about else f"tilt the {thing} on the {side}",
        "into": f"put the {thing} into the {about}",
        "out": f"take the {thing} out of the {about} and put it down",
    }[one.kind]


def grasp_pose(station: Station, goal: int | None = None) -> np.ndarray:
    """Return the current grasp ``(4, 4)`` for ``goal`` (None = the scene's), from above across the object's x axis."""
    T = station.object_pose()
    side = station.scene.goals[station.scene.goal if goal is None else goal].side
    T_grasp = primitive_move.thing_grasp(station.scene.things[0], T, grasping.bearing(station.ee_pose()[:3, 0]))
    yaw = grasping.bearing(side * T[:3, 0])
    # After a fall, the goal's side may be out of the wrist's range.
    return grasping.top_down(yaw, T_grasp[:3, 3]) if abs(yaw) < 2.6 else T_grasp


def plan_reference(
    station: Station,
    rng: np.random.Generator | None = None,
    num_keypoints: int = 6,
    num_waypoints: int = 4,
    goal: int | None = None,
    pinned: int = 0,
) -> ReferenceMotion:
    """Sketch the reference from the current scene: the object along its goal's straight legs.

    Args:
        rng: draws the keypoints among the object's surface points; None spaces them evenly.
        num_keypoints: 1 to 16.
        num_waypoints: 2 or more per keypoint, starting at the current position.
        goal: index of the goal; None for the scene's.
        pinned: number of additional static keypoints on other objects.

    Returns:
        The motion in the camera frame.

    Raises:
        ValueError: a count is out of range.
    """
    thing = station.scene.things[0]
    chosen = sketches.choose(len(thing.points), num_keypoints, num_waypoints, rng)
    poses = spread(station.scene.goals[station.scene.goal if goal is None else goal].waypoints, num_waypoints)
    poses[0] = station.object_pose()
    T_cam_base = se3.invert(station.T_base_cam)
    rows = np.stack([se3.apply(T_cam_base @ T, thing.points[chosen]) for T in poses], axis=1)
    still = primitive_move.static_points(station)[:pinned]
    return sketches.sketch(rows, still, station.T_base_cam, station.camera.frame, thing.kind)


TASKS = {
    kind: Task(
        name=f"intents/{kind}",
        sample=partial(scenes.sample, kind=kind),
        add_bodies=scenes.add_bodies,
        track=primitive_move.track,
        static_points=primitive_move.static_points,
        outcome=judge.outcome,
        plan_reference=plan_reference,
        taken=judge.taken,
        grasp_pose=grasp_pose,
        may_drop=primitive_move.may_drop,
        instruction=instruction,
        max_steps=260,
        intent=intent,
        lasts=judge.LASTS,
        tail=TAIL,
    )
    for kind in KINDS
}
"""kind -> its task."""

LIFT, CARRY, PUT, TURN, SLIDE, TILT, INTO, OUT = (TASKS[kind] for kind in KINDS)
