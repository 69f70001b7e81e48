"""The policy frame: the coordinate frame that a model's clouds, poses, references and predictions are in.

A bundle names it (`uma.checkpoint.bundle.Contract.policy_frame`). Training and deployment both establish it here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uma.geometry import se3
from uma.types import InputError, check_pose

KINDS = ("camera", "camera_nominal", "table")

MAX_TILT_DEG = 15.0
"""Most that a table's normal may lean from the base's vertical axis, where the camera is calibrated."""

MAX_VIEW_TILT_DEG = 85.0
"""Most that a table's normal may lean from the image's upward direction, where the camera is not calibrated."""

MIN_SPREAD = 0.1
"""Least standard deviation of the supporting points along the table's shorter side, metres."""

MAX_REACH = 0.6
"""Most distance from the point under the end effector to the nearest supporting point, metres."""

EE_HEIGHT = (-0.05, 1.2)
"""Heights of the end effector over a table, metres."""


@dataclass(frozen=True)
class PolicyFrame:
    """Which frame a model lives in, and what is needed to establish it.

    Attributes:
        kind: "camera", the camera's own optical frame (paper 3.1). "camera_nominal", the optical frame of a camera at a
            fixed place, reached through the extrinsics. "table", gravity-aligned: z is the supporting plane's normal, x
            the heading of the camera's view, and the origin the place where the optical axis meets the plane. It needs
            no calibration.
        T_base_nominal: 16 numbers, row by row: where the camera of "camera_nominal" stands. Empty for the others.
    """

    kind: str = "camera"
    T_base_nominal: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"policy_frame.kind: '{self.kind}', must be one of {KINDS}")
        needed = 16 if self.kind == "camera_nominal" else 0
        if len(self.T_base_nominal) != needed:
            given = len(self.T_base_nominal)
            raise ValueError(f"policy_frame.T_base_nominal: {given} numbers, must be {needed} for '{self.kind}'")
        if needed:
            check_pose(np.reshape(self.T_base_nominal, (4, 4)), "policy_frame.T_base_nominal")

    @property
    def needs_calibration(self) -> bool:
        """Whether the frame is reached through the camera's extrinsics."""
        return self.kind == "camera_nominal"

    def from_camera(self, plane: np.ndarray | None, T_base_cam: np.ndarray | None) -> np.ndarray:
        """``(4, 4)`` T_frame_cam, which maps camera coordinates to the policy frame.

        Args:
            plane: ``(4,)`` normal and offset of the supporting plane in the camera frame; "table" needs it.
            T_base_cam: ``(4, 4)`` extrinsics; "camera_nominal" needs them.

        Raises:
            InputError: what the frame needs is missing, or the plane is no table.
        """
        if self.kind == "camera":
            return np.eye(4)
        if self.kind == "camera_nominal":
            if T_base_cam is None:
                raise InputError(
                    "T_base_cam: unknown, this checkpoint lives in the frame of its training camera and needs the "
                    "camera's extrinsics: `uma calibrate` measures them, `extrinsics.calibration` names their file"
                )
            return se3.invert(np.reshape(self.T_base_nominal, (4, 4))) @ check_pose(T_base_cam, "T_base_cam")
        if plane is None:
            raise InputError("plane: none found, the frame 'table' needs a supporting plane in view")
        check_tilt(plane, T_base_cam)
        return table_frame(plane)


def nominal(T_base_cam: np.ndarray) -> PolicyFrame:
    """The policy frame of a camera at ``(4, 4)`` ``T_base_cam``."""
    return PolicyFrame("camera_nominal", tuple(float(v) for v in np.asarray(T_base_cam, np.float64).ravel()))


def table_frame(plane: np.ndarray) -> np.ndarray:
    """``(4, 4)`` T_table_cam of a ``(4,)`` plane whose normal points to the camera.

    The heading is the sum of the optical axis and the image's upward direction, laid on the plane. Both point away from
    an upright camera, so the sum never vanishes between a level and a downward view.

    Raises:
        InputError: the camera looks along the plane or over it, so that its optical axis does not meet it.
    """
    normal, offset = plane[:3] / np.linalg.norm(plane[:3]), plane[3] / np.linalg.norm(plane[:3])
    down = -normal[2]
    if down < np.sin(np.radians(5.0)):
        angle = np.degrees(np.arcsin(np.clip(down, -1, 1)))
        raise InputError(f"plane: the camera looks {angle:.0f} degrees down on it, must be at least 5 for a table")
    ahead = np.array([0.0, -1.0, 1.0])
    x = ahead - (ahead @ normal) * normal
    x /= np.linalg.norm(x)
    R = np.stack([x, np.cross(normal, x), normal])
    origin = np.array([0.0, 0.0, offset / down])
    return se3.make_pose(R, -R @ origin)


def check_tilt(plane: np.ndarray, T_base_cam: np.ndarray | None) -> None:
    """Raise `InputError` for a plane too steep for a table, against the base's vertical or else the image's."""
    normal = plane[:3] / np.linalg.norm(plane[:3])
    up, limit, of = (
        (np.array([0.0, -1.0, 0.0]), MAX_VIEW_TILT_DEG, "the image's upward direction")
        if T_base_cam is None
        else (np.asarray(T_base_cam)[2, :3], MAX_TILT_DEG, "the base's vertical")
    )
    tilt = float(np.degrees(np.arccos(np.clip(normal @ up, -1.0, 1.0))))
    if tilt > limit:
        raise InputError(f"plane: {tilt:.0f} degrees from {of}, must be at most {limit:g} for a table")


def check_support(
    points: np.ndarray, plane: np.ndarray, ee_position: np.ndarray | None, tolerance: float = 0.01
) -> None:
    """Refuse a plane that is too small for a table, or is not before the robot.

    Args:
        points: ``(N, 3)`` metres, a sample of the whole image, camera frame.
        plane: ``(4,)`` as in `PolicyFrame.from_camera`.
        ee_position: ``(3,)`` metres, camera frame; None where no robot is known.
        tolerance: most distance of a supporting point from the plane, metres.

    Raises:
        InputError: names the number and its limit.
    """
    height = points @ plane[:3] + plane[3]
    support = points[np.abs(height) < tolerance]
    if len(support) < 10:
        raise InputError(f"plane: {len(support)} of {len(points)} points lie on it, at least 10 are needed for a table")
    spread = np.sqrt(np.maximum(np.linalg.eigvalsh(np.cov(support.T)), 0.0))
    if spread[1] < MIN_SPREAD:
        raise InputError(f"plane: its points spread by {spread[1]:.2f} m, must be at least {MIN_SPREAD} for a table")
    if ee_position is None:
        return
    high = float(ee_position @ plane[:3] + plane[3])
    if not EE_HEIGHT[0] <= high <= EE_HEIGHT[1]:
        raise InputError(f"plane: the end effector is {high:.2f} m over it, must be {EE_HEIGHT[0]} to {EE_HEIGHT[1]}")
    near = float(np.linalg.norm(support - (ee_position - high * plane[:3]), axis=1).min())
    if near > MAX_REACH:
        raise InputError(f"plane: {near:.2f} m from the end effector at the nearest, must be at most {MAX_REACH}")
