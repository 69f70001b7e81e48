"""Hand-eye calibration of a fixed camera from images of a ChArUco board in the gripper, with its uncertainty.

The unknowns are ``T_base_cam`` and the mounting of the board, ``T_flange_board``. For every image, T_base_flange
T_flange_board = T_base_cam T_cam_board. OpenCV's closed form initialises a fit of both to the pixels of the corners.
The images are rectified, without distortion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from scipy.optimize import least_squares
from scipy.spatial.transform import Rotation

from uma.geometry.camera import project
from uma.geometry.se3 import apply, invert, make_pose, rotation_angle
from uma.settings import setting
from uma.types import CameraModel, InputError, check_pose
from uma_ros.drivers.device import MissingPackage, require


def opencv() -> ModuleType:
    """Return cv2. Raises `MissingPackage`, also for OpenCV 5, which has no hand-eye calibration."""
    cv2 = require("cv2", "perception")
    if not hasattr(cv2, "calibrateHandEye"):
        raise MissingPackage(
            f"OpenCV {cv2.__version__} has no calibrateHandEye: pip install 'opencv-python-headless<5'"
        )
    return cv2


@dataclass(frozen=True)
class BoardSettings:
    """Settings of the ChArUco board. The defaults are DROID's board."""

    columns: int = setting(14, "squares along the board's x", 3, 50)
    rows: int = setting(9, "squares along the board's y", 3, 50)
    square: float = setting(0.020, "m; edge of a square; measure it on the print")
    marker: float = setting(0.016, "m; edge of a marker")
    dictionary: str = setting("DICT_5X5_100", "OpenCV's dictionary of the markers")
    legacy: bool = setting(False, "pattern of OpenCV before 4.6, which differs for an even number of rows")

    def __post_init__(self) -> None:
        if not (3 <= self.columns <= 50 and 3 <= self.rows <= 50):
            raise InputError(f"board: {self.columns}x{self.rows} squares, must be 3 to 50 each")
        if not 0.0 < self.marker < self.square <= 0.5:
            raise InputError(
                f"board: marker {self.marker} m, square {self.square} m: the marker must be smaller, the "
                "square at most 0.5 m"
            )

    def make(self):
        """Return OpenCV's board. Raises `InputError` for an unknown or too small dictionary."""
        aruco = opencv().aruco
        if not hasattr(aruco, self.dictionary):
            raise InputError(f"board: dictionary {self.dictionary!r}, must be one of OpenCV's, such as DICT_5X5_100")
        dictionary = aruco.getPredefinedDictionary(getattr(aruco, self.dictionary))
        if self.columns * self.rows // 2 > len(dictionary.bytesList):
            raise InputError(
                f"board: {self.columns}x{self.rows} squares need {self.columns * self.rows // 2} markers, "
                f"{self.dictionary} has {len(dictionary.bytesList)}"
            )
        board = aruco.CharucoBoard((self.columns, self.rows), self.square, self.marker, dictionary)
        board.setLegacyPattern(self.legacy)
        return board


@dataclass(frozen=True)
class View:
    """An image with a detected board.

    Attributes:
        name: name of the image.
        T_base_flange: ``(4, 4)`` pose of the arm.
        corners: ``(N, 3)`` corners on the board, m.
        pixels: ``(N, 2)`` detected corners.
        T_cam_board: ``(4, 4)`` pose of the board from this image alone.
    """

    name: str
    T_base_flange: np.ndarray
    corners: np.ndarray
    pixels: np.ndarray
    T_cam_board: np.ndarray


MIN_CORNERS = 12
MIN_VIEWS = 8
MIN_TURN = 0.35
"""Smallest difference of the arm's orientations, about at least two axes, rad."""


