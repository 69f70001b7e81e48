"""HOI4D: egocentric RGB-D video of a person who moves an object, with the object's pose.

Layout of a sequence, below any folder that also has ``camera_params/ZY*/intrin.npy``::

    ZY*/H*/C*/N*/S*/s*/T*/align_rgb/image.mp4
                         /align_depth/depth_video.avi      16 bit, mm
                         /objpose/00000.json               camera frame; or 0.json, or objpose_refined/0000.json
                         /2Dseg/mask/00000.png             optional
                         /3Dseg/output.log                 camera trajectory; without it the camera must rest
                         /handpose/0.pickle                optional, the hand's 21 points in the image

The object is the one that moves farthest of those with a pose.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from uma.policy.demonstration import Demonstration
from uma.types import RATE_HZ, CameraModel, InputError, Observation
from uma_train.data.sources.gates import Refused
from uma_train.data.sources.human.box import Box, inside, read_boxes
from uma_train.data.sources.human.carried import Posed, carry
from uma_train.data.sources.human.hand import away_from_hand
from uma_train.data.sources.human.images import check_16_bit, factor_of, metres, observe, reduce_colour, reduced
from uma_train.data.sources.human.licence import Options, check_licence
from uma_train.data.sources.human.masks import object_in
from uma_train.data.sources.human.trajectory import checked, checked_steps, directed, read_log
from uma_train.data.sources.human.video import COLOUR, DEPTH, frame_times, frames, grid
from uma_train.data.sources.human.words import hoi4d_text

SET_LICENCE = "CC BY-NC 4.0"
COLOUR_FILE, DEPTH_FILE = "align_rgb/image.mp4", "align_depth/depth_video.avi"
FRAME = "hoi4d_camera"
MIN_POSES = 0.8
"""Least share of the steps that have an object pose."""
MIN_IN_BOX = 0.5
"""Least share of the masked depth that lies in the object's box."""
LETTERS = ("ZY", "H", "C", "N", "S", "s", "T")


class ReadOptions(Options, Protocol):
    """Options of the import that concern HOI4D."""

    text: str


def recordings(source: str | Path) -> dict[str, Path]:
    """Return name -> folder of a sequence, of all below a folder.

    Raises:
        InputError: there is none.
    """
    found = sorted(p.parent.parent for p in Path(source).glob(f"**/{COLOUR_FILE}"))
    if not found:
        raise InputError(f"source: {source}: 0 sequences with {COLOUR_FILE}, must be at least 1")
    return {name_of(p): p for p in found}


def name_of(folder: Path) -> str:
    """Return a sequence's name, the seven parts of its path."""
    return "_".join(folder.resolve().parts[-len(LETTERS) :])


def read(path: str | Path, options: ReadOptions) -> Demonstration:
    """Return the demonstration of a sequence.

    Raises:
        InputError: a file is missing or damaged, the licence is not accepted, or a gate of the format is not passed.
    """
    licence = check_licence("HOI4D", SET_LICENCE, options)
    sequence = Sequence(Path(path))
    depths = {}

    def kept() -> Iterator[tuple[int, np.ndarray]]:
        wanted = checked_steps(sequence.steps)
        for step, depth in sequence.depths():
            if step in wanted or not depths:
                depths[step] = depth
            yield step, depth

    boxes = read_boxes(sequence.path, sequence.steps)
    if len(boxes) < MIN_POSES * sequence.steps:
        raise Refused("object pose", f"{len(boxes)} for {sequence.steps} steps, must be at least {MIN_POSES:.0%}")
    poses = np.full((sequence.steps, 4, 4), np.nan)
    for step, box in boxes.items():
        poses[step] = box.T_cam_box
    carried = carry(Posed(poses, lambda s, d: on_object(sequence, boxes[s], s, d)), kept(), sequence.camera)
    log = sequence.path / "3Dseg" / "output.log"
    T_first_cam = None
    if log.exists():
        matrices = read_log(log)
        if len(matrices) < sequence.steps:
            raise Refused("frame counts", f"{len(matrices)} camera poses, must be {sequence.steps}")
        T_first_cam = directed(matrices[: sequence.steps], depths, sequence.camera)
    else:
        checked(np.tile(np.eye(4), (sequence.steps, 1, 1)), depths, sequence.camera)
    return Demonstration(
        name=name_of(sequence.path),
        source="hoi4d",
        text=hoi4d_text(sequence.path.resolve().parts) or options.text,
        outcome="",
        camera_frame=FRAME,
        stamps=np.arange(sequence.steps) / RATE_HZ,
        observations=sequence.observations,
        num_colour=len(sequence.colour),
        num_depth=len(sequence.depth),
        num_pairs=len(set(sequence.colour.values()) & set(sequence.depth.values())),
        tracks=carried.tracks(T_first_cam),
        T_first_cam=T_first_cam,
        licence=licence,
    )


