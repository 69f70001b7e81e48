"""The episode format, version 3: one ``.npz`` per episode, written atomically, read without pickle.

All coordinates are in the episode's own camera frame (paper 3.3): optical, x right, y down, z forward; metres, radians,
seconds, 15 Hz. So action-free sources need no calibration. The file holds the arrays of `Episode` under their names and
``meta``, UTF-8 JSON as uint8:

- ``format``: 3. Version 2, without joints, is read too; other versions are refused.
- ``source``: origin of the episode, such as "uma_sim".
- ``text``: the instruction, or "".
- ``has_actions``: whether ``target_pose`` and ``target_gripper`` are commanded actions. Otherwise they hold
  placeholders.
- ``has_robot``: whether ``pose`` and ``gripper`` are measured. Otherwise all four robot fields hold placeholders.
- ``camera``: width, height, fx, fy, cx, cy and frame, as `uma.types.CameraModel`; or null.
- ``camera_frame``: name of the frame of all coordinates.

Sources may add keys. `placeholders` makes the robot fields of an episode without a robot.

Points have a resolution of 0.1 mm in 16-bit integers. The measured pose and the commanded target are separate fields:
the target of a step is due one period later.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from uma.checkpoint.npz import check_members
from uma.model.inputs import PointSet
from uma.types import CameraModel, InputError

FORMAT = 3
"""Version of the format that is written."""

READABLE = (2, 3)
"""Versions that are read."""

NUM_JOINTS = 7

METRE = 1e-4
"""Metres per unit of the stored point coordinates."""

MOVED_M = 0.01
"""Distance from its first seen position beyond which a keypoint counts as moving, metres."""

FRAME_FIELDS = {"xyz": np.int16, "rgb": np.uint8, "height": np.int16, "frame_step": np.int32}
STEP_FIELDS = {
    "pose": np.float32,
    "gripper": np.float32,
    "target_pose": np.float32,
    "target_gripper": np.float32,
    "joints": np.float32,
}
TRACK_FIELDS = {"tracks": np.float32, "track_valid": np.bool_}
OTHER_FIELDS = {
    "track_moving": np.bool_,
    "static": np.float32,
    "images": np.uint8,
    "image_frame": np.int32,
    "plan": np.float32,
}
DTYPES: dict[str, type] = {**FRAME_FIELDS, **STEP_FIELDS, **TRACK_FIELDS, **OTHER_FIELDS}
"""Element type of every array."""

OPTIONAL = ("plan", "joints")
"""Arrays that a file may omit."""


class EpisodeError(ValueError):
    """An episode file is damaged or of another format. The message names the file and the field."""


@dataclass(frozen=True)
class Episode:
    """One demonstration of S control steps at 15 Hz, with F frames of N points, K tracked keypoints and I images.

    Attributes:
        xyz: ``(F, N, 3)`` int16, tenths of a millimetre, camera frame.
        rgb: ``(F, N, 3)`` uint8.
        height: ``(F, N)`` int16, tenths of a millimetre above the table.
        frame_step: ``(F,)`` int32, the control step of each frame.
        pose, gripper: measured end effector ``(S, 4, 4)`` float32 in the camera frame, ``(S,)`` in [0, 1].
        target_pose, target_gripper: the action at each step, due one period later; same shapes.
        tracks: ``(S, K, 3)`` float32 metres, surface points of the object. Invalid entries hold the last known
            position.
        static: ``(Q, 3)`` float32 metres, static points (holder rims) for pinned keypoints.
        meta: JSON values, see the module; missing keys get defaults.
        track_valid: ``(S, K)`` bool, the keypoint was seen at that step. None = all.
        track_moving: ``(K,)`` bool, it moved more than `MOVED_M` over the episode. None = computed from the tracks.
        images: ``(I, h, w, 3)`` uint8, the camera's whole image at any resolution. None = none.
        image_frame: ``(I,)`` int32, increasing: the frame of each image.
        plan: ``(W, K, 3)`` float32 metres, the planned motion of K keypoints of the first frame, sketched before the
            execution; waypoints are evenly spaced in phase. None = unknown (W = 0), as in real sources.
        joints: ``(S, 7)`` float32, measured joint angles of the arm, radians. None = unknown (NaN).
    """

    xyz: np.ndarray
    rgb: np.ndarray
    height: np.ndarray
    frame_step: np.ndarray
    pose: np.ndarray
    gripper: np.ndarray
    target_pose: np.ndarray
    target_gripper: np.ndarray
    tracks: np.ndarray
    static: np.ndarray
    meta: dict
    track_valid: np.ndarray | None = None
    track_moving: np.ndarray | None = None
    images: np.ndarray | None = None
    image_frame: np.ndarray | None = None
    plan: np.ndarray | None = None
    joints: np.ndarray | None = None

    def __post_init__(self) -> None:
        camera = self.meta.get("camera")
        known = {
            "source": "",
            "text": "",
            "has_actions": True,
            "has_robot": True,
            "camera": None,
            "camera_frame": (camera or {}).get("frame", ""),
        }
        object.__setattr__(self, "meta", {**known, **self.meta, "format": FORMAT})
        S, F = len(self.pose), len(self.xyz)
        if S < 2 or F < 1:
            raise EpisodeError(f"episode: {S} steps and {F} frames, at least 2 and 1 required")
        if self.tracks.ndim != 3 or self.tracks.shape[1] < 1:
            raise EpisodeError(f"episode: tracks has shape {self.tracks.shape}, must be (S, K, 3) with K >= 1")
        K = self.tracks.shape[1]
        if self.track_valid is None:
            object.__setattr__(self, "track_valid", np.ones((len(self.tracks), K), bool))
        if self.images is None or not len(self.images):
            object.__setattr__(self, "images", np.zeros((0, 1, 1, 3), np.uint8))
        if self.image_frame is None:
            object.__setattr__(self, "image_frame", np.zeros(0, np.int32))
        if self.plan is None:
            object.__setattr__(self, "plan", np.zeros((0, K, 3), np.float32))
        if self.joints is None:
            object.__setattr__(self, "joints", np.full((S, NUM_JOINTS), np.nan, np.float32))
        N, image = self.xyz.shape[1:2], self.images.shape[1:3]
        shapes = {
            **{"xyz": (F, *N, 3), "rgb": (F, *N, 3), "height": (F, *N), "frame_step": (F,)},
            **{
                "pose": (S, 4, 4),
                "gripper": (S,),
                "target_pose": (S, 4, 4),
                "target_gripper": (S,),
                "joints": (S, NUM_JOINTS),
                "tracks": (S, K, 3),
                "track_valid": (S, K),
            },
            **{
                "static": (len(self.static), 3),
                "images": (len(self.images), *image, 3),
                "image_frame": (len(self.images),),
                "plan": (len(self.plan), K, 3),
            },
        }
        for name, shape in shapes.items():
            self._check(name, shape)
        if self.track_moving is None:
            object.__setattr__(self, "track_moving", moving_points(self.tracks, self.track_valid))
        self._check("track_moving", (K,))
        for name in ("pose", "gripper", "target_pose", "target_gripper", "tracks", "static", "plan"):
            if not np.isfinite(getattr(self, name)).all():
                raise EpisodeError(f"episode: {name} holds a value that is not finite")
        if np.isinf(self.joints).any():
            raise EpisodeError("episode: joints holds an infinite value")
        if self.frame_step.min() < 0 or self.frame_step.max() >= S:
            raise EpisodeError(f"episode: frame_step runs to {self.frame_step.max()}, must be below {S}")
        frames = self.image_frame
        if len(frames) and (frames.min() < 0 or frames.max() >= F or (np.diff(frames) <= 0).any()):
            raise EpisodeError(f"episode: image_frame {frames.tolist()}, must increase within 0 to {F - 1}")
        if self.meta["has_actions"] and not self.meta["has_robot"]:
            raise EpisodeError(
                "episode: has_actions without has_robot: actions are encoded relative to the measured pose"
            )

    def _check(self, name: str, shape: tuple[int, ...]) -> None:
        value = getattr(self, name)
        if value.shape[:1] != shape[:1]:
            raise EpisodeError(f"episode: {name} has {len(value)} entries, must be {shape[0]}")
        if value.shape != shape or value.dtype != DTYPES[name]:
            raise EpisodeError(
                f"episode: {name} is {value.dtype} {value.shape}, must be {np.dtype(DTYPES[name])} {shape}"
            )

    @property
    def camera(self) -> CameraModel | None:
        """Intrinsics; None if unknown."""
        return CameraModel(**self.meta["camera"]) if self.meta["camera"] else None


def moving_points(tracks: np.ndarray, is_valid: np.ndarray) -> np.ndarray:
    """Return ``(K,)`` bool: tracks ``(S, K, 3)`` seen more than `MOVED_M` away from their first seen position."""
    first = tracks[is_valid.argmax(0), np.arange(tracks.shape[1])]
    return ((np.linalg.norm(tracks - first, axis=-1) > MOVED_M) & is_valid).any(0)


def placeholders(steps: int) -> dict[str, np.ndarray]:
    """Return placeholder robot fields for ``steps`` steps without a robot: identity poses and open grippers."""
    pose = np.tile(np.eye(4, dtype=np.float32), (steps, 1, 1))
    grip = np.zeros(steps, np.float32)
    return {"pose": pose, "gripper": grip, "target_pose": pose.copy(), "target_gripper": grip.copy()}


def quantize(points: PointSet) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Quantise a `PointSet` for storage: int16 xyz, uint8 rgb, int16 height. Values beyond 3.2 m are clipped."""

    def pack(v: np.ndarray) -> np.ndarray:
        return np.clip(np.round(v / METRE), -32767, 32767).astype(np.int16)

    return pack(points.xyz), points.rgb, pack(points.height)


