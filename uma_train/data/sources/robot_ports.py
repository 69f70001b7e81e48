"""Ports of DROID that keep neither times nor depth: joined to published depth, calibration and texts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from uma.policy.demonstration import Demonstration
from uma.types import InputError
from uma_train.data.seen import shrink
from uma_train.data.sources import robot_rows
from uma_train.data.sources.droid_annotations import Annotations
from uma_train.data.sources.droid_depth import LICENCE, SUFFIX, DepthFile, depth_path
from uma_train.data.sources.gates import Refused
from uma_train.data.sources.robot_rows import About, Options, Pictures, Rows, shaped

CAMERAS = "ext1", "ext2"


@dataclass(frozen=True)
class Port:
    """An episode of N rows.

    Attributes:
        source, name: format, and name of the recording.
        lab, time: which of DROID's episodes it is.
        texts: instructions, some empty.
        outcome: success, failure, or "".
        values: measured and commanded ``cartesian_position`` (N, 6), ``gripper_position`` (N,) and ``joint_position``
            (N, 7); the commanded ones with ``action/`` before them.
        extrinsics: camera -> 6-vector, and its field's name; without an entry where unknown.
        count: images of a camera, for ext1 and ext2.
        frames: yields a camera's images of increasing rows, ``(H, W, 3)`` uint8.
    """

    source: str
    name: str
    lab: str
    time: str
    texts: tuple[str, ...]
    outcome: str
    values: Mapping[str, np.ndarray]
    extrinsics: Mapping[str, tuple[np.ndarray, str]]
    count: Callable[[str], int]
    frames: Callable[[str, list[int]], Iterator[np.ndarray]]


def join(port: Port, options: Options) -> Demonstration:
    """Return the demonstration of an episode with published depth. Row i belongs to depth image i.

    Raises:
        InputError: depth, calibration or camera is missing, or counts disagree.
    """
    path = depth_path(options.depth, port.lab, port.time)
    episode, extra = path.name.removesuffix(SUFFIX), Annotations(options.annotations)
    camera, depth = _camera(options.camera or CAMERAS[0], path, episode, extra)
    flange = shaped(port.values["cartesian_position"], "cartesian_position", 6)
    images = depth.rows(None, len(flange))
    N = int((images >= 0).sum())
    if (count := port.count(camera)) != len(flange):
        raise Refused("frame counts", f"{count} images of {camera} for {len(flange)} rows, must be equal")
    stamps = robot_rows.check_increasing(depth.stamps[:N] * 1e-3, f"{path.name}: timestamps")
    robot_rows.check_date(float(stamps[-1]), f"{path.name}: timestamps")
    six, origin = extra.extrinsics(episode, depth.serial) or port.extrinsics.get(camera) or (None, "")
    if six is None:
        raise Refused("extrinsics", f"{camera}: neither in the recording nor in --annotations")
    T_base_cam = robot_rows.extrinsics_of(six, f"{origin} of {camera}")
    full, kind = extra.intrinsics(episode, depth.serial)
    model = robot_rows.intrinsics_at(full, depth.width, depth.height)

    def value(name: str, columns: int) -> np.ndarray | None:
        return shaped(port.values[name], name, columns, len(flange))[:N] if name in port.values else None

    gripper = value("gripper_position", 1)
    if gripper is None:
        raise InputError("gripper_position: missing")
    rows = Rows(
        stamps,
        flange[:N],
        gripper,
        value("joint_position", 7),
        value("action/cartesian_position", 6),
        value("action/gripper_position", 1),
    )

    def read(wanted: set[int]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        chosen = sorted(wanted)
        for r, rgb, metres in zip(chosen, port.frames(camera, chosen), depth.read(chosen)):
            yield r, shrink(rgb, model.width, model.height), metres

    pictures = Pictures(read, np.ones(N, bool), len(flange), len(depth.stamps), model, T_base_cam)
    text = next((t for t in port.texts if t), "") or extra.text(episode)
    notes = {"episode": episode, "camera": depth.serial, "extrinsics": origin, "intrinsics": kind, "depth": "published"}
    about = About(port.name, port.source, text, port.outcome, f"CC BY 4.0; {LICENCE}", notes)
    return robot_rows.demonstration(about, rows, pictures, options)


def _camera(wanted: str, path: Path, episode: str, extra: Annotations) -> tuple[str, DepthFile]:
    """Return ext1 or ext2 and the depth of this camera. The published serials decide which is which, where known.

    Raises:
        InputError: the camera is unknown, a right lens, or on the wrist.
    """
    if wanted.endswith("_right"):
        raise Refused("camera", f"{wanted}: a right lens, must be a left one; depth belongs to the left image")
    wanted = wanted.removesuffix("_left")
    known = {extra.serial(episode, name): name for name in CAMERAS}
    if wanted == "wrist" or wanted == extra.serial(episode, "wrist"):
        raise Refused("camera", f"{wanted}: on the wrist, must be an exterior camera")
    if wanted in CAMERAS:
        return wanted, DepthFile.open(path, extra.serial(episode, wanted) or wanted)
    depth = DepthFile.open(path, wanted)
    for name in CAMERAS:
        if known.get(wanted) == name or not any(known) and DepthFile.open(path, name).serial == wanted:
            return name, depth
    raise Refused("camera", f"{wanted}: neither ext1 nor ext2 of {episode}")
