"""The policy frame: the coordinate frame of a model's clouds, poses, references and predictions.

A bundle stores it (`uma.checkpoint.bundle.Contract.policy_frame`). Training and deployment share this implementation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uma.geometry import se3
from uma.types import InputError, check_pose

KINDS = ("camera", "camera_nominal", "table")

MAX_TILT_DEG = 15.0
"""Largest angle between the table's normal and the base's vertical axis, for a calibrated camera."""

MAX_VIEW_TILT_DEG = 85.0
"""Largest angle between the table's normal and the image's upward direction, for an uncalibrated camera."""

MIN_SPREAD = 0.1
"""Least standard deviation of the supporting points along the table's shorter side, metres."""

MAX_REACH = 0.6
"""Largest distance from the point below the end effector to the nearest supporting point, metres."""

EE_HEIGHT = (-0.05, 1.2)
"""Range of the end effector's height above a table, metres."""


@dataclass(frozen=True)
class PolicyFrame:
    """The kind and parameters of a policy frame.

    Attributes:
        kind: "camera", the camera's own optical frame (paper 3.1). "camera_nominal", the optical frame of a fixed
            nominal camera, reached through the extrinsics. "table", a gravity-aligned frame that needs no
            calibration. Its z is the supporting plane's normal and its x the heading of the camera's view. Its origin
            is the intersection of the optical axis with the plane.
        T_base_nominal: 16 numbers, row by row: the nominal camera pose of "camera_nominal". Empty for the others.
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
        """Whether the frame depends on the camera's extrinsics."""
        return self.kind == "camera_nominal"

    def from_camera(self, plane: np.ndarray | None, T_base_cam: np.ndarray | None) -> np.ndarray:
        """Return ``(4, 4)`` T_frame_cam, which maps camera coordinates to the policy frame.

        Args:
            plane: ``(4,)`` normal and offset of the supporting plane in the camera frame; required for "table".
            T_base_cam: ``(4, 4)`` extrinsics; required for "camera_nominal".

        Raises:
            InputError: a required argument is missing, or the plane is not a table.
        """
        if self.kind == "camera":
            return np.eye(4)
        if self.kind == "camera_nominal":
            if T_base_cam is None:
                raise InputError(
                    "T_base_cam: unknown, this checkpoint uses the frame of its training camera and needs the "
                    "camera's extrinsics: `uma calibrate` measures them, `extrinsics.calibration` names their file"
                )
            return se3.invert(np.reshape(self.T_base_nominal, (4, 4))) @ check_pose(T_base_cam, "T_base_cam")
        if plane is None:
            raise InputError("plane: none found, the frame 'table' needs a supporting plane in view")
        check_tilt(plane, T_base_cam)
        return table_frame(plane)


def nominal(T_base_cam: np.ndarray) -> PolicyFrame:
    """Return the policy frame of a nominal camera at ``(4, 4)`` ``T_base_cam``."""
    return PolicyFrame("camera_nominal", tuple(float(v) for v in np.asarray(T_base_cam, np.float64).ravel()))


def table_frame(plane: np.ndarray) -> np.ndarray:
    """Return ``(4, 4)`` T_table_cam of a ``(4,)`` plane whose normal points to the camera.

    The heading is the sum of the optical axis and the image's upward direction, projected onto the plane. Both point
    away from an upright camera, so the sum does not vanish between a level and a downward view.

    Raises:
        InputError: the optical axis does not intersect the plane at 5 degrees or more.
    """
    normal, offset = plane[:3] / np.linalg.norm(plane[:3]), plane[3] / np.linalg.norm(plane[:3])
    down = -normal[2]
    if down < np.sin(np.radians(5.0)):
        angle = np.degrees(np.arcsin(np.clip(down, -1, 1)))
        raise InputError(f"plane: seen from {angle:.0f} degrees above, must be at least 5 for a table")
    ahead = np.array([0.0, -1.0, 1.0])
    x = ahead - (ahead @ normal) * normal
    x /= np.linalg.norm(x)
    R = np.stack([x, np.cross(normal, x), normal])
    origin = np.array([0.0, 0.0, offset / down])
    return se3.make_pose(R, -R @ origin)


def check_tilt(plane: np.ndarray, T_base_cam: np.ndarray | None) -> None:
    """Raise `InputError` if the plane is too steep for a table, relative to the base's vertical or else to the
    image's."""
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
    """Refuse a plane that is too small for a table, or is not in front of the robot.

    Args:
        points: ``(N, 3)`` metres, a sample of the whole image, camera frame.
        plane: ``(4,)`` as in `PolicyFrame.from_camera`.
        ee_position: ``(3,)`` metres, camera frame; None without a robot.
        tolerance: largest distance of a supporting point from the plane, metres.

    Raises:
        InputError: the plane fails a check; the message has the number and its limit.
    """
    height = points @ plane[:3] + plane[3]
    support = points[np.abs(height) < tolerance]
    if len(support) < 10:
        raise InputError(f"plane: {len(support)} of {len(points)} points lie on it, at least 10 required for a table")
    spread = np.sqrt(np.maximum(np.linalg.eigvalsh(np.cov(support.T)), 0.0))
    if spread[1] < MIN_SPREAD:
        raise InputError(f"plane: its points spread by {spread[1]:.2f} m, must be at least {MIN_SPREAD} for a table")
    if ee_position is None:
        return
    high = float(ee_position @ plane[:3] + plane[3])
    if not EE_HEIGHT[0] <= high <= EE_HEIGHT[1]:
        raise InputError(f"plane: the end effector is {high:.2f} m above, must be {EE_HEIGHT[0]} to {EE_HEIGHT[1]}")
    near = float(np.linalg.norm(support - (ee_position - high * plane[:3]), axis=1).min())
    if near > MAX_REACH:
        raise InputError(f"plane: {near:.2f} m from the end effector at the nearest, must be at most {MAX_REACH}")
