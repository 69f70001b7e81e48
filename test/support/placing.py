"""Placement of objects for the cases of a judge, without simulated time."""

import mujoco
import numpy as np
import pytest
from scipy.optimize import brentq

pytest.importorskip("franky_sim")


from uma.geometry import se3
from uma_sim import tasks
from uma_sim.planning import grasping
from uma_sim.robot.gripper import CLOSED_ANGLE
from uma_sim.station import Station
from uma_sim.tasks import make_station

GOING_ON = "in_progress"
UP = np.array([0.0, 0.0, 1.0])


def put(station: Station, joint: str, T: np.ndarray) -> None:
    """Put the free body of ``joint`` at pose ``T``, at rest."""
    start = int(station.model.joint(joint).qposadr[0])
    station.data.qpos[start : start + 7] = [*T[:3, 3], *se3.quaternion(T)[[3, 0, 1, 2]]]
    station.data.qvel[:] = 0
    mujoco.mj_forward(station.model, station.data)


def put_at(station: Station, joint: str, position: np.ndarray) -> None:
    """The same at a place ``(3,)``, level."""
    put(station, joint, se3.make_pose(np.eye(3), position))


def put_hand(station: Station, metres: float) -> None:
    """Put the open hand straight above the object's middle, so that the TCP is ``metres`` from the object."""
    points = station.object_points()
    middle = points[np.linalg.norm(points - points.mean(0), axis=1).argmin()]
    up = brentq(lambda z: station.object.distance(middle + z * UP) - metres, 0.0, 0.3)
    q, left, _ = station.kinematics.solve(grasping.top_down(0.0, middle + up * UP), station.joint_positions())
    assert left < 1e-5
    station.data.qpos[:7] = q
    mujoco.mj_forward(station.model, station.data)


def put_jaw(station: Station, position: float, speed: float = 0.0) -> None:
    """Close the jaw to ``position``, 0 to 1, moving at ``speed`` 1/s."""
    for side in ("right", "left"):
        joint = station.model.joint(f"gripper/{side}_driver")
        station.data.qpos[joint.qposadr] = position * CLOSED_ANGLE
        station.data.qvel[joint.dofadr] = speed * CLOSED_ANGLE
    mujoco.mj_forward(station.model, station.data)


def push(station: Station, body: str, speed: float) -> None:
    """Let a body move at ``speed`` m/s."""
    station.data.qvel[station.model.body(body).dofadr[0]] = speed
    mujoco.mj_forward(station.model, station.data)


def leave(station: Station, body: str, hand=None, jaw=None, speed=None) -> None:
    """Return the violated conditions of a finished scene: the hand too near, the jaw too closed, ``body`` too fast."""
    if hand is not None:
        put_hand(station, hand)
    if jaw is not None:
        put_jaw(station, jaw)
    if speed is not None:
        push(station, body, speed)


def station_with(name: str, wanted=lambda drawn: True, **options) -> Station:
    """A station of a task whose scene is as ``wanted``, with ``options`` of its ``sample``."""
    seed = next(seed for seed in range(99) if wanted(tasks.load(name).sample(seed, **options)))
    return make_station(seed, name, render=False, **options)


def label(value: dict | tuple | str) -> str:
    """Return the test name of a kind, a case or an expectation."""
    if isinstance(value, str):
        return value
    if isinstance(value, tuple):
        return value[1]
    return " ".join(f"{name} {amount}" for name, amount in value.items()) or "as it should be"


def judged(station: Station) -> tuple[str, str]:
    return station.task.outcome(station)
