"""A video with depth, camera and perhaps a robot, as the stages of the curation exchange it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from uma.geometry import se3
from uma.policy.demonstration import Demonstration, Robot, Tracks
from uma.types import CameraModel, InputError, Observation
from uma_train.curation.hand import JOINTS

TOLERANCE = 1e-3
"""Largest deviation of a rotation from an orthonormal matrix."""


@dataclass(frozen=True)
class Clip:
    """T images at 15 Hz. The world is the robot's base, or the first camera in a clip without a robot.

    Attributes:
        name: of the recording.
        video: ``(T, H, W, 3)`` uint8.
        depths: ``(T, H, W)`` float32 metres along the optical axis, NaN where invalid; None if unknown.
        intrinsics: ``(T, 3, 3)`` float64 pixels; None if unknown.
        extrinsics: ``(T, 4, 4)`` float64, world to camera; None if unknown.
        query: ``(N, 4)`` float32, the image's index and the world point of each query; None before sampling.
        coords, visibs: tracks ``(T, N, 3)`` float32 metres in the world and ``(T, N)`` bool; None before tracking.
        on_object: ``(N,)`` bool, the query lies on the object; None = all.
        is_object: ``(H, W)`` bool, the object's pixels in the first image; None before segmentation.
        stamps: ``(T,)`` seconds, increasing.
        has_image: ``(T,)`` bool; steps without an image repeat the last one and have no depth.
        robot: its state and actions in its base; None without a robot.
        hand: ``(T, 21, 3)`` float32 metres in the world, joints of a person's hand, see `uma_train.curation.hand`; NaN
            where it is not seen. None if unknown.
        camera_frame: name of the camera's frame.
        is_metric: whether depths and extrinsics are in metres; False = up to one scale.
        text, outcome, source, licence: as in `Demonstration`.
    """

    name: str
    video: np.ndarray
    depths: np.ndarray | None
    intrinsics: np.ndarray | None
    extrinsics: np.ndarray | None
    stamps: np.ndarray
    query: np.ndarray | None = None
    coords: np.ndarray | None = None
    visibs: np.ndarray | None = None
    on_object: np.ndarray | None = None
    is_object: np.ndarray | None = None
    has_image: np.ndarray | None = None
    robot: Robot | None = None
    hand: np.ndarray | None = None
    camera_frame: str = "camera"
    is_metric: bool = True
    text: str = ""
    outcome: str = ""
    source: str = ""
    licence: str = ""

    def __post_init__(self) -> None:
        if self.video.ndim != 4 or self.video.shape[-1] != 3 or self.video.dtype != np.uint8:
            raise InputError(f"video: {self.video.dtype} {self.video.shape}, must be uint8 (T, H, W, 3)")
        T, H, W = self.video.shape[:3]
        if T < 2:
            raise InputError(f"video: {T} images, must be at least 2")
        if self.has_image is None:
            object.__setattr__(self, "has_image", np.ones(T, bool))
        N = -1 if self.query is None else len(self.query)
        shapes: dict[str, tuple[int, ...]] = {
            "depths": (T, H, W),
            "intrinsics": (T, 3, 3),
            "extrinsics": (T, 4, 4),
            "stamps": (T,),
            "query": (N, 4),
            "coords": (T, N, 3),
            "visibs": (T, N),
            "on_object": (N,),
            "is_object": (H, W),
            "has_image": (T,),
            "hand": (T, JOINTS, 3),
        }
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise InputError(f"{name}: shape {value.shape}, must be {shape}")
        self._check_numbers()
        if self.robot is not None and len(self.robot.pose) != T:
            raise InputError(f"robot: {len(self.robot.pose)} states, must be {T}")

    def _check_numbers(self) -> None:
        for name in ("intrinsics", "extrinsics", "stamps", "query", "coords"):
            value = getattr(self, name)
            if value is not None and not np.isfinite(value).all():
                raise InputError(f"{name}: holds a value that is not finite")
        if (np.diff(self.stamps) <= 0).any():
            raise InputError("stamps: must increase")
        if self.intrinsics is not None and (self.intrinsics[:, [0, 1], [0, 1]] <= 0).any():
            raise InputError(f"intrinsics: focal length {self.intrinsics[:, [0, 1], [0, 1]].min():g}, must be over 0")
        if self.extrinsics is not None:
            R = self.extrinsics[:, :3, :3]
            error = float(np.abs(R @ R.swapaxes(1, 2) - np.eye(3)).max())
            if error > TOLERANCE or (np.linalg.det(R) < 0).any():
                raise InputError(f"extrinsics: rotation is off orthonormal by {error:.2g}, limit {TOLERANCE:g}")
        if self.query is not None and len(self.query):
            t = self.query[:, 0]
            if t.min() < 0 or t.max() >= len(self.video) or (t != np.round(t)).any():
                raise InputError(f"query: image {t.min():g} to {t.max():g}, must be whole, 0 to {len(self.video) - 1}")

    def camera(self, t: int) -> CameraModel:
        """Intrinsics of image ``t``.

        Raises:
            InputError: they are unknown.
        """
        if self.intrinsics is None:
            raise InputError(f"{self.name}: intrinsics are unknown; give them by a camera result")
        K = self.intrinsics[t]
        H, W = self.video.shape[1:3]
        return CameraModel(W, H, *(float(K[i]) for i in ((0, 0), (1, 1), (0, 2), (1, 2))), self.camera_frame)

    def depth(self, t: int) -> np.ndarray:
        """``(H, W)`` of image ``t``.

        Raises:
            InputError: depth is unknown.
        """
        if self.depths is None:
            raise InputError(f"{self.name}: depth is unknown; give it by a depth result")
        return self.depths[t]

    def T_cam_world(self, t: int) -> np.ndarray:
        """``(4, 4)`` of image ``t``.

        Raises:
            InputError: the camera's poses are unknown.
        """
        if self.extrinsics is None:
            raise InputError(f"{self.name}: extrinsics are unknown; the camera stage estimates them")
        return self.extrinsics[t]

    @property
    def moves(self) -> bool:
        """Whether the camera moves by more than 1 mm or 0.1 degrees."""
        if self.extrinsics is None:
            return False
        T = self.extrinsics @ se3.invert(self.extrinsics[0])
        return bool(np.linalg.norm(T[:, :3, 3], axis=1).max() > 1e-3 or np.abs(T[:, :3, :3] - np.eye(3)).max() > 1.7e-3)


def clip_of(demonstration: Demonstration) -> Clip:
    """Return the images of a demonstration. A reader's tracks are left out.

    Raises:
        InputError: no image, images of several sizes, or no image at the first step.
    """
    d = demonstration
    S = len(d.stamps)
    video, depths, K, seen = None, None, np.zeros((S, 3, 3)), np.zeros(S, bool)
    for step, o in d.observations():
        if video is None:
            video, depths = np.zeros((S, *o.rgb.shape), np.uint8), np.full((S, *o.depth.shape), np.nan, np.float32)
        assert depths is not None
        if o.rgb.shape != video.shape[1:]:
            raise InputError(f"{d.name}: image {o.rgb.shape}, must be {video.shape[1:]} as the first one")
        c = o.camera
        video[step], depths[step], seen[step] = o.rgb, o.depth, True
        K[step] = [[c.fx, 0, c.cx], [0, c.fy, c.cy], [0, 0, 1]]
    if video is None or depths is None or not seen[0]:
        raise InputError(f"{d.name}: no image at the first of {S} steps")
    last = np.maximum.accumulate(np.where(seen, np.arange(S), 0))
    T_world_first = np.eye(4) if d.robot is None else d.robot.T_base_cam
    T_first_cam = np.tile(np.eye(4), (S, 1, 1)) if d.T_first_cam is None else d.T_first_cam
    return Clip(
        name=d.name,
        video=video[last],
        depths=depths,
        intrinsics=K[last],
        extrinsics=se3.invert(T_world_first @ T_first_cam),
        stamps=np.asarray(d.stamps, np.float64),
        has_image=seen,
        robot=d.robot,
        camera_frame=d.camera_frame,
        text=d.text,
        outcome=d.outcome,
        source=d.source,
        licence=d.licence,
    )


def demonstration_of(clip: Clip, keypoints: np.ndarray | None = None) -> Demonstration:
    """Return a clip as a demonstration, with its tracks if it has them.

    Args:
        keypoints: indices of the tracks to keep; None for all.
    """
    T_first_world = clip.T_cam_world(0)
    T_first_cam = np.stack([T_first_world @ se3.invert(clip.T_cam_world(t)) for t in range(len(clip.video))])
    robot = clip.robot if clip.robot is None else replace(clip.robot, T_base_cam=se3.invert(T_first_world))

    def observations() -> Iterator[tuple[int, Observation]]:
        assert clip.has_image is not None
        for t in np.flatnonzero(clip.has_image).tolist():
            T = np.eye(4) if robot is None else clip.T_cam_world(t) @ robot.pose[t]
            grip = 0.0 if robot is None else float(np.clip(robot.gripper[t], 0.0, 1.0))
            base = None if robot is None else se3.invert(clip.T_cam_world(t))
            yield t, Observation(clip.video[t], clip.depth(t), clip.camera(t), T, grip, float(clip.stamps[t]), base)

    tracks = None
    if clip.coords is not None and clip.visibs is not None:
        chosen = slice(None) if keypoints is None else keypoints
        positions = se3.apply(T_first_world, clip.coords[:, chosen].astype(np.float64))
        tracks = Tracks(positions, clip.visibs[:, chosen], "curated")
    count = int(np.count_nonzero(clip.has_image))
    return Demonstration(
        name=clip.name,
        source=clip.source,
        text=clip.text,
        outcome=clip.outcome,
        camera_frame=clip.camera_frame,
        stamps=clip.stamps,
        observations=observations,
        num_colour=count,
        num_depth=count,
        num_pairs=count,
        robot=robot,
        tracks=tracks,
        T_first_cam=T_first_cam if clip.moves else None,
        licence=clip.licence,
    )
