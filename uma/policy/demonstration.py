"""A recorded demonstration, as a reader of recordings gives it and as training takes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from uma.types import Observation, ReferenceMotion


@dataclass(frozen=True)
class Tracks:
    """Recorded positions of keypoints.

    Attributes:
        positions: ``(S, K, 3)`` metres, camera frame; arbitrary where not visible.
        is_visible: ``(S, K)`` bool.
        source: what gave them: "policy", its tracker; "pose", the object's recorded poses.
    """

    positions: np.ndarray
    is_visible: np.ndarray
    source: str = "policy"


@dataclass(frozen=True)
class Robot:
    """State and actions of the robot over S steps.

    Attributes:
        T_base_cam: ``(4, 4)`` camera pose in the robot's base.
        pose, gripper: measured end effector ``(S, 4, 4)`` in the base frame, ``(S,)`` 0 open to 1 closed.
        target_pose, target_gripper: the action at each step, due one period later; same shapes.
        actions: where these come from: "commanded" or "measured", for the pose and for the gripper.
        joints: ``(S, 7)`` measured joint angles, radians; None if unknown.
    """

    T_base_cam: np.ndarray
    pose: np.ndarray
    gripper: np.ndarray
    target_pose: np.ndarray
    target_gripper: np.ndarray
    actions: tuple[str, str]
    joints: np.ndarray | None = None


@dataclass(frozen=True)
class Demonstration:
    """S steps at 15 Hz. A step has the time of its image, or a time of the grid without one.

    Attributes:
        name: of the recording.
        source: origin, such as "bag".
        text: the instruction, or "".
        outcome: success, failure, unmarked, or "" if the recording does not say.
        camera_frame: name of the camera's frame.
        stamps: ``(S,)`` seconds, increasing.
        observations: returns the steps with an image and their observations, in order, read one at a time.
        robot: None in a recording without one, such as a video of a person; observations then have an identity
            ``T_cam_ee`` and an open gripper.
        num_colour, num_depth, num_pairs: images of each kind, and pairs with equal stamps.
        tracks: keypoints that the policy tracked; None without any.
        reference: the task's motion in the camera frame, if it was given in this recording; None otherwise.
        reference_step: step of the reference's first image.
        T_first_cam: ``(S, 4, 4)`` poses of a moving camera in its first frame, in which tracks and reference are given;
            None for a camera at rest.
        licence: of the recording, such as "CC BY-NC 4.0"; "" if its owner's.
        notes: further JSON values for the episode's ``meta``, such as where the calibration comes from.
    """

    name: str
    source: str
    text: str
    outcome: str
    camera_frame: str
    stamps: np.ndarray
    observations: Callable[[], Iterator[tuple[int, Observation]]]
    num_colour: int
    num_depth: int
    num_pairs: int
    robot: Robot | None = None
    tracks: Tracks | None = None
    reference: ReferenceMotion | None = None
    reference_step: int = 0
    T_first_cam: np.ndarray | None = None
    licence: str = ""
    notes: Mapping[str, Any] = field(default_factory=dict)
