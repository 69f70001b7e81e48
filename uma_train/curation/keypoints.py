"""Keypoints: spread over the object, and a few elsewhere in the scene (paper B.1, stage 3)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from uma.geometry.point_cloud import farthest_points
from uma.types import InputError
from uma_train.curation.clip import Clip
from uma_train.curation.robot import robot_pixels
from uma_train.curation.views import View

FEWEST = 4
CANDIDATES = 4000


@dataclass(frozen=True)
class Spread:
    """Queries of the first image.

    Attributes:
        on_object: on the object, each far from the others.
        elsewhere: at random in the rest of the scene, off the robot.
    """

    on_object: int = 32
    elsewhere: int = 8

    @property
    def name(self) -> str:
        """As `Stage.name`."""
        return f"spread-{self.on_object}-{self.elsewhere}"

    def __call__(self, clip: Clip) -> Clip:
        """Return the clip with queries.

        Raises:
            InputError: the clip has no mask, or the mask fewer than `FEWEST` pixels with depth.
        """
        import cv2

        if clip.is_object is None:
            raise InputError(f"{clip.name}: is_object is unknown; the mask stage makes it")
        view, rng = View(clip, 0), np.random.default_rng(0)
        inner = cv2.erode(clip.is_object.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        usable = (inner if inner.sum() > 4 * self.on_object else clip.is_object) & (view.depth > 0)
        if usable.sum() < FEWEST:
            raise InputError(f"{clip.name}: {usable.sum()} pixels of the object have depth, must be {FEWEST}")
        mine = _points(view, usable, rng, CANDIDATES)
        mine = mine[farthest_points(mine, self.on_object)]
        rest = (view.depth > 0) & ~clip.is_object & ~robot_pixels(view)
        others = _points(view, rest, rng, self.elsewhere)
        world = np.concatenate([mine, others])
        query = np.concatenate([np.zeros((len(world), 1)), world], 1).astype(np.float32)
        return replace(clip, query=query, on_object=np.arange(len(world)) < len(mine))


def _points(view: View, mask: np.ndarray, rng: np.random.Generator, count: int) -> np.ndarray:
    v, u = np.nonzero(mask)
    some = rng.permutation(len(u))[:count]
    return view.lifted(np.stack([u[some], v[some]], 1).astype(np.float64))[0]
