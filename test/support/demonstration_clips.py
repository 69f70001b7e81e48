"""A demonstration of the scripted expert in the simulated station, as the simulator's own truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from unittest import mock

import numpy as np

from uma.policy.demonstration import Demonstration, Robot
from uma_sim import experts
from uma_sim.robot.stereo import StereoDepth
from uma_sim.tasks import make_station


@dataclass
class Clip:
    """Rows of 15 Hz; row i is the state before action i. Poses in the base frame."""

    T_base_cam: np.ndarray
    observations: list = field(default_factory=list)
    pose: list = field(default_factory=list)
    gripper: list = field(default_factory=list)
    target_pose: list = field(default_factory=list)
    target_gripper: list = field(default_factory=list)
    points: list = field(default_factory=list)
    joints: list = field(default_factory=list)


@cache
def clip(seed: int = 3, task: str = "insertion", steps: int = 400, depth: str = "model") -> Clip:
    """The expert without noise until the task's success, or for ``steps`` steps; computed once."""
    station = make_station(seed, task, depth=depth)
    expert, found = experts.expert(task, station.scene.goal), Clip(station.T_base_cam)
    try:
        for _ in range(steps):
            found.observations.append(station.observe())
            T, grip = expert.act(station)
            found.pose.append(station.ee_pose())
            found.gripper.append(station.gripper_position())
            found.target_pose.append(T)
            found.target_gripper.append(grip)
            found.points.append(station.object_points())
            found.joints.append(station.joint_positions())
            station.act(T, grip)
            if station.task.outcome(station)[0] == "success":
                break
    finally:
        station.close()
    return found


def stereo_clip(steps: int = 400) -> tuple[Clip, list[np.ndarray]]:
    """A clip whose depth is matched, and the pairs of images, ``(H, 2 W, 3)``, left beside right."""
    pairs, images = [], StereoDepth.images

    def kept(self, *args) -> list[np.ndarray]:
        found = images(self, *args)
        pairs.append(np.concatenate(found, 1)[..., None].repeat(3, -1))
        return found

    with mock.patch.object(StereoDepth, "images", kept):
        return clip.__wrapped__(steps=steps, depth="stereo"), pairs


def millimetres(depth: np.ndarray) -> np.ndarray:
    """uint16 as data sets store it; 0 where invalid."""
    return np.where(np.isfinite(depth), np.round(depth * 1e3), 0).astype(np.uint16)


def truth(c: Clip, text: str, coded: Callable = lambda rgb: rgb) -> Demonstration:
    """The clip as a perfect reader of files with depth in whole millimetres gives it; colours as ``coded``."""
    rounded = [np.where((mm := millimetres(o.depth)) > 0, mm.astype(np.float32) * np.float32(1e-3), np.float32(np.nan))
               for o in c.observations]  # fmt: skip
    n = len(c.pose)
    measured = (np.stack(c.pose), np.array(c.gripper), np.stack(c.target_pose), np.array(c.target_gripper))
    return Demonstration(
        name="truth",
        source="uma_sim",
        text=text,
        outcome="success",
        camera_frame=c.observations[0].camera.frame,
        stamps=np.arange(n) / 15.0,
        observations=lambda: (
            (i, replace(o, rgb=coded(o.rgb), depth=rounded[i])) for i, o in enumerate(c.observations)
        ),
        num_colour=n,
        num_depth=n,
        num_pairs=n,
        robot=Robot(c.T_base_cam, *measured, ("commanded", "commanded"), np.stack(c.joints)),
    )
