"""A recorded demonstration, as a reader of recordings gives it and as training takes it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from uma.types import Observation, ReferenceMotion


@dataclass(frozen=True)
class Tracks:
    """Recorded positions of keypoints.

    Attributes:
        positions: ``(S, K, 3)`` metres, camera frame; arbitrary where not visible.
        is_visible: ``(S, K)`` bool.
    """

    positions: np.ndarray
    is_visible: np.ndarray


@dataclass(frozen=True)
class Demonstration:
    """S steps at 15 Hz. A step has the time of its image, or a time of the grid without one.

    Attributes:
        name: of the recording.
        source: origin, such as "bag".
        text: the instruction, or "".
        outcome: success, failure, unmarked, or "" if the recording does not say.
        T_base_cam: ``(4, 4)`` camera pose in the robot's base.
        camera_frame: name of the frame of observations and tracks.
        stamps: ``(S,)`` seconds, increasing.
        pose, gripper: measured end effector ``(S, 4, 4)`` in the base frame, ``(S,)`` 0 open to 1 closed.
        target_pose, target_gripper: the action at each step, due one period later; same shapes.
        actions: where these come from: "commanded" or "measured", for the pose and for the gripper.
        observations: returns the steps with an image and their observations, in order, read one at a time.
        num_colour, num_depth, num_pairs: images of each kind, and pairs with equal stamps.
        tracks: keypoints that the policy tracked; None without any.
        reference: the task's motion in the camera frame, if it was given in this recording; None otherwise.
        reference_step: step of the reference's first image.
    """

    name: str
    source: str
    text: str
    outcome: str
    T_base_cam: np.ndarray
    camera_frame: str
    stamps: np.ndarray
    pose: np.ndarray
    gripper: np.ndarray
    target_pose: np.ndarray
    target_gripper: np.ndarray
    actions: tuple[str, str]
    observations: Callable[[], Iterator[tuple[int, Observation]]]
    num_colour: int
    num_depth: int
    num_pairs: int
    tracks: Tracks | None = None
    reference: ReferenceMotion | None = None
    reference_step: int = 0
