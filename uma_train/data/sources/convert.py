"""A recorded demonstration as an episode: gates, clouds, tracks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np

from uma.geometry import se3
from uma.model.config import PointConfig
from uma.model.inputs import PointSet, point_set
from uma.policy.demonstration import Demonstration
from uma_train.data.episode import Episode, placeholders, quantize
from uma_train.data.seen import shrink
from uma_train.data.sources.gates import Gates, Sight, check_layout, check_sights, sight
from uma_train.data.sources.tracks import Tracker

IMAGE = (160, 90)
"""Width and height of the first image, which an episode keeps, pixels."""


def to_episode(
    demonstration: Demonstration,
    points: PointConfig,
    gates: Gates,
    every: int = 2,
    on_step: Callable[[int], object] = lambda step: None,
) -> Episode:
    """Convert a demonstration. Its images are read one at a time.

    Args:
        points: the stored clouds.
        every: steps from one stored frame to the next.
        on_step: called with each step that has an image.

    Raises:
        Refused: it does not pass a gate.
        InputError: an image or a state is malformed.
    """
    d = demonstration
    check_layout(d, gates)
    tracker, sights, frames, steps = Tracker(d), list[Sight](), [], []
    camera, image = None, None
    for step, observation in d.observations():
        on_step(step)
        sights.append(sight(observation))
        is_frame = not steps or step >= steps[-1] + every
        if not is_frame:
            tracker.take(step, observation, None)
            continue
        cloud = point_set(observation, points)
        tracker.take(step, observation, cloud)
        if d.T_first_cam is not None:
            cloud = in_first_frame(cloud, d.T_first_cam[step])
        frames.append(quantize(cloud))
        steps.append(step)
        camera = camera or observation.camera
        image = shrink(observation.rgb, *IMAGE) if image is None else image
    measured = check_sights(sights, gates, has_robot=d.robot is not None)
    tracks, is_valid = tracker.result()
    return Episode(
        xyz=np.stack([f[0] for f in frames]),
        rgb=np.stack([f[1] for f in frames]),
        height=np.stack([f[2] for f in frames]),
        frame_step=np.array(steps, np.int32),
        **robot_fields(d),
        tracks=tracks,
        track_valid=is_valid,
        static=np.zeros((0, 3), np.float32),
        images=image[None] if image is not None else None,
        image_frame=np.zeros(1, np.int32) if image is not None else None,
        meta={
            "source": d.source,
            "recording": d.name,
            "text": d.text,
            "outcome": d.outcome,
            "has_actions": d.robot is not None,
            "has_robot": d.robot is not None,
            "actions": dict(zip(("pose", "gripper"), d.robot.actions if d.robot else ("none", "none"))),
            "tracks": tracker.kind,
            "gates": measured,
            "licence": d.licence,
            "notes": dict(d.notes),
            "camera": asdict(camera) if camera is not None else None,
            "camera_frame": d.camera_frame,
            "T_base_cam": d.robot.T_base_cam.tolist() if d.robot else None,
        },
    )


def in_first_frame(cloud: PointSet, T_first_cam: np.ndarray) -> PointSet:
    """Return a cloud of a moving camera in the camera's first frame.

    Args:
        T_first_cam: ``(4, 4)``.
    """
    xyz = se3.apply(T_first_cam, cloud.xyz.astype(np.float64)).astype(cloud.xyz.dtype)
    if cloud.plane is None:
        return replace(cloud, xyz=xyz)
    normal = T_first_cam[:3, :3] @ cloud.plane[:3]
    plane = np.append(normal, cloud.plane[3] - normal @ T_first_cam[:3, 3])
    return replace(cloud, xyz=xyz, plane=plane)


def robot_fields(demonstration: Demonstration) -> dict[str, np.ndarray]:
    """Return an episode's robot fields, in the camera's frame; placeholders without a robot."""
    robot = demonstration.robot
    if robot is None:
        return placeholders(len(demonstration.stamps))
    T_cam_base = se3.invert(robot.T_base_cam)
    fields = {
        "pose": (T_cam_base @ robot.pose).astype(np.float32),
        "gripper": robot.gripper.astype(np.float32),
        "target_pose": (T_cam_base @ robot.target_pose).astype(np.float32),
        "target_gripper": robot.target_gripper.astype(np.float32),
    }
    return fields if robot.joints is None else {**fields, "joints": robot.joints.astype(np.float32)}