def find_board(rgb: np.ndarray, board, camera: CameraModel, T_base_flange: np.ndarray, name: str = "") -> View | None:
    """Detect the board in an image ``(H, W, 3)`` uint8.

    Returns:
        The view; None for fewer than `MIN_CORNERS` corners, or corners that do not fit a plane.
    """
    cv2 = opencv()
    detector = cv2.aruco.CharucoDetector(board)
    corners, ids, _, _ = detector.detectBoard(cv2.cvtColor(np.ascontiguousarray(rgb), cv2.COLOR_RGB2GRAY))
    if ids is None or len(ids) < MIN_CORNERS:
        return None
    points, pixels = (
        np.asarray(a, dtype=np.float64).reshape(len(ids), -1) for a in board.matchImagePoints(corners, ids)
    )
    K = np.array([[camera.fx, 0, camera.cx], [0, camera.fy, camera.cy], [0, 0, 1]])
    found, rotation, translation = cv2.solvePnP(points, pixels, K, None, flags=cv2.SOLVEPNP_IPPE)
    if not found:
        return None
    rotation, translation = cv2.solvePnPRefineLM(points, pixels, K, None, rotation, translation)
    T = make_pose(Rotation.from_rotvec(rotation.ravel()).as_matrix(), translation.ravel())
    error = np.sqrt(((project(apply(T, points), camera) - pixels) ** 2).sum(1).mean())
    return View(name, check_pose(T_base_flange, f"pose of {name}"), points, pixels, T) if error < 3.0 else None


@dataclass(frozen=True)
class HandEye:
    """A calibration and its uncertainty.

    Attributes:
        T_base_cam: ``(4, 4)`` camera optical frame to base.
        T_flange_board: ``(4, 4)`` mounting of the board.
        rms_px, max_px: reprojection error of the corners, pixels.
        view_px: reprojection error (RMS) of each image, by name.
        sigma_mm, sigma_deg: standard deviation of the camera's position and orientation, from leaving out each image
            in turn. It includes the position error of the arm.
    """

    T_base_cam: np.ndarray
    T_flange_board: np.ndarray
    rms_px: float
    max_px: float
    view_px: dict[str, float]
    sigma_mm: float
    sigma_deg: float


def residuals(
    views: Sequence[View], camera: CameraModel, T_base_cam: np.ndarray, T_flange_board: np.ndarray
) -> list[np.ndarray]:
    """Return ``(N, 2)`` pixels of each view: projected minus detected corners."""
    T_cam_base = invert(T_base_cam)
    return [project(apply(T_cam_base @ v.T_base_flange @ T_flange_board, v.corners), camera) - v.pixels for v in views]


def board_pose(views: Sequence[View], T_base_cam: np.ndarray) -> np.ndarray:
    """Return the mean ``(4, 4)`` T_flange_board for a known camera."""
    poses = np.stack([invert(v.T_base_flange) @ T_base_cam @ v.T_cam_board for v in views])
    return make_pose(Rotation.from_matrix(poses[:, :3, :3]).mean().as_matrix(), np.median(poses[:, :3, 3], axis=0))


def check_views(views: Sequence[View]) -> None:
    """Raise `InputError` if the views do not determine the extrinsics."""
    if len(views) < MIN_VIEWS:
        raise InputError(f"views: {len(views)} images with a detected board, must be at least {MIN_VIEWS}")
    turns = Rotation.from_matrix(
        np.stack([views[0].T_base_flange[:3, :3].T @ v.T_base_flange[:3, :3] for v in views[1:]])
    ).as_rotvec()
    spread = np.linalg.svd(turns, compute_uv=False) / np.sqrt(len(turns))
    if spread[1] < MIN_TURN / 2:
        raise InputError(
            f"views: the arm turned by {spread[0]:.2f} and {spread[1]:.2f} rad about its two main axes, must be at "
            f"least {MIN_TURN / 2:.2f} about both"
        )


def _pack(T: np.ndarray) -> np.ndarray:
    return np.concatenate([T[:3, 3], Rotation.from_matrix(T[:3, :3]).as_rotvec()])


def _unpack(x: np.ndarray) -> np.ndarray:
    return make_pose(Rotation.from_rotvec(x[3:]).as_matrix(), x[:3])


