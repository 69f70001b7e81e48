"""Rows of a DROID-like robot data set as a demonstration: flange poses, gripper, joints and commands."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from scipy.spatial.transform import Rotation

from uma.geometry import se3
from uma.policy.demonstration import Demonstration, Robot
from uma.robot import DROID
from uma.types import RATE_HZ, CameraModel, InputError, Observation
from uma_train.data.sources.gates import Refused

PERIOD = 1.0 / RATE_HZ
SLACK_S = 86_400.0
"""A recording may be this far in the future, for time zones."""
SAME = ("camera", "depth", "annotations", "mapping")
"""Options that must be equal for all episodes of a folder."""


class Options(Protocol):
    """Options of the import that concern robot data sets."""

    camera: str
    depth: str
    annotations: str
    mapping: str
    checksums: bool
    actions: str
    text: str


@dataclass(frozen=True)
class Rows:
    """N rows, one per step of the recording.

    Attributes:
        stamps: ``(N,)`` seconds, increasing.
        flange, gripper, joints: measured ``(N, 6)`` base frame, ``(N,)`` 0 open to 1 closed, ``(N, 7)`` rad.
        target_flange, target_gripper: commanded, same shapes; None if the recording lacks them.
    """

    stamps: np.ndarray
    flange: np.ndarray
    gripper: np.ndarray
    joints: np.ndarray | None
    target_flange: np.ndarray | None
    target_gripper: np.ndarray | None

    def between(self, first: int, last: int) -> Rows:
        """Return the rows from ``first`` to before ``last``."""
        return Rows(*(None if v is None else v[first:last] for v in vars(self).values()))


@dataclass(frozen=True)
class Pictures:
    """Colour and depth of one camera at rest.

    Attributes:
        read: yields row, ``(H, W, 3)`` uint8 and ``(H, W)`` float32 metres of the wanted rows, in order.
        is_seen: ``(N,)`` bool, rows that have both.
        num_colour, num_depth: images of each kind.
        camera: intrinsics of both.
        T_base_cam: ``(4, 4)``.
    """

    read: Callable[[set[int]], Iterator[tuple[int, np.ndarray, np.ndarray]]]
    is_seen: np.ndarray
    num_colour: int
    num_depth: int
    camera: CameraModel
    T_base_cam: np.ndarray


@dataclass(frozen=True)
class About:
    """What a recording says of itself; ``notes`` go into the episode's ``meta``."""

    name: str
    source: str
    text: str
    outcome: str
    licence: str = ""
    notes: Mapping[str, Any] = field(default_factory=dict)


def finite(values: np.ndarray, name: str) -> np.ndarray:
    """Return float64 values.

    Raises:
        InputError: one of them is not finite; names field and row.
    """
    values = np.asarray(values, np.float64)
    bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(1))
    if len(bad):
        raise InputError(f"{name}: row {bad[0]} of {len(values)} is not finite")
    return values


def shaped(values: np.ndarray, name: str, columns: int, rows: int | None = None) -> np.ndarray:
    """Return ``(N, columns)`` finite float64, ``(N,)`` for one column.

    Raises:
        InputError: another shape, or a value that is not finite.
    """
    values = np.asarray(values)
    values = values.reshape(len(values), -1)
    if values.shape[1] != columns or rows is not None and len(values) != rows:
        raise InputError(f"{name}: shape {values.shape}, must be ({'N' if rows is None else rows}, {columns})")
    return finite(values[:, 0] if columns == 1 else values, name)


def pose_of(six: np.ndarray, name: str) -> np.ndarray:
    """Return ``(..., 4, 4)`` of ``(..., 6)``: x, y, z in metres and extrinsic Euler angles xyz in radians."""
    six = finite(np.atleast_2d(six), name).reshape(*np.shape(six))
    R = Rotation.from_euler("xyz", six[..., 3:].reshape(-1, 3)).as_matrix()
    return se3.make_pose(R.reshape(*six.shape[:-1], 3, 3), six[..., :3])


def extrinsics_of(six: np.ndarray, name: str) -> np.ndarray:
    """Return ``(4, 4)`` T_base_cam of a 6-vector.

    Raises:
        Refused: it is zero, as in data sets that lost it.
    """
    six = np.asarray(six, np.float64).reshape(-1)
    if six.shape != (6,):
        raise InputError(f"{name}: {len(six)} numbers, must be 6")
    if not six.any():
        raise Refused("extrinsics", f"{name}: 6 zeros, must differ from zero")
    return pose_of(six, name)


def check_date(stamp_s: float, name: str) -> None:
    """Raise `Refused` for a recording of the future: its clock, and so its times, are wrong."""
    if stamp_s > time.time() + SLACK_S:
        day = time.strftime("%Y-%m-%d", time.gmtime(stamp_s))
        raise Refused("date", f"{name}: {day}, must not be later than {time.strftime('%Y-%m-%d', time.gmtime())}")


def check_increasing(stamps: np.ndarray, name: str) -> np.ndarray:
    """Return stamps that increase, or raise `InputError`."""
    bad = np.flatnonzero(np.diff(stamps) <= 0)
    if len(bad):
        raise InputError(f"{name}: row {bad[0] + 1} is not later than the row before, must increase")
    return stamps


