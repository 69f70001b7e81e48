"""The judge of the intents: where the object is beside its goal, and whether it rests there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from uma_sim.objects import containers
from uma_sim.tasks.intents.goals import distance

if TYPE_CHECKING:
    from uma_sim.station import Station

NEAR_M, NEAR_RAD = 0.03, float(np.radians(15))
"""Largest mean distance of the object's points and largest rotation from the goal pose."""

STILL_M_S = 0.05
"""Largest speed of an object at rest, m/s; 3 cm in the time that a success must last stay the stricter limit."""

LASTS = 15
"""Control steps during which a success must last: one second."""

AWAY_M = 0.045
"""Least distance of the TCP from the grasp of an object that was let go, metres."""


def is_there(station: Station, index: int) -> bool:
    """Whether the object is at the end of goal ``index``; for "into", whether it is in the container, however it
    lies."""
    goal, thing, T = station.scene.goals[index], station.scene.things[0], station.object_pose()
    if goal.kind == "into":
        container = station.data.body(f"thing{goal.about}").xpos
        shape = station.scene.things[goal.about]
        aside = float(np.linalg.norm(T[:2, 3] - container[:2]))
        return aside < containers.opening(shape.points) and bool(T[2, 3] < 2 * shape.half_height + thing.half_height)
    metres, radians = distance(thing, T, goal.waypoints[-1])
    return metres <= NEAR_M and radians <= NEAR_RAD


def outcome(station: Station) -> tuple[str, str]:
    """Return ``(verdict, reason)`` of this instant; a success must last for `LASTS` control steps.

    A success is an object at the end of its goal (`is_there`) and at rest: held by the gripper, or let go with the
    gripper open and away.
    """
    for index in (station.scene.goal, 1 - station.scene.goal):
        if not is_there(station, index):
            continue
        if station.scene.goals[index].lets_go:
            if station.pads_in_contact() or station.gripper_position() > 0.3 or station.tcp_to_object() < AWAY_M:
                return "in_progress", "there, not yet let go"
        elif not station.grasped():
            continue
        if station.object_speed() > STILL_M_S:
            return "in_progress", "there, not yet at rest"
        if index == station.scene.goal:
            return "success", "at the end of its motion"
        return "wrong_goal", "at the end of the other motion"
    return "in_progress", "held" if station.grasped() else "not held"


def taken(station: Station) -> bool:
    """Whether the object is held 3 cm from its initial place, above or beside it."""
    start = station.scene.layout.start[:3, 3]
    return station.grasped() and bool(np.linalg.norm(station.object_pose()[:3, 3] - start) > 0.03)