@dataclass
class Sequence:
    """The images of a sequence. Wide ones are reduced.

    Attributes:
        steps: number of steps of 15 Hz.
        colour, depth: index of the frame -> step.
        camera: of the reduced images.
    """

    path: Path

    def __post_init__(self) -> None:
        colour = grid(frame_times(self.path / COLOUR_FILE))
        depth = grid(frame_times(self.path / DEPTH_FILE))
        self.steps = max(len(colour), len(depth))
        self.colour = {int(f): s for s, f in enumerate(colour) if f >= 0}
        self.depth = {int(f): s for s, f in enumerate(depth) if f >= 0}
        _, first = next(frames(self.path / COLOUR_FILE, COLOUR, {0: 0}))
        height, width = first.shape[:2]
        self.full = _camera(self.path, width, height)
        self.factor = factor_of(width, height)
        self.camera = reduced(self.full, self.factor)

    def depths(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yield step and ``(H, W)`` depth, metres.

        Raises:
            InputError: depth has another size than colour, or was reduced to 8 bit.
        """
        file, largest = self.path / DEPTH_FILE, 0
        for step, raw in frames(file, DEPTH, self.depth):
            if raw.shape != (self.full.height, self.full.width):
                raise InputError(f"{file}: {raw.shape}, must be {(self.full.height, self.full.width)} as colour")
            largest = max(largest, int(raw.max()))
            yield step, metres(raw, self.factor)
        check_16_bit(largest, file)

    def observations(self) -> Iterator[tuple[int, Observation]]:
        """Yield the steps that have both images."""
        depths = self.depths()
        at, depth = next(depths, (self.steps, None))
        for step, rgb in frames(self.path / COLOUR_FILE, COLOUR, self.colour):
            while at < step:
                at, depth = next(depths, (self.steps, None))
            if at == step and depth is not None:
                yield step, observe(reduce_colour(rgb, self.factor), depth, self.camera, step / RATE_HZ)


def _camera(path: Path, width: int, height: int) -> CameraModel:
    """Return the intrinsics of the camera that a sequence's path names.

    Raises:
        InputError: its file is missing or malformed.
    """
    parts = path.resolve().parts
    names = [part for part in parts if re.fullmatch(r"ZY\d+", part)]
    if not names:
        raise InputError(f"{path}: 0 folders named ZY and digits, the camera; must be 1")
    places = [p / "camera_params" / names[-1] / "intrin.npy" for p in path.resolve().parents]
    file = next((p for p in places if p.exists()), None)
    if file is None:
        raise InputError(f"{path}: no camera_params/{names[-1]}/intrin.npy in a folder above")
    try:
        K = np.load(file, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{file}: no array: {error}") from error
    if K.shape != (3, 3) or K.dtype.kind != "f" or not np.isfinite(K).all():
        raise InputError(f"{file}: {K.dtype} {K.shape}, must be (3, 3) of finite numbers")
    if not (0 < K[0, 2] < width and 0 < K[1, 2] < height):
        raise InputError(f"{file}: centre {K[0, 2]:g}, {K[1, 2]:g}, must lie in the image of {width} x {height} pixels")
    return CameraModel(width, height, *(float(v) for v in (K[0, 0], K[1, 1], K[0, 2], K[1, 2])), frame=FRAME)


def on_object(sequence: Sequence, box: Box, step: int, depth: np.ndarray) -> np.ndarray:
    """Return the ``(N, 3)`` points seen in the object's box, of the object's mask where there is one.

    Raises:
        Refused: most of the masked depth lies outside the box.
    """
    pixel, points = inside(box, depth, sequence.camera)
    masked = object_in(sequence.path, step, depth.shape, pixel)
    if masked is None:
        return away_from_hand(sequence.path, step, points, sequence.full)
    seen = int((masked & np.isfinite(depth)).sum())
    is_object = masked.ravel()[pixel]
    if is_object.sum() < MIN_IN_BOX * seen:
        raise Refused(
            "object pose",
            f"{is_object.sum() / max(seen, 1):.0%} of the masked depth lies in the object's box, must be at least "
            f"{MIN_IN_BOX:.0%}",
        )
    return points[is_object]