def calibrate(views: Sequence[View], camera: CameraModel) -> HandEye:
    """Fit the poses of camera and board.

    Raises:
        InputError: too few views, or views with too similar orientations.
    """
    check_views(views)
    cv2 = opencv()
    # OpenCV expects a camera on the arm. For a fixed camera the arm's poses are inverted.
    arm = [invert(v.T_base_flange) for v in views]
    best, start = np.inf, None
    for method in (
        cv2.CALIB_HAND_EYE_PARK,
        cv2.CALIB_HAND_EYE_TSAI,
        cv2.CALIB_HAND_EYE_DANIILIDIS,
        cv2.CALIB_HAND_EYE_HORAUD,
    ):
        R, p = cv2.calibrateHandEye(
            [T[:3, :3] for T in arm],
            [T[:3, 3] for T in arm],
            [v.T_cam_board[:3, :3] for v in views],
            [v.T_cam_board[:3, 3] for v in views],
            method=method,
        )
        if not (np.isfinite(R).all() and np.isfinite(p).all()):
            continue
        T = make_pose(R, p.ravel())
        cost = float(np.nanmedian(np.abs(np.concatenate(residuals(views, camera, T, board_pose(views, T))))))
        if cost < best:
            best, start = cost, np.concatenate([_pack(T), _pack(board_pose(views, T))])
    if start is None:
        raise InputError("views: no method of the hand-eye calibration found a solution")

    x = _fit(views, camera, start)
    X, Y = _unpack(x[:6]), _unpack(x[6:])
    errors = [np.linalg.norm(r, axis=1) for r in residuals(views, camera, X, Y)]
    flat = np.concatenate(errors)
    others = np.stack(
        [_pack(invert(X) @ _unpack(_fit([*views[:i], *views[i + 1 :]], camera, x)[:6])) for i in range(len(views))]
    )
    sigma = np.sqrt((len(views) - 1) / len(views) * ((others - others.mean(0)) ** 2).sum(0))
    return HandEye(
        X,
        Y,
        float(np.sqrt((flat**2).mean())),
        float(flat.max()),
        {v.name: float(np.sqrt((e**2).mean())) for v, e in zip(views, errors)},
        float(np.linalg.norm(sigma[:3]) * 1e3),
        float(np.degrees(np.linalg.norm(sigma[3:]))),
    )


def _fit(views: Sequence[View], camera: CameraModel, start: np.ndarray) -> np.ndarray:
    """Fit ``(12,)`` camera in base and board in flange from ``start``. The loss is robust against outliers."""

    def cost(x: np.ndarray) -> np.ndarray:
        return np.nan_to_num(np.concatenate(residuals(views, camera, _unpack(x[:6]), _unpack(x[6:]))), nan=1e3).ravel()

    return least_squares(cost, start, loss="soft_l1", f_scale=1.0, x_scale=np.tile([0.1] * 3 + [0.3] * 3, 2)).x


def judge(views: Sequence[View], camera: CameraModel, T_base_cam: np.ndarray) -> float:
    """Return the reprojection error (RMS, pixels) for the extrinsics ``T_base_cam``. The board's mounting is fitted."""
    start = _pack(board_pose(views, T_base_cam))
    fit = least_squares(
        lambda x: np.nan_to_num(np.concatenate(residuals(views, camera, T_base_cam, _unpack(x))), nan=1e3).ravel(),
        start,
        loss="soft_l1",
    )
    return float(np.sqrt((np.concatenate(residuals(views, camera, T_base_cam, _unpack(fit.x))) ** 2).sum(1).mean()))


def difference(T_a: np.ndarray, T_b: np.ndarray) -> tuple[float, float]:
    """Return the difference of two poses in mm and degrees."""
    return float(np.linalg.norm(T_a[:3, 3] - T_b[:3, 3]) * 1e3), float(
        np.degrees(rotation_angle(T_a[:3, :3], T_b[:3, :3]))
    )
