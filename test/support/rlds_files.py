"""A clip as a shard of DROID's RLDS release 1.0.1: TFRecord with one tf.train.Example per episode."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
from demonstration_clips import Clip
from droid_files import PLACE, TEXTS, flange, other_camera, six

from uma_train.data.sources.tfrecord import crc32c, masked

SHARD = "droid_101-train.tfrecord-00003-of-02048"


def varint(n: int) -> bytes:
    out = b""
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def message(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def feature(values) -> bytes:
    """Encode a list of bytes, or an array of floats or integers."""
    if isinstance(values, list):
        return message(1, b"".join(message(1, v) for v in values))
    if values.dtype.kind == "f":
        return message(2, message(1, values.astype("<f4").tobytes()))
    return message(3, message(1, b"".join(varint(int(v)) for v in values.ravel())))


def example(features: dict) -> bytes:
    entries = (message(1, message(1, name.encode()) + message(2, feature(v))) for name, v in features.items())
    return message(1, b"".join(entries))


def record(payload: bytes) -> bytes:
    head = struct.pack("<Q", len(payload))
    crcs = [struct.pack("<I", masked(crc32c(data))) for data in (head, payload)]
    return head + crcs[0] + payload + crcs[1]


def jpeg(rgb: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()


def episode(c: Clip) -> dict:
    """The features of a clip."""
    n = len(c.pose)
    pose, target = flange(c.pose), flange(c.target_pose)
    steps = {
        "observation/exterior_image_1_left": [jpeg(o.rgb) for o in c.observations],
        "observation/exterior_image_2_left": [jpeg(np.zeros_like(c.observations[0].rgb))] * n,
        "observation/cartesian_position": pose.ravel(),
        "observation/gripper_position": np.array(c.gripper, float),
        "observation/joint_position": np.ravel(c.joints).astype(float),
        "action_dict/cartesian_position": target.ravel(),
        "action_dict/gripper_position": np.array(c.target_gripper, float),
        "action": np.full(7 * n, 9.0),
        "is_first": np.arange(n) == 0,
        "language_instruction": [b""] * n,
        "language_instruction_2": [TEXTS[1].encode()] * n,
        "language_instruction_3": [TEXTS[2].encode()] * n,
    }
    about = {
        "file_path": [f"/nfs/r2d2-data-full/{PLACE}/trajectory.h5".encode()],
        "recording_folderpath": [f"/nfs/r2d2-data-full/{PLACE}/recordings/MP4".encode()],
        "extrinsics_exterior_cam_1": six(c.T_base_cam),
        "extrinsics_exterior_cam_2": six(other_camera(c)),
    }
    return {f"steps/{k}": v for k, v in steps.items()} | {f"episode_metadata/{k}": v for k, v in about.items()}


def write_shard(folder: Path, episodes: list[dict]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / SHARD
    path.write_bytes(b"".join(record(example(features)) for features in episodes))
    return path
