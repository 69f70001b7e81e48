"""DexYCB: RGB-D of people who grasp an object, from eight cameras at rest, with the objects' poses.

Layout, below any folder that also has ``calibration/intrinsics/SERIAL_640x480.yml``::

    SUBJECT/TIME/meta.yml
                /SERIAL/color_000000.jpg
                       /aligned_depth_to_color_000000.png   16 bit, mm
                       /labels_000000.npz                   seg, pose_y

A recording is one camera of one sequence. It has 30 Hz; every second frame is taken.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import yaml

from uma.geometry.camera import unproject_pixels
from uma.policy.demonstration import Demonstration
from uma.types import RATE_HZ, CameraModel, InputError, Observation, check_pose
from uma_train.data.sources.gates import Refused
from uma_train.data.sources.human.carried import Posed, carry
from uma_train.data.sources.human.images import check_16_bit, metres, observe, read_image
from uma_train.data.sources.human.licence import Options, check_licence

SET_LICENCE = "CC BY-NC 4.0"
EVERY = 2
"""Frames of 30 Hz from step to step."""
META = "meta.yml"
COLOUR, DEPTH, LABELS = "color_{:06d}.jpg", "aligned_depth_to_color_{:06d}.png", "labels_{:06d}.npz"


class ReadOptions(Options, Protocol):
    """Options of the import that concern DexYCB."""

    text: str


def recordings(source: str | Path) -> dict[str, Path]:
    """Return name -> folder of one camera of a sequence, of all below a folder, or the folder itself.

    Raises:
        InputError: there is none.
    """
    source = Path(source)
    sequences = [p.parent for p in sorted(source.glob(f"**/{META}"))]
    found = [p for s in sequences for p in sorted(s.iterdir()) if (p / COLOUR.format(0)).exists()]
    if (source / COLOUR.format(0)).exists():
        found.append(source)
    if not found:
        raise InputError(f"source: {source}: 0 cameras with {META} and {COLOUR.format(0)}, must be at least 1")
    return {name_of(p): p for p in found}


def name_of(folder: Path) -> str:
    """Return a recording's name: subject, time and serial."""
    return "_".join(folder.resolve().parts[-3:])


def read(path: str | Path, options: ReadOptions) -> Demonstration:
    """Return the demonstration of one camera.

    Raises:
        InputError: a file is missing or damaged, or the licence is not accepted.
    """
    licence = check_licence("DexYCB", SET_LICENCE, options)
    view = View(Path(path))
    poses = np.full((view.steps, 4, 4), np.nan)
    for step in range(view.steps):
        pose = view.pose(step)
        if pose is not None:
            poses[step] = pose
    if not np.isfinite(poses).all((1, 2)).any():
        raise Refused("object pose", f"0 of {view.steps} steps have the grasped object, must be at least 1")
    tracks = carry(Posed(poses, view.on_object), view.depths(), view.camera).tracks()
    return Demonstration(
        name=name_of(view.path),
        source="dexycb",
        text=options.text or f"grasp and lift: {view.thing}",
        outcome="",
        camera_frame=view.camera.frame,
        stamps=np.arange(view.steps) / RATE_HZ,
        observations=view.observations,
        num_colour=view.steps,
        num_depth=view.steps,
        num_pairs=view.steps,
        tracks=tracks,
        licence=licence,
    )


CLASSES = (
    "master chef can, cracker box, sugar box, tomato soup can, mustard bottle, tuna fish can, pudding box, "
    "gelatin box, potted meat can, banana, pitcher base, bleach cleanser, bowl, mug, power drill, wood block, "
    "scissors, large marker, large clamp, extra large clamp, foam brick"
).split(", ")
"""Names of the objects with the numbers 1 to 21."""


