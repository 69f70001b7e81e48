"""Converts the stack's types to the model's arrays and back; shared by training and deployment.

Training stores the `PointSet` of a frame, and deployment computes it from the live image with the same function.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uma.geometry import se3
from uma.model.cloud import PointSet as PointSet
from uma.model.cloud import point_set as point_set
from uma.settings import within
from uma.types import InputError, ReferenceMotion

ACTION_DIM = 10
"""Position 3, rotation 6 (two columns), gripper 1."""

MAX_REFERENCE_TOKENS = 64
"""Largest number of waypoint tokens of a reference; longer references are thinned in time."""


@dataclass(frozen=True)
class Normalization:
    """Constants that scale coordinates to about unit size. Estimated on the training data and stored in the bundle.

    Attributes:
        point_center, point_scale: of points and references, camera frame, metres.
        local_scale: of coordinates relative to the end effector or to a keypoint's start, metres.
        position_scale: of action positions relative to the measured end effector, metres.
        rotation_scale: of the action's rotation columns minus the identity's.
        step_scale: factor on both per step of a chunk; () = 1. Later steps move farther, so factors from the data's
            spread give all steps equal weight.
    """

    point_center: tuple[float, float, float] = (0.0, 0.0, 0.9)
    point_scale: float = 0.3
    local_scale: float = 0.2
    position_scale: float = 0.15
    rotation_scale: float = 0.4
    step_scale: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        within(
            self,
            {"point_center": (-100.0, 100.0)}
            | dict.fromkeys(
                ("point_scale", "local_scale", "position_scale", "rotation_scale", "step_scale"), (1e-6, 1e6)
            ),
        )

    def of_steps(self, count: int, states: int = 0) -> np.ndarray:
        """Return ``(count, 1)`` factors of action tokens: 1 for ``states`` measured ones, then ``step_scale``."""
        factors = np.ones((count, 1))
        if self.step_scale:
            factors[states:, 0] = self.step_scale[: count - states]
        return factors


def encode_actions(
    poses: np.ndarray, gripper: np.ndarray, T_cam_ee: np.ndarray, norm: Normalization, *, states: int = 0
) -> np.ndarray:
    """Encode ``(..., H, 4, 4)`` camera-frame targets as ``(..., H, 10)`` normalised actions relative to the measured
    pose.

    Position and rotation are differences along the camera's axes, so a chunk does not depend on the arm's position. The
    first ``states`` rows are measured poses; the rest is a chunk, or its first steps.
    """
    R = T_cam_ee[..., None, :3, :3]
    position = (poses[..., :3, 3] - T_cam_ee[..., None, :3, 3]) / norm.position_scale
    rotation = (
        se3.rot6d(poses[..., :3, :3] @ np.swapaxes(R, -1, -2)) - np.array([1, 0, 0, 0, 1, 0.0])
    ) / norm.rotation_scale
    steps = norm.of_steps(poses.shape[-3], states)
    return np.concatenate([position / steps, rotation / steps, 2 * gripper[..., None] - 1], axis=-1).astype(np.float32)


def decode_actions(
    actions: np.ndarray, T_cam_ee: np.ndarray, norm: Normalization, *, states: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Invert `encode_actions` for one chunk: ``(H, 10)`` -> poses ``(H, 4, 4)``, camera frame, and gripper ``(H,)``."""
    a = np.asarray(actions, dtype=np.float64)
    steps = norm.of_steps(len(a), states)
    R = se3.from_rot6d(a[:, 3:9] * steps * norm.rotation_scale + np.array([1, 0, 0, 0, 1, 0.0])) @ T_cam_ee[:3, :3]
    p = a[:, :3] * steps * norm.position_scale + T_cam_ee[:3, 3]
    return se3.make_pose(R, p), np.clip((a[:, 9] + 1) / 2, 0.0, 1.0)


@dataclass(frozen=True)
class ReferenceArrays:
    """A reference motion as padded token inputs: ``(L, 3)`` positions, ``(L, 3)`` starts, ``(L,)`` phase and
    validity."""

    position: np.ndarray
    start: np.ndarray
    phase: np.ndarray
    is_valid: np.ndarray


def reference_arrays(reference: ReferenceMotion, length: int = MAX_REFERENCE_TOKENS) -> ReferenceArrays:
    """Flatten a reference into ``length`` tokens; a longer one is thinned evenly and keeps its ends (paper 3.2).

    Raises:
        InputError: more keypoints than ``length`` tokens.
    """
    K = len(reference.waypoints)
    if K > length:
        raise InputError(f"keypoints: {K} given, limit {length} waypoints in total")
    most = length // K
    position, start, phase = [], [], []
    for w, p, v in zip(reference.waypoints, reference.phase, reference.is_valid, strict=True):
        w, p = w[v], p[v]
        if len(w) > most:
            pick = (
                np.unique(np.linspace(0, len(w) - 1, most).round().astype(int)) if most > 1 else np.array([len(w) - 1])
            )
            start += [w[0]] * len(pick)
            w, p = w[pick], p[pick]
        else:
            start += [w[0]] * len(w)
        position += list(w)
        phase += list(p)
    n = len(position)
    # np.pad would dominate the run time.
    out = ReferenceArrays(
        np.zeros((length, 3), np.float32),
        np.zeros((length, 3), np.float32),
        np.zeros(length, np.float32),
        np.arange(length) < n,
    )
    out.position[:n], out.start[:n], out.phase[:n] = position, start, phase
    return out