def check_rate(stamps: np.ndarray) -> None:
    """Raise `Refused` for rows far slower than 15 Hz, such as those of a clock in another unit."""
    steps = (stamps[-1] - stamps[0]) / PERIOD + 1.0
    if not len(stamps) / 2 <= steps <= 2 * len(stamps):
        raise Refused(
            "frame counts", f"{len(stamps)} rows in {stamps[-1] - stamps[0]:.3g} s, must be about 15 a second"
        )


def grid(stamps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the times of the steps at 15 Hz and the row of each, ``(S,)``; -1 where no row is near.

    A step takes the row nearest to its time, within half a period, and its stamp.
    """
    count = int(np.floor((stamps[-1] - stamps[0]) / PERIOD + 0.5)) + 1
    times = stamps[0] + np.arange(count) * PERIOD
    after = np.searchsorted(stamps, times).clip(1, len(stamps) - 1)
    row = np.where(times - stamps[after - 1] <= stamps[after] - times, after - 1, after)
    row[np.abs(stamps[row] - times) > PERIOD / 2] = -1
    row[1:][row[1:] == row[:-1]] = -1
    return np.where(row >= 0, stamps[row], times), row


def demonstration(about: About, rows: Rows, pictures: Pictures, options: Options) -> Demonstration:
    """Return the demonstration of rows and pictures.

    Raises:
        InputError: too few rows, or commands are wanted and missing.
    """
    if len(rows.stamps) < 2:
        raise Refused("length", f"{len(rows.stamps)} rows in which the robot is moved, must be at least 2")
    check_rate(rows.stamps)
    stamps, row = grid(rows.stamps)
    tool, P = DROID.T_flange_ee.matrix(), pictures
    pose = sampled(pose_of(rows.flange, "cartesian_position") @ tool, rows.stamps, stamps, row)
    gripper = np.interp(stamps, rows.stamps, rows.gripper)
    target, target_gripper, kind = (
        np.concatenate([pose[1:], pose[-1:]]),
        np.append(gripper[1:], gripper[-1]),
        "measured",
    )
    if options.actions != "measured" and rows.target_flange is not None and rows.target_gripper is not None:
        target = sampled(pose_of(rows.target_flange, "action/cartesian_position") @ tool, rows.stamps, stamps, row)
        target_gripper, kind = np.interp(stamps, rows.stamps, rows.target_gripper), "commanded"
    elif options.actions == "commanded":
        raise InputError("actions: the recording has no commanded pose and gripper")
    joints = None
    if rows.joints is not None:
        joints = np.stack([np.interp(stamps, rows.stamps, q) for q in rows.joints.T], 1)
    is_seen = (row >= 0) & P.is_seen[row]
    step_of = {int(r): s for s, r in enumerate(row) if is_seen[s]}
    T_cam_base = se3.invert(P.T_base_cam)

    def observations() -> Iterator[tuple[int, Observation]]:
        for r, rgb, depth in P.read(set(step_of)):
            s = step_of[r]
            yield (
                s,
                Observation(rgb, depth, P.camera, T_cam_base @ pose[s], float(gripper[s]), stamps[s], P.T_base_cam),
            )

    return Demonstration(
        name=about.name,
        source=about.source,
        text=about.text or options.text,
        outcome=about.outcome,
        camera_frame=P.camera.frame,
        stamps=stamps,
        observations=observations,
        num_colour=P.num_colour,
        num_depth=P.num_depth,
        num_pairs=int(is_seen.sum()),
        robot=Robot(P.T_base_cam, pose, gripper, target, target_gripper.clip(0.0, 1.0), (kind, kind), joints),
        licence=about.licence,
        notes=about.notes,
    )


def sampled(poses: np.ndarray, stamps: np.ndarray, times: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Return ``(S, 4, 4)``: the pose of each step's row, and between two rows where a step has none.

    Args:
        poses, stamps: ``(N, 4, 4)`` and ``(N,)`` of the rows.
        times, row: ``(S,)`` of `grid`.
    """
    out = poses[row.clip(0)].copy()
    for s in np.flatnonzero(row < 0):
        i = int(np.searchsorted(stamps, times[s]).clip(1, len(stamps) - 1))
        share = float((times[s] - stamps[i - 1]) / (stamps[i] - stamps[i - 1]))
        out[s] = se3.interpolate(poses[i - 1], poses[i], min(max(share, 0.0), 1.0))
    return out


def intrinsics_at(full: CameraModel, width: int, height: int) -> CameraModel:
    """Return the camera at another size, with whole-pixel centres: c' = (c + 0.5) w' / w - 0.5.

    Raises:
        InputError: the proportions differ by more than 1 %.
    """
    sx, sy = width / full.width, height / full.height
    if abs(sx / sy - 1.0) > 0.01:
        raise InputError(f"image: {width}x{height}, must have the proportions of {full.width}x{full.height}")
    cx, cy = (full.cx + 0.5) * sx - 0.5, (full.cy + 0.5) * sy - 0.5
    return CameraModel(width, height, full.fx * sx, full.fy * sy, cx, cy, full.frame)
