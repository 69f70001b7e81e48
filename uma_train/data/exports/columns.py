"""The columns of exported episodes: state, action and keypoints, all in the episode's camera frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uma.geometry import se3
from uma_train.data.episode import NUM_JOINTS, Episode

POSE = ("x", "y", "z", "qx", "qy", "qz", "qw")
STATE, ACTION, KEYPOINTS, VALID = "observation.state", "action", "observation.keypoints", "observation.keypoints_valid"


@dataclass(frozen=True)
class Layout:
    """What all episodes of a data set have.

    Attributes:
        keypoints: the largest number of keypoints; episodes with fewer are padded with invalid ones at 0.
        has_joints: the state ends with joint angles.
        image: height and width; None if an episode lacks the image of a frame, or sizes differ.
    """

    keypoints: int
    has_joints: bool
    image: tuple[int, int] | None

    def names(self) -> dict[str, list[str]]:
        """Return column -> names of its numbers."""
        joints = [f"joint_{i + 1}" for i in range(NUM_JOINTS)] if self.has_joints else []
        points = [f"keypoint_{k}.{axis}" for k in range(self.keypoints) for axis in "xyz"]
        return {
            STATE: [*POSE, "gripper", *joints],
            ACTION: [*POSE, "gripper"],
            KEYPOINTS: points,
            VALID: [f"keypoint_{k}" for k in range(self.keypoints)],
        }


def layout_of(episode: Episode, other: Layout | None) -> Layout:
    """Return the layout that fits an episode and those before it."""
    is_filmed = len(episode.images) == len(episode.xyz) and episode.frame_step[0] == 0
    height, width = episode.images.shape[1:3]
    is_even = height % 2 == 0 and width % 2 == 0  # as video coding needs
    own = Layout(
        episode.tracks.shape[1],
        bool(np.isfinite(episode.joints).all()),
        (height, width) if is_filmed and is_even else None,
    )
    if other is None:
        return own
    image = own.image if own.image == other.image else None
    return Layout(max(own.keypoints, other.keypoints), own.has_joints and other.has_joints, image)


def columns_of(episode: Episode, layout: Layout) -> dict[str, np.ndarray]:
    """Return the columns of an episode's S steps, ``(S, n)`` float32; the keypoints' validity is bool."""
    S, K = episode.tracks.shape[:2]
    state = [flat(episode.pose), episode.gripper[:, None], *([episode.joints] if layout.has_joints else [])]
    points, valid = np.zeros((S, layout.keypoints, 3), np.float32), np.zeros((S, layout.keypoints), bool)
    points[:, :K], valid[:, :K] = episode.tracks, episode.track_valid
    return {
        STATE: np.concatenate(state, 1),
        ACTION: np.concatenate([flat(episode.target_pose), episode.target_gripper[:, None]], 1),
        KEYPOINTS: points.reshape(S, -1),
        VALID: valid,
    }


def flat(poses: np.ndarray) -> np.ndarray:
    """Return ``(S, 7)`` float32 position and quaternion (x, y, z, w) without changes of its sign."""
    q = se3.quaternion(poses.astype(np.float64))
    sign = np.where((q[1:] * q[:-1]).sum(1) < 0, -1.0, 1.0)
    q *= np.cumprod(np.append(1.0 if q[0, 3] >= 0 else -1.0, sign))[:, None]
    return np.concatenate([poses[:, :3, 3], q], 1).astype(np.float32)


def images_of(episode: Episode) -> np.ndarray:
    """Return ``(S,)``: the image of each step, which holds until the next frame's."""
    return np.searchsorted(episode.frame_step, np.arange(len(episode.pose)), side="right") - 1
