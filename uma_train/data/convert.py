"""A demonstration on the simulated station as an episode in the camera frame."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Literal

import numpy as np

from uma.geometry import se3
from uma_train.data.episode import Episode, placeholders

if TYPE_CHECKING:
    from uma_sim.station import Station

PLANNED = 13
"""Waypoints of a plan: one more than a multiple of a sketch's three legs and of their halves and quarters."""


def to_episode(
    run: dict,
    *,
    images: Literal["none", "first", "all"] = "none",
    has_actions: bool = True,
    has_robot: bool = True,
    seen: np.ndarray | None = None,
    plan: np.ndarray | None = None,
) -> Episode:
    """Convert a recorded demonstration to an `Episode` in the camera frame.

    Args:
        run: from `uma_sim.rollout.run_demonstration`, with observations (xyz, rgb, height, image) as stored; the image
            is None if not kept.
        has_actions: False replaces the commanded actions by the measured poses as placeholders.
        has_robot: False leaves out the robot's state and its actions, as in a video of a person.
        seen: ``(F, K)`` bool, visible points per frame, valid until the next frame. None = all.
        plan: of the episode, camera frame. None = unknown.
    """
    T_cam_base = se3.invert(run["T_base_cam"])
    frames = run["observations"]
    kept = [] if images == "none" else range(1 if images == "first" else len(frames))
    meta = {
        "task": run["task"],
        "source": "uma_sim",
        "text": run["text"],
        "intent": run["intent"],
        "has_actions": has_actions and has_robot,
        "has_robot": has_robot,
        "seed": int(run["seed"]),
        "goal": int(run["goal"]),
        "disturbance": run["disturbance"],
        "noise_scale": float(run["noise_scale"]),
        "interventions": run["interventions"],
        "camera": asdict(run["camera"]),
        "depth": run["depth"],
        "camera_frame": run["camera"].frame,
        "T_base_cam": run["T_base_cam"].tolist(),
    }
    pose, gripper = (T_cam_base @ run["pose"]).astype(np.float32), run["gripper"].astype(np.float32)
    robot = {
        "pose": pose,
        "gripper": gripper,
        "target_pose": (T_cam_base @ run["label_pose"]).astype(np.float32) if has_actions else pose,
        "target_gripper": run["label_gripper"].astype(np.float32) if has_actions else gripper,
        "joints": run["joints"].astype(np.float32),
    }
    return Episode(
        xyz=np.stack([f[0] for f in frames]),
        rgb=np.stack([f[1] for f in frames]),
        height=np.stack([f[2] for f in frames]),
        frame_step=run["observation_step"].astype(np.int32),
        **(robot if has_robot else placeholders(len(pose))),
        tracks=se3.apply(T_cam_base, run["object_points"]).astype(np.float32),
        static=se3.apply(T_cam_base, run["static_points"]).astype(np.float32),
        meta=meta,
        track_valid=None
        if seen is None
        else seen[np.searchsorted(run["observation_step"], np.arange(len(run["stamp"])), side="right") - 1],
        images=np.stack([frames[i][3] for i in kept]) if kept else None,
        image_frame=np.array(kept, np.int32) if kept else None,
        plan=plan,
    )


def planned(station: Station) -> np.ndarray | None:
    """Return the planned motion ``(PLANNED, K, 3)`` of the scene, camera frame.

    It is None if a task sketches fewer points than it tracks.
    """
    try:
        reference = station.task.plan_reference(station, None, len(station.object_points()), PLANNED)
    except ValueError:
        return None
    return np.stack(reference.waypoints, 1).astype(np.float32)
