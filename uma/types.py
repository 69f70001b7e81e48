"""The data types of the stack, with its conventions.

Conventions
-----------
* SI units: metres, radians, seconds.
* A pose is a ``(4, 4)`` homogeneous matrix ``T_a_b`` that maps coordinates in frame b to frame a.
* Quaternions in messages are ``(x, y, z, w)`` as in ROS.
* Camera frames are optical: x right, y down, z forward along the optical axis.
* Depth is float32 metres along the optical axis; NaN where it is invalid.
* The gripper is 0 when open and 1 when closed, as in DROID.
* Flow time runs from 0 (noise) to 1 (data).
* Actions are absolute end-effector targets; action ``i`` of a chunk is due at ``stamp + (i + 1) / rate_hz``.
* Masks are positive and named: ``is_target``, ``is_valid``.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

RATE_HZ = 15.0
"""Rate of the actions in a chunk (paper C.1)."""

HORIZON = 16
"""Number of actions in a chunk and of steps in a predicted motion (paper A.3)."""

MAX_KEYPOINTS = 16
"""Largest number of keypoints in a reference or predicted motion (paper A.3)."""


class InputError(ValueError):
    """An input was refused. The message has the field, the value and the limit."""


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(message)


def check_pose(T: np.ndarray, name: str) -> np.ndarray:
    """Return ``T`` as a float64 ``(4, 4)`` rigid transform, or raise `InputError` for the field ``name``."""
    T = np.asarray(T, dtype=np.float64)
    _require(T.shape == (4, 4), f"{name}: shape {T.shape}, must be (4, 4)")
    _require(bool(np.isfinite(T).all()), f"{name}: holds a value that is not finite")
    R = T[:3, :3]
    error = float(np.abs(R @ R.T - np.eye(3)).max())
    _require(error < 1e-3 and np.linalg.det(R) > 0, f"{name}: rotation is off orthonormal by {error:.2g}, limit 1e-3")
    return T


@dataclass(frozen=True)
class CameraModel:
    """A rectified pinhole camera.

    Attributes:
        width, height: image size in pixels.
        fx, fy, cx, cy: intrinsics in pixels, at this image size.
        frame: name of the optical frame.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    frame: str = "zed_left_camera_frame_optical"

    def __post_init__(self) -> None:
        _require(self.width > 0 and self.height > 0, f"camera size {self.width}x{self.height}: both must be > 0")
        finite = np.isfinite([self.fx, self.fy, self.cx, self.cy]).all()
        _require(
            bool(finite) and self.fx > 0 and self.fy > 0, f"camera fx={self.fx}, fy={self.fy}: must be finite and > 0"
        )

    def scaled(self, width: int, height: int) -> CameraModel:
        """Return the camera with its images resized to ``width`` x ``height`` pixels."""
        sx, sy = width / self.width, height / self.height
        return CameraModel(width, height, self.fx * sx, self.fy * sy, self.cx * sx, self.cy * sy, self.frame)


@dataclass(frozen=True)
class Grasp:
    """Where the gripper last closed. It has stayed closed since.

    Attributes:
        T_cam_ee: ``(4, 4)`` end-effector pose at that time, in the camera frame.
        stamp: seconds.
    """

    T_cam_ee: np.ndarray
    stamp: float

    def __post_init__(self) -> None:
        check_pose(self.T_cam_ee, "grasp.T_cam_ee")


@dataclass(frozen=True)
class Observation:
    """RGB-D image and proprioception at one instant, in the camera frame.

    Attributes:
        rgb: ``(H, W, 3)`` uint8.
        depth: ``(H, W)`` float32 metres, NaN where invalid, registered to ``rgb``.
        camera: intrinsics of both images.
        T_cam_ee: ``(4, 4)`` measured end-effector pose in the camera frame.
        gripper: measured, 0 open to 1 closed.
        stamp: capture time in seconds.
        T_base_cam: ``(4, 4)`` calibrated camera pose in the robot's base frame; None if unknown.
        grasp: the grasp in force; None while the gripper is open, or if unknown.
    """

    rgb: np.ndarray
    depth: np.ndarray
    camera: CameraModel
    T_cam_ee: np.ndarray
    gripper: float
    stamp: float = 0.0
    T_base_cam: np.ndarray | None = None
    grasp: Grasp | None = None

    def __post_init__(self) -> None:
        shape = (self.camera.height, self.camera.width)
        _require(
            self.rgb.shape == (*shape, 3) and self.rgb.dtype == np.uint8,
            f"rgb: {self.rgb.dtype} {self.rgb.shape}, must be uint8 {(*shape, 3)}",
        )
        _require(
            self.depth.shape == shape and self.depth.dtype == np.float32,
            f"depth: {self.depth.dtype} {self.depth.shape}, must be float32 {shape}",
        )
        check_pose(self.T_cam_ee, "T_cam_ee")
        _require(-0.05 <= self.gripper <= 1.05, f"gripper: {self.gripper}, must lie in [0, 1]")
        if self.T_base_cam is not None:
            check_pose(self.T_base_cam, "T_base_cam")


