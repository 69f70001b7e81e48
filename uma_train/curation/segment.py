"""What moves in a clip: parts that stand out from the table, and of these the one whose pixels change most.

No learned weights. The parts come from `uma.sketch.segment`; the robot's pixels are left out by its joints.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uma.sketch.segment import Scene, analyse
from uma.types import InputError
from uma_train.curation.clip import Clip
from uma_train.curation.robot import robot_pixels
from uma_train.curation.views import View

LEAST_PX, MOST = 60, 0.08
"""Size of a part: pixels at 640 x 360, and share of the image."""
CHANGED_M, CHANGED_GREY = 0.008, 30.0
MOMENTS = (0.5, 0.75, 1.0)
"""When the change is measured, as shares of the clip."""
IN_HAND = 0.3
"""Largest share of a part inside the gripper's box."""
LEAST_CHANGE = 0.1


@dataclass(frozen=True)
class PlaneAndMotion:
    """The segmentation stage without weights. It needs depth and a camera at rest."""

    name: str = "plane-and-motion"

    def __call__(self, clip: Clip) -> np.ndarray:
        """Return the moving thing's pixels in the first image, ``(H, W)`` bool.

        Raises:
            InputError: no part stands out, or none of them changes.
        """
        first = View(clip, 0)
        depth = np.where(first.depth > 0, first.depth, np.float32(np.nan))
        scene = analyse(clip.video[0], depth, clip.camera(0), robot_pixels(first))
        found = parts(scene, first)
        if not found:
            raise InputError(f"{clip.name}: no part of {LEAST_PX} pixels to {MOST:.0%} stands out from the table")
        return most_changed(clip, found)


def most_changed(clip: Clip, found: list[np.ndarray]) -> np.ndarray:
    """Return the part ``(H, W)`` bool of the first image that changes most, the larger ones preferred.

    Raises:
        InputError: none of them changes.
    """
    first = View(clip, 0)
    scores = [change(clip, first, part) for part in found]
    best = int(np.argmax([score * np.sqrt(part.sum()) for score, part in zip(scores, found, strict=True)]))
    if scores[best] < LEAST_CHANGE:
        raise InputError(
            f"{clip.name}: {scores[best]:.0%} of the part that changes most does, must be {LEAST_CHANGE:.0%}"
        )
    return found[best]


def parts(scene: Scene, view: View) -> list[np.ndarray]:
    """Return the parts ``(H, W)`` bool of a scene that may be the thing."""
    numbers, counts = np.unique(scene.component[scene.component >= 0], return_counts=True)
    area = scene.component.size
    least = LEAST_PX * area / (640 * 360)
    out = []
    for number in numbers[(counts >= least) & (counts <= MOST * area)]:
        part = scene.component == number
        v, u = np.nonzero(part)
        points, _ = view.lifted(np.stack([u, v], 1).astype(np.float64))
        if view.by_hand(points).mean() <= IN_HAND:
            out.append(part)
    return out


def change(clip: Clip, first: View, part: np.ndarray) -> float:
    """Return which share of a part's pixels changes, at the moment with the most; covered pixels do not count."""
    before = first.depth[part]
    colour = clip.video[0][part].astype(np.int16)
    best = 0.0
    for share in MOMENTS:
        t = min(int(share * len(clip.video)), len(clip.video) - 1)
        now = View(clip, t)
        depth = now.depth[part]
        is_open = (depth > 0) & (before > 0) & (depth > before - CHANGED_M) & ~robot_pixels(now)[part]
        other = np.abs(clip.video[t][part].astype(np.int16) - colour).max(1) > CHANGED_GREY
        changed = is_open & ((depth > before + CHANGED_M) | other)
        if is_open.sum() > 0.2 * len(before):
            best = max(best, float(changed.sum() / is_open.sum()))
    return best
