"""The episode format: one ``.npz`` per episode, written atomically, read without pickle.

Everything is in the episode's own camera frame (paper 3.3). Points keep 0.1 mm in 16-bit integers. The measured pose and
the commanded target are separate fields.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from uma.model.inputs import PointSet

METRE = 1e-4
"""Metres per unit of the stored point coordinates."""


class EpisodeError(ValueError):
    """An episode file is damaged or of another format. The message names the file and the field."""


@dataclass(frozen=True)
class Episode:
    """One demonstration of S control steps at 15 Hz, with F rendered frames of N points.

    Attributes:
        xyz: ``(F, N, 3)`` int16, tenths of a millimetre, camera frame.
        rgb: ``(F, N, 3)`` uint8.
        height: ``(F, N)`` int16, tenths of a millimetre over the table.
        frame_step: ``(F,)`` int32, the control step of each frame.
        pose, gripper: measured end effector ``(S, 4, 4)`` float32 in the camera frame, ``(S,)`` in [0, 1].
        target_pose, target_gripper: the action at each step, due one period later; same shapes.
        tracks: ``(S, K, 3)`` float32 metres, surface points of the object.
        static: ``(Q, 3)`` float32 metres, points that do not move (holder rims), for pinned keypoints.
        meta: JSON values: seed, task, source, camera.
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

    def __post_init__(self) -> None:
        S, F = len(self.pose), len(self.xyz)
        if S < 2 or F < 1:
            raise EpisodeError(f"episode: {S} steps and {F} frames, at least 2 and 1 are needed")
        for name, n in (("gripper", S), ("target_pose", S), ("target_gripper", S), ("tracks", S), ("rgb", F), ("height", F), ("frame_step", F)):
            if len(getattr(self, name)) != n:
                raise EpisodeError(f"episode: {name} has {len(getattr(self, name))} entries, must be {n}")
        if self.frame_step.min() < 0 or self.frame_step.max() >= S:
            raise EpisodeError(f"episode: frame_step runs to {self.frame_step.max()}, must be below {S}")


def quantize(points: PointSet) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A `PointSet` as stored: int16 xyz, uint8 rgb, int16 height. Beyond 3.2 m is clipped."""
    def pack(v: np.ndarray) -> np.ndarray:
        return np.clip(np.round(v / METRE), -32767, 32767).astype(np.int16)

    return pack(points.xyz), points.rgb, pack(points.height)


def save_episode(path: str | Path, episode: Episode) -> None:
    """Write to ``path`` (``.npz``) through a temporary file and a rename."""
    path = Path(path)
    part = path.with_suffix(".part")
    arrays = {f.name: getattr(episode, f.name) for f in fields(episode) if f.name != "meta"}
    with open(part, "wb") as f:
        np.savez(f, meta=np.frombuffer(json.dumps(episode.meta).encode(), np.uint8), **arrays)
    os.replace(part, path)


def load_episode(path: str | Path) -> Episode:
    """Read one episode.

    Raises:
        EpisodeError: not an episode file, or fields that do not fit together.
    """
    try:
        with np.load(path, allow_pickle=False) as z:
            meta = json.loads(bytes(z["meta"]).decode())
            return Episode(meta=meta, **{f.name: z[f.name] for f in fields(Episode) if f.name != "meta"})
    except EpisodeError as e:
        raise EpisodeError(f"{path}: {e}") from e
    except (KeyError, ValueError, OSError, EOFError) as e:
        raise EpisodeError(f"{path}: not an episode of this format: {e}") from e
    except Exception as e:  # zipfile and zlib raise their own kinds on a truncated file
        raise EpisodeError(f"{path}: damaged: {type(e).__name__}: {e}") from e


def list_episodes(folder: str | Path) -> list[Path]:
    """Episode files of a folder, sorted.

    Raises:
        EpisodeError: there is none.
    """
    found = sorted(Path(folder).glob("*.npz"))
    if not found:
        raise EpisodeError(f"{folder}: no episode (*.npz); make some with 'uma simulate'")
    return found
