"""Actions of a recorded demonstration: the targets that are due one period after each step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from uma.types import RATE_HZ, InputError
from uma_ros.messages.convert import nanoseconds
from uma_ros.msg import ActionChunk

COMMANDED, MEASURED = "commanded", "measured"
PERIOD_NS = round(1e9 / RATE_HZ)
STALE_NS = 300_000_000
"""A command older than this at its due time is none."""
MOVES = 0.02
"""Change of the measured gripper from step to step that counts as a motion."""


def pose_actions(
    stamps: np.ndarray, pose: np.ndarray, targets: dict[int, np.ndarray], wanted: str
) -> tuple[np.ndarray, str]:
    """Return ``(S, 4, 4)`` targets and where they come from.

    Where no command was in force, the target is the measured pose one step later.

    Args:
        stamps: ``(S,)`` ns.
        pose: ``(S, 4, 4)`` measured.
        targets: time in ns -> commanded pose.
        wanted: commanded, measured, or auto.

    Raises:
        InputError: ``commanded``, but most steps have no command.
    """
    out = np.concatenate([pose[1:], pose[-1:]])
    if wanted == MEASURED:
        return out, MEASURED
    times = np.array(sorted(targets), np.int64)
    due = stamps + PERIOD_NS
    is_fresh = np.zeros(len(stamps), bool)
    if len(times):
        half = int(np.median(np.diff(times))) // 2 if len(times) > 1 else 0
        last = np.searchsorted(times, due - min(half, PERIOD_NS // 2), side="right") - 1  # in force just before
        is_fresh = (last >= 0) & (due - times[last.clip(0)] < STALE_NS)
    if is_fresh.mean() <= 0.5:
        if wanted == COMMANDED:
            raise InputError(f"actions: {is_fresh.mean():.0%} of the steps have a commanded pose, must be over 50%")
        return out, MEASURED
    out[is_fresh] = [targets[int(times[i])] for i in last[is_fresh]]
    return out, COMMANDED


def gripper_actions(
    stamps: np.ndarray, gripper: np.ndarray, chunks: Sequence[ActionChunk], wanted: str
) -> tuple[np.ndarray, str]:
    """Return ``(S,)`` gripper targets, 0 open to 1 closed, and where they come from.

    Commanded: those of the policy's chunks. Measured: `from_motion`.

    Args:
        stamps: ``(S,)`` ns.
        gripper: ``(S,)`` measured.
    """
    if wanted != MEASURED and chunks:
        out, known = np.zeros(len(stamps)), np.zeros(len(stamps), bool)
        for chunk in sorted(chunks, key=lambda m: nanoseconds(m.header.stamp)):
            begin = nanoseconds(chunk.header.stamp)
            index = np.rint((stamps + PERIOD_NS - begin) * 1e-9 * chunk.rate_hz).astype(int) - 1
            is_due = (index >= 0) & (index < len(chunk.gripper))
            out[is_due] = np.asarray(chunk.gripper, float)[index[is_due]]
            known |= is_due
        if known.mean() > 0.5:
            return np.where(known, out, from_motion(gripper)).clip(0.0, 1.0), COMMANDED
    return from_motion(gripper), MEASURED


def from_motion(gripper: np.ndarray) -> np.ndarray:
    """Return what a gripper was told that knows only open and closed, as the controller commands it.

    A closing that an object stops is a command to close: the measured value alone would hold without force.
    """
    change = np.append(np.diff(gripper), 0.0)
    out = np.empty(len(gripper))
    told = float(gripper[0] > 0.5)
    for i, step in enumerate(change):
        if abs(step) > MOVES:
            told = float(step > 0)
        out[i] = told
    return out