@dataclass(frozen=True)
class ReferenceMotion:
    """A sparse sketch of the desired object motion (paper Eq. 2): ordered 3D waypoints of a few keypoints.

    Attributes:
        waypoints: one ``(T_k, 3)`` array of metres per keypoint, or one ``(K, T, 3)`` array. A single waypoint, ``(1,
            3)``, pins the point.
        phase: one ``(T_k,)`` array per keypoint in [0, 1], non-decreasing; empty = evenly spaced.
        is_valid: one ``(T_k,)`` bool array per keypoint; empty = all.
        frame: frame of the waypoints.
        object_label: free text for display.
    """

    waypoints: tuple[np.ndarray, ...]
    phase: tuple[np.ndarray, ...] = ()
    is_valid: tuple[np.ndarray, ...] = ()
    frame: str = "zed_left_camera_frame_optical"
    object_label: str = ""

    MAX_WAYPOINTS = 64
    MAX_COORDINATE = 5.0

    def __post_init__(self) -> None:
        K = len(self.waypoints)
        _require(1 <= K <= MAX_KEYPOINTS, f"keypoints: {K} given, must be 1 to {MAX_KEYPOINTS}")
        points = tuple(np.asarray(w, dtype=np.float64) for w in self.waypoints)
        phase, valid = [], []
        for k, w in enumerate(points):
            name = f"keypoints[{k}]"
            _require(
                w.ndim == 2 and w.shape[1] == 3,
                f"{name}.waypoints: shape {w.shape}, must be (T, 3); [[x, y, z]] pins a point",
            )
            T = len(w)
            _require(1 <= T <= self.MAX_WAYPOINTS, f"{name}.waypoints: {T} given, must be 1 to {self.MAX_WAYPOINTS}")
            p = (
                np.linspace(0.0, 1.0, T)
                if len(self.phase) == 0 or len(self.phase[k]) == 0
                else np.asarray(self.phase[k], dtype=np.float64)
            )
            v = (
                np.ones(T, bool)
                if len(self.is_valid) == 0 or len(self.is_valid[k]) == 0
                else np.asarray(self.is_valid[k], dtype=bool)
            )
            _require(len(p) == T, f"{name}.phase: {len(p)} values for {T} waypoints, must be empty or {T}")
            _require(len(v) == T, f"{name}.is_valid: {len(v)} values for {T} waypoints, must be empty or {T}")
            _require(bool(v.any()), f"{name}.is_valid: no valid waypoint, at least 1 required")
            # Only bad values get a message, because formatting every waypoint would slow training.
            for i in np.flatnonzero(v & ~(np.abs(w) <= self.MAX_COORDINATE).all(1)):
                point = f"{name}.waypoints[{i}]: {w[i]}"
                _require(bool(np.isfinite(w[i]).all()), f"{point} is not finite")
                _require(
                    bool(np.abs(w[i]).max() <= self.MAX_COORDINATE),
                    f"{point} is over {self.MAX_COORDINATE} m from the origin of {self.frame}",
                )
            if not (p.min() >= 0.0 and p.max() <= 1.0):
                raise InputError(f"{name}.phase: {p}, must lie in [0, 1]")
            if (p[1:] < p[:-1]).any():
                raise InputError(f"{name}.phase: {p}, must not decrease")
            phase.append(p)
            valid.append(v)
        object.__setattr__(self, "waypoints", points)
        object.__setattr__(self, "phase", tuple(phase))
        object.__setattr__(self, "is_valid", tuple(valid))

    def transformed(self, T_new_old: np.ndarray, frame: str) -> ReferenceMotion:
        """Return the motion in ``frame``; ``T_new_old`` maps the current frame to it."""
        T = check_pose(T_new_old, "T_new_old")
        moved = tuple(w @ T[:3, :3].T + T[:3, 3] for w in self.waypoints)
        return ReferenceMotion(moved, self.phase, self.is_valid, frame, self.object_label)


