"""DROID as RLDS, version 1.0.1: TFRecord shards, one record per episode, joined to published depth.

``action`` is documented as joint velocity and holds something else. So the commands are those of ``action_dict``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from uma.policy.demonstration import Demonstration
from uma.types import InputError
from uma_train.data.optional import needed
from uma_train.data.sources import robot_rows, tfrecord
from uma_train.data.sources.droid_annotations import lab_and_time
from uma_train.data.sources.parts import Part
from uma_train.data.sources.robot_ports import Port, join
from uma_train.data.sources.robot_rows import Options

SAME = robot_rows.SAME
IMAGES = {"ext1": "steps/observation/exterior_image_1_left", "ext2": "steps/observation/exterior_image_2_left"}
EXTRINSICS = {
    "ext1": "episode_metadata/extrinsics_exterior_cam_1",
    "ext2": "episode_metadata/extrinsics_exterior_cam_2",
}
WIDTHS = {"cartesian_position": 6, "gripper_position": 1, "joint_position": 7}
PATHS = "episode_metadata/file_path", "episode_metadata/recording_folderpath"
TEXTS = tuple(f"steps/language_instruction{suffix}" for suffix in ("", "_2", "_3"))


def recordings(source: str | Path) -> dict[str, Part]:
    """Return name -> record, of a shard or of all shards below a folder. Payloads are not read.

    Raises:
        InputError: there is no shard.
    """
    source = Path(source)
    if not source.exists():
        raise InputError(f"source: {source}: no such file or folder")
    shards = [source] if source.is_file() else sorted(p for p in source.rglob("*.tfrecord*") if p.is_file())
    if not shards:
        raise InputError(f"source: {source}: no *.tfrecord* in it")
    found: dict[str, Part] = {}
    for shard in shards:
        stem = shard.name.replace(".tfrecord", "")
        for i, at in enumerate(tfrecord.offsets(shard)):
            found[f"{stem}_{i:05d}"] = Part(shard, f"record {i}", at)
    if not found:
        raise InputError(f"source: {source}: no record")
    return found


def read(part: Part, options: Options) -> Demonstration:
    """Return the demonstration in a record.

    Raises:
        InputError: the record is damaged or lacks a feature, or there is no depth.
    """
    payload = tfrecord.record(part.path, part.at, options.checksums)
    try:
        features = tfrecord.example(payload)
        values = dict(_values(features))
        images = {camera: tfrecord.byte_strings(_needed(features, key)) for camera, key in IMAGES.items()}
        path = next((t for key in PATHS if "/" in (t := _text(features, key))), "")
        lab, time = lab_and_time(path)
        extrinsics = {
            camera: (tfrecord.floats(features[key]), key) for camera, key in EXTRINSICS.items() if key in features
        }
        texts = tuple(_text(features, key) for key in TEXTS)
    except InputError as error:
        raise InputError(f"{part.path.name}: offset {part.at}: {error}") from error
    outcome = next((word for word in ("success", "failure") if f"/{word}/" in path), "")

    def frames(camera: str, rows: list[int]) -> Iterator[np.ndarray]:
        return (decoded(images[camera][r], f"{part.path.name}: {IMAGES[camera]}[{r}]") for r in rows)

    port = Port(
        "rlds",
        f"{part.path.name}#{part.name}",
        lab,
        time,
        texts,
        outcome,
        values,
        extrinsics,
        lambda camera: len(images[camera]),
        frames,
    )
    return join(port, options)


def _needed(features: dict[str, memoryview], key: str) -> memoryview:
    if key not in features:
        folder = key.rpartition("/")[0] + "/"
        present = sorted(name.removeprefix(folder) for name in features if name.startswith(folder))
        raise InputError(
            f"{key}: missing, must be there as in DROID 1.0.1; {folder} has {', '.join(present) or 'nothing'}"
        )
    return features[key]


def _text(features: dict[str, memoryview], key: str) -> str:
    found = tfrecord.byte_strings(features[key]) if key in features else []
    return found[0].decode(errors="replace").strip() if found else ""


def _values(features: dict[str, memoryview]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the measured and the commanded values, ``(N, k)``."""
    for name, width in WIDTHS.items():
        for before, key in (("", f"steps/observation/{name}"), ("action/", f"steps/action_dict/{name}")):
            if before and key not in features:
                continue
            flat = tfrecord.floats(_needed(features, key))
            if not len(flat) or len(flat) % width:
                raise InputError(f"{key}: {len(flat)} numbers, must be a multiple of {width}")
            yield before + name, flat.reshape(-1, width)


def decoded(data: bytes, name: str) -> np.ndarray:
    """Return ``(H, W, 3)`` uint8 of a JPEG or PNG.

    Raises:
        InputError: it is not an image.
    """
    cv2 = needed("cv2")
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) if data else None
    if bgr is None:
        raise InputError(f"{name}: {len(data)} bytes that are not an image")
    return np.ascontiguousarray(bgr[..., ::-1])