def save_episode(path: str | Path, episode: Episode) -> None:
    """Write ``path`` (``.npz``) through a temporary file and a rename."""
    path = Path(path)
    part = path.with_suffix(".part")
    try:
        with open(part, "wb") as f:
            np.savez(
                f,
                meta=np.frombuffer(json.dumps(episode.meta).encode(), np.uint8),
                **{name: getattr(episode, name) for name in DTYPES},
            )
        os.replace(part, path)
    except BaseException:  # such as a full disk
        part.unlink(missing_ok=True)
        raise


def load_episode(path: str | Path) -> Episode:
    """Load one episode.

    Raises:
        EpisodeError: not an episode file, another version, or inconsistent fields.
    """
    try:
        check_members(Path(path))
        with np.load(path, allow_pickle=False) as z:
            meta = json.loads(bytes(z["meta"]).decode())
            if not isinstance(meta, dict):
                raise EpisodeError(f"meta: {type(meta).__name__}, must be a mapping")
            if (version := meta.get("format")) not in READABLE:
                raise EpisodeError(f"format: {version}, must be {READABLE[0]} or {READABLE[-1]}")
            needed = [
                f.name for f in fields(Episode) if f.name in DTYPES and (f.name not in OPTIONAL or f.name in z.files)
            ]
            episode = Episode(meta=meta, **{name: z[name] for name in needed})
            if episode.meta["camera"] is not None:
                episode.camera  # noqa: B018  (checks the intrinsics)
            return episode
    except (EpisodeError, InputError) as e:
        raise EpisodeError(f"{path}: {e}") from e
    except (KeyError, ValueError, OSError, EOFError) as e:
        raise EpisodeError(f"{path}: not an episode of this format: {e}") from e
    except Exception as e:  # zipfile and zlib raise their own kinds on a truncated file
        raise EpisodeError(f"{path}: damaged: {type(e).__name__}: {e}") from e


def list_episodes(folder: str | Path) -> list[Path]:
    """Return the episode files of a folder, sorted.

    Raises:
        EpisodeError: there are none.
    """
    found = sorted(Path(folder).glob("*.npz"))
    if not found:
        raise EpisodeError(f"{folder}: no episode (*.npz); record some with 'uma simulate'")
    return found
