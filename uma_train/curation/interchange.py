"""The interchange file: TAPIP3D's ``.npz`` layout with optional keys of ours, written atomically, read without pickle.

TAPIP3D's keys: ``video`` (T, H, W, 3) uint8; ``depths`` (T, H, W) float32 metres, 0 where invalid; ``intrinsics``
(T, 3, 3) or (3, 3) pixels; ``extrinsics`` (T, 4, 4) or (4, 4), world to camera; ``query`` (N, 4) image index and world
point; ``coords`` (T, N, 3) world; ``visibs`` (T, N). Only the video is required. Ours: ``stamps`` (T,), ``has_image``
(T,), ``is_object`` (H, W), ``on_object`` (N,), ``hand`` (T, 21, 3), ``meta`` (UTF-8 JSON as uint8) and the robot's
``robot_*``. Other keys are ignored.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from uma.checkpoint.npz import load_arrays
from uma.policy.demonstration import Robot
from uma.types import RATE_HZ, InputError
from uma_train.curation.clip import Clip

KINDS = {
    **{name: "f" for name in ("depths", "intrinsics", "extrinsics", "query", "coords", "stamps", "hand")},
    **{name: "b" for name in ("visibs", "has_image", "is_object", "on_object")},
}
TYPES = {"depths": np.float32, "query": np.float32, "coords": np.float32, "hand": np.float32}
TEXTS = ("camera_frame", "text", "outcome", "source", "licence")
ROBOT = ("T_base_cam", "pose", "gripper", "target_pose", "target_gripper", "joints")
ROBOT_SHAPES: dict[str, tuple[int, ...]] = {"pose": (4, 4), "target_pose": (4, 4), "joints": (7,)}


def save_clip(path: str | Path, clip: Clip) -> None:
    """Write ``path`` (``.npz``) through a temporary file and a rename. Unknown fields are left out."""
    path = Path(path)
    arrays: dict[str, np.ndarray] = {"video": clip.video}
    arrays |= {name: getattr(clip, name) for name in KINDS if getattr(clip, name) is not None}
    if clip.depths is not None:
        arrays["depths"] = np.where(np.isfinite(clip.depths), clip.depths, np.float32(0))
    meta: dict[str, Any] = {name: getattr(clip, name) for name in TEXTS} | {"is_metric": clip.is_metric}
    if clip.robot is not None:
        values = {name: getattr(clip.robot, name) for name in ROBOT}
        arrays |= {f"robot_{name}": value for name, value in values.items() if value is not None}
        meta["actions"] = list(clip.robot.actions)
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    part = path.with_suffix(".part")
    try:
        with open(part, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def load_clip(path: str | Path) -> Clip:
    """Read an interchange file of ours or of TAPIP3D.

    Raises:
        InputError: not such a file; the message has the file, the field, its value and the limit.
    """
    path = Path(path)
    try:
        arrays = load_arrays(path)
        return _clip(path.stem, arrays)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _clip(name: str, arrays: dict[str, np.ndarray]) -> Clip:
    if "video" not in arrays:
        raise InputError(f"video: absent, the file has {', '.join(sorted(arrays)) or 'nothing'}")
    T = len(arrays["video"]) if arrays["video"].ndim else 0
    meta = _meta(arrays)
    values: dict[str, Any] = {}
    for key, kind in KINDS.items():
        if key not in arrays:
            continue
        value = arrays[key]
        if value.dtype.kind not in ("f" if kind == "f" else "bu"):
            raise InputError(f"{key}: {value.dtype}, must be {'a float' if kind == 'f' else 'bool'}")
        values[key] = value.astype(TYPES.get(key, np.float64) if kind == "f" else bool)
    for key in ("intrinsics", "extrinsics"):
        if key in values and values[key].ndim == 2:
            values[key] = np.tile(values[key], (T, 1, 1))
    if "depths" in values:
        depths = values["depths"]
        depths[~np.isfinite(depths) | (depths <= 0)] = np.nan
    values.setdefault("stamps", np.arange(T) / RATE_HZ)
    texts = {key: str(meta[key]) for key in TEXTS if key in meta}
    return Clip(
        name=name,
        video=arrays["video"],
        **{"depths": None, "intrinsics": None, "extrinsics": None, **values},
        robot=_robot(arrays, meta, T),
        is_metric=bool(meta.get("is_metric", True)),
        **texts,
    )


def _meta(arrays: dict[str, np.ndarray]) -> dict:
    if "meta" not in arrays:
        return {}
    try:
        meta = json.loads(arrays["meta"].astype(np.uint8).tobytes().decode())
    except ValueError as error:
        raise InputError(f"meta: {error}, must be UTF-8 JSON") from error
    if not isinstance(meta, dict):
        raise InputError(f"meta: {type(meta).__name__}, must be a mapping")
    return meta


def _robot(arrays: dict[str, np.ndarray], meta: dict, T: int) -> Robot | None:
    found = {name: arrays[f"robot_{name}"].astype(np.float64) for name in ROBOT if f"robot_{name}" in arrays}
    if not found:
        return None
    for name in ROBOT[:-1]:
        if name not in found:
            raise InputError(f"robot_{name}: absent, required with the other robot fields")
    for name, value in found.items():
        shape = (4, 4) if name == "T_base_cam" else (T, *ROBOT_SHAPES.get(name, ()))
        if value.shape != shape or not np.isfinite(value).all():
            raise InputError(f"robot_{name}: shape {value.shape}, must be {shape} of finite numbers")
    pose, grip = (str(word) for word in (list(meta.get("actions", [])) + ["measured"] * 2)[:2])
    return Robot(actions=(pose, grip), **{"joints": None, **found})
