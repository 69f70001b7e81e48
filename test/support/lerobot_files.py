"""A clip as a LeRobot port of DROID, versions 2.1 and 3.0; in the latter a clip begins in the middle of a file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
from demonstration_clips import Clip
from droid_files import TEXTS, flange, other_camera, six, write_video

IMAGES = [f"observation.images.{name}" for name in ("exterior_1_left", "exterior_2_left", "wrist_left")]
LEAD = 12
"""Rows of another episode before the clip in a file of version 3.0."""
LOSSLESS = {"crf": "8", "preset": "ultrafast", "g": "5"}


def rows(c: Clip, texts=TEXTS) -> dict:
    """The columns of a clip."""
    n = len(c.pose)
    return {
        "observation.state.cartesian_position": flange(c.pose),
        "observation.state.gripper_position": np.array(c.gripper, float),
        "observation.state.joint_position": np.stack(c.joints),
        "action.cartesian_position": flange(c.target_pose),
        "action.gripper_position": np.array(c.target_gripper, float),
        "action.joint_position": np.stack(c.joints),
        "camera_extrinsics.exterior_1_left": np.tile(six(c.T_base_cam), (n, 1)),
        "camera_extrinsics.exterior_2_left": np.tile(six(other_camera(c)), (n, 1)),
        "language_instruction": [texts[0]] * n,
        "language_instruction_2": [texts[1]] * n,
        "language_instruction_3": [texts[2]] * n,
        "is_episode_successful": np.ones(n, bool),
        "timestamp": np.arange(n) / 15.0,
        "frame_index": np.arange(n),
    }


def lead(columns: dict) -> dict:
    """Another episode: the first rows of a clip, in other words."""
    return {k: ["wave"] * LEAD if k.startswith("language") else v[:LEAD] for k, v in columns.items()}


def table(columns: dict, index: int, first: int = 0) -> pyarrow.Table:
    n = len(columns["timestamp"])
    extra = {"episode_index": np.full(n, index), "index": np.arange(first, first + n)}
    data = {**columns, **extra}
    return pyarrow.table({k: list(v) if np.ndim(v) > 1 else v for k, v in data.items()})


def write_info(root: Path, version: str, data: str, videos: str, extra: dict | None = None) -> None:
    features = {name: {"dtype": "video", "shape": [180, 320, 3]} for name in IMAGES[:1]} | (extra or {})
    about = {"codebase_version": version, "data_path": data, "video_path": videos, "fps": 15, "chunks_size": 1000}
    (root / "meta").mkdir(parents=True, exist_ok=True)
    (root / "meta" / "info.json").write_text(json.dumps({**about, "features": features}))


def save(path: Path, value: pyarrow.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(value, path)


def write_v21(root: Path, c: Clip, columns: dict, features: dict | None = None) -> Path:
    """One episode, number 1004, in a file of its own."""
    data = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
    videos = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
    write_info(root, "v2.1", data, videos, features)
    save(root / "data/chunk-001/episode_001004.parquet", table(columns, 1004))
    row = {"episode_index": 1004, "tasks": ["a task"], "length": len(columns["timestamp"])}
    (root / "meta" / "episodes.jsonl").write_text(json.dumps(row) + "\n")
    frames = [o.rgb for o in c.observations]
    write_video(root / f"videos/chunk-001/{IMAGES[0]}/episode_001004.mp4", frames, 15, options=LOSSLESS)
    return root


def write_v30(root: Path, c: Clip, columns: dict, indices: tuple[int, int] = (7, 8)) -> Path:
    """Two episodes in one data file and one video."""
    data, videos = (
        "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "videos/{video_key}/chunk-{chunk_index:03d}",
    )
    write_info(root, "v3.0", data, videos + "/file-{file_index:03d}.mp4")
    n = len(columns["timestamp"])
    both = [table(lead(columns), indices[0], 100), table(columns, indices[1], 100 + LEAD)]
    save(root / "data/chunk-000/file-002.parquet", pyarrow.concat_tables(both))
    begins = np.array([0, LEAD]) / 15.0
    episodes = {
        "episode_index": list(indices),
        "length": [LEAD, n],
        "dataset_from_index": [100, 100 + LEAD],
        "dataset_to_index": [100 + LEAD, 100 + LEAD + n],
        "data/chunk_index": [0, 0],
        "data/file_index": [2, 2],
        f"videos/{IMAGES[0]}/chunk_index": [0, 0],
        f"videos/{IMAGES[0]}/file_index": [1, 1],
        f"videos/{IMAGES[0]}/from_timestamp": begins,
        f"videos/{IMAGES[0]}/to_timestamp": begins + np.array([LEAD, n]) / 15.0,
    }
    save(root / "meta/episodes/chunk-000/file-000.parquet", pyarrow.table(episodes))
    frames = [np.full_like(c.observations[0].rgb, 20 * i) for i in range(LEAD)] + [o.rgb for o in c.observations]
    write_video(root / f"videos/{IMAGES[0]}/chunk-000/file-001.mp4", frames, 15, options=LOSSLESS)
    return root