@dataclass
class View:
    """One camera of a sequence.

    Attributes:
        steps: number of steps of 15 Hz.
        number: of the grasped object, 1 to 21; `index` is its place among the objects of the sequence.
        thing: its name.
    """

    path: Path

    def __post_init__(self) -> None:
        meta = read_yaml(self.path.resolve().parent / META)
        ids, self.index = meta.get("ycb_ids"), meta.get("ycb_grasp_ind")
        if not isinstance(ids, list) or type(self.index) is not int or not 0 <= self.index < len(ids):
            raise InputError(f"{self.path}: ycb_grasp_ind {self.index!r} of ycb_ids {ids!r}, must be an index of it")
        self.objects, self.number = len(ids), ids[self.index]
        if type(self.number) is not int or not 1 <= self.number <= len(CLASSES):
            raise InputError(f"{self.path}: ycb_ids {ids}, must be numbers from 1 to {len(CLASSES)}")
        self.thing = CLASSES[self.number - 1]
        counts = [len(list(self.path.glob(n.format(0).replace("000000", "*")))) for n in (COLOUR, DEPTH, LABELS)]
        if counts[0] != counts[1] or counts[0] != counts[2] or counts[0] < 1:
            raise Refused(
                "frame counts", f"{counts[0]} colour, {counts[1]} depth and {counts[2]} label files, must be equal"
            )
        self.steps = (counts[0] + EVERY - 1) // EVERY
        self.camera = _camera(self.path)

    def _labels(self, step: int) -> dict[str, np.ndarray]:
        file = self.path / LABELS.format(step * EVERY)
        try:
            with np.load(file, allow_pickle=False) as z:
                labels = {name: z[name] for name in ("seg", "pose_y")}
        except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(f"{file}: no labels: {error}") from error
        shapes = {"seg": (self.camera.height, self.camera.width), "pose_y": (self.objects, 3, 4)}
        for name, shape in shapes.items():
            if labels[name].shape != shape or labels[name].dtype.kind not in "uif":
                raise InputError(f"{file}: {name} is {labels[name].dtype} {labels[name].shape}, must be {shape}")
        return labels

    def pose(self, step: int) -> np.ndarray | None:
        """Return the ``(4, 4)`` pose of the grasped object in the camera's frame; None where it is absent."""
        upper = self._labels(step)["pose_y"][self.index].astype(np.float64)
        if not upper.any():
            return None
        name = f"{self.path / LABELS.format(step * EVERY)}: pose_y[{self.index}]"
        return check_pose(np.vstack([upper, [0.0, 0.0, 0.0, 1.0]]), name)

    def on_object(self, step: int, depth: np.ndarray) -> np.ndarray:
        """Return the ``(N, 3)`` points of the grasped object by its segmentation, camera frame."""
        is_object = (self._labels(step)["seg"] == self.number) & np.isfinite(depth)
        return unproject_pixels(depth, np.flatnonzero(is_object), self.camera)

    def depths(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield step and ``(480, 640)`` depth, metres.

        Raises:
            InputError: a file is damaged, has another shape, or all have 8 bit.
        """
        largest = 0
        for step in range(self.steps):
            raw = self._raw(step)
            largest = max(largest, int(raw.max()))
            yield step, metres(raw, 1)
        check_16_bit(largest, self.path)

    def _raw(self, step: int) -> np.ndarray:
        file = self.path / DEPTH.format(step * EVERY)
        raw = read_image(file)
        shape = (self.camera.height, self.camera.width)
        if raw.dtype != np.uint16 or raw.shape != shape:
            raise InputError(f"{file}: {raw.dtype} {raw.shape}, must be uint16 {shape}")
        return raw

    def observations(self) -> Iterator[tuple[int, Observation]]:
        """Yield the steps."""
        for step, depth in self.depths():
            rgb = read_image(self.path / COLOUR.format(step * EVERY))
            yield step, observe(rgb, depth, self.camera, step / RATE_HZ)


def read_yaml(file: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Raises:
        InputError: the file is missing, malformed, or no mapping.
    """
    try:
        value = yaml.safe_load(file.read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise InputError(f"{file}: no YAML: {error}") from error
    if not isinstance(value, dict):
        raise InputError(f"{file}: {type(value).__name__}, must be a mapping")
    return value


def _camera(path: Path) -> CameraModel:
    serial = path.resolve().name
    name = Path("calibration") / "intrinsics" / f"{serial}_640x480.yml"
    file = next((p / name for p in path.resolve().parents if (p / name).exists()), None)
    if file is None:
        raise InputError(f"{path}: no {name} in a folder above")
    colour = read_yaml(file).get("color")
    try:
        fx, fy, cx, cy = (float(colour[key]) for key in ("fx", "fy", "ppx", "ppy"))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file}: color {colour!r:.80}, must have the numbers fx, fy, ppx and ppy") from error
    if not (0 < cx < 640 and 0 < cy < 480):
        raise InputError(f"{file}: ppx {cx:g}, ppy {cy:g}, must lie in the image of 640 x 480 pixels")
    return CameraModel(640, 480, fx, fy, cx, cy, f"dexycb_{serial}")