@dataclass(frozen=True)
class ActionChunk:
    """A sequence of end-effector targets (paper Eq. 5).

    Attributes:
        poses: ``(H, 4, 4)`` targets ``T_frame_ee``; pose i is due at ``stamp + (i + 1) / rate_hz``.
        gripper: ``(H,)`` in [0, 1].
        stamp: capture time of the observation, seconds.
        frame: frame of the poses: the camera's optical frame or the robot base.
        ee_frame: the end-effector frame of the poses.
        rate_hz: rate of the actions.
        sequence: number of the chunk.
        num_committed: leading actions taken over from the previous chunk.
        policy_frame: kind of the policy frame (`uma.model.frame`); empty if unknown.
    """

    poses: np.ndarray
    gripper: np.ndarray
    stamp: float
    frame: str
    ee_frame: str
    rate_hz: float = RATE_HZ
    sequence: int = 0
    num_committed: int = 0
    policy_frame: str = ""

    def __post_init__(self) -> None:
        poses = np.asarray(self.poses, dtype=np.float64)
        gripper = np.asarray(self.gripper, dtype=np.float64)
        _require(
            poses.ndim == 3 and poses.shape[1:] == (4, 4) and len(poses) >= 1,
            f"poses: shape {poses.shape}, must be (H, 4, 4) with H >= 1",
        )
        _require(gripper.shape == (len(poses),), f"gripper: {len(gripper)} values for {len(poses)} poses")
        for i, T in enumerate(poses):
            check_pose(T, f"poses[{i}]")
        _require(
            bool(np.isfinite(gripper).all()) and gripper.min() >= 0.0 and gripper.max() <= 1.0,
            f"gripper: {gripper}, must lie in [0, 1]",
        )
        _require(
            bool(np.isfinite(self.rate_hz)) and 1.0 <= self.rate_hz <= 1000.0,
            f"rate_hz: {self.rate_hz}, must lie in [1, 1000]",
        )
        _require(
            0 <= self.num_committed <= len(poses), f"num_committed: {self.num_committed}, must be 0 to {len(poses)}"
        )
        object.__setattr__(self, "poses", poses)
        object.__setattr__(self, "gripper", gripper)

    def due(self) -> np.ndarray:
        """Return the ``(H,)`` due times of the actions in seconds."""
        return self.stamp + (np.arange(len(self.poses)) + 1) / self.rate_hz

    def transformed(self, T_new_old: np.ndarray, frame: str) -> ActionChunk:
        """Return the chunk in ``frame``; ``T_new_old`` maps the current frame to it."""
        T = check_pose(T_new_old, "T_new_old")
        return replace(self, poses=T @ self.poses, frame=frame)


@dataclass(frozen=True)
class KeypointState:
    """Positions of the task's keypoints at an observation (x_Gx of paper Eq. 5 and 6).

    Attributes:
        positions: ``(K, 3)`` metres, camera frame; arbitrary where not visible.
        is_visible: ``(K,)`` bool; an invisible keypoint is predicted instead of given.
    """

    positions: np.ndarray
    is_visible: np.ndarray

    def checked(self, K: int, name: str = "keypoints") -> KeypointState:
        """Return a checked copy. Raises `InputError` if it does not have K keypoints, or a visible one is not
        finite."""
        positions, visible = np.asarray(self.positions, np.float64), np.asarray(self.is_visible, bool)
        if positions.shape != (K, 3) or visible.shape != (K,):
            raise InputError(
                f"{name}: positions {positions.shape} and is_visible {visible.shape}, must be {(K, 3)} and {(K,)}"
            )
        if not np.isfinite(positions[visible]).all():
            raise InputError(f"{name}.positions: a visible value is not finite")
        return KeypointState(positions, visible)


@dataclass(frozen=True)
class MotionPrediction:
    """Predicted object motion over the chunk's horizon (paper Eq. 6).

    Attributes:
        points: ``(H, K, 3)`` metres in ``frame``; step i is at ``stamp + (i + 1) / rate_hz``.
        stamp, frame, rate_hz, sequence: as in `ActionChunk`.
        reference_error_m: mean distance of the last step to the reference's last waypoints; NaN if unknown.
    """

    points: np.ndarray
    stamp: float
    frame: str
    rate_hz: float = RATE_HZ
    sequence: int = 0
    reference_error_m: float = float("nan")


@dataclass(frozen=True)
class Prediction:
    """One prediction of the policy.

    Attributes:
        chunk: the actions.
        motion: the object motion, if requested.
        latency_ms: stage name -> milliseconds.
    """

    chunk: ActionChunk
    motion: MotionPrediction | None = None
    latency_ms: dict[str, float] = field(default_factory=dict)
