"""An answer to clicks: the object's pixels on one frame, and the picture that shows them. No page and no ROS."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from uma.sketch.keypoints import inside
from uma.sketch.segment import Scene, analyse, select
from uma_ros.teach.scene import View

IN_FORCE, WAITING = (0, 200, 255), (255, 140, 0)
"""Colours of the object in force and of an answer that waits: red, green and blue, 0 to 255."""

PICTURE_WIDTH = 320
"""Largest width of the picture, pixels; smaller cuts are enlarged."""


@dataclass(frozen=True)
class Clicks:
    """Clicks on one frame. Every variant keeps the frame and its segmentation.

    Attributes:
        view: the frame.
        scene: its segmentation.
        pixel: (u, v) of the first click.
        by: one of `uma.sketch.segment.KINDS`.
        also, not_this: further clicks.
    """

    view: View
    scene: Scene
    pixel: tuple[int, int]
    by: str = "object"
    also: tuple[tuple[int, int], ...] = ()
    not_this: tuple[tuple[int, int], ...] = ()

    @cached_property
    def mask(self) -> np.ndarray:
        """The object's pixels ``(H, W)`` bool. Raises `InputError` if the clicks fit no object."""
        return select(self.scene, self.pixel, self.also, self.not_this, self.by)

    def points(self, most: int = 500) -> np.ndarray:
        """Return at most ``most`` points ``(N, 3)`` of the object, metres, base frame."""
        points = self.view.points_base[self.mask & np.isfinite(self.view.depth)]
        points = points[np.isfinite(points).all(1)]
        return points[:: max(1, -(-len(points) // most))].astype(np.float64)

    def with_click(self, pixel: tuple[int, int], is_object: bool, by: str) -> Clicks:
        """Return these clicks and one more on the object, or on a neighbour, for an answer ``by``."""
        if is_object:
            return replace(self, by=by, also=(*self.also, pixel))
        return replace(self, by=by, not_this=(*self.not_this, pixel))

    def with_answer(self, by: str) -> Clicks:
        """Return the same clicks for another answer."""
        return replace(self, by=by)

    def equals(self, other: Clicks | None) -> bool:
        """Return whether other clicks select the same pixels of the same frame."""
        return other is not None and self.view is other.view and bool(np.array_equal(self.mask, other.mask))


def first(view: View, pixel: tuple[int, int], by: str) -> Clicks:
    """Return a click at a pixel (u, v) of a frame. Raises `InputError` for a frame without a table."""
    return Clicks(view, analyse(view.rgb, view.depth, view.camera, view.is_robot), pixel, by)


def picture(in_force: Clicks | None, waiting: Clicks | None) -> np.ndarray | None:
    """Return the frame about both selections, which are tinted and outlined: ``(h, w, 3)`` uint8; None without any.

    The object in force is left out if it was clicked on another frame than the answer that waits.
    """
    shown = waiting or in_force
    if shown is None:
        return None
    rgb = shown.view.rgb.astype(np.float32)
    out, selected = rgb.copy(), np.zeros(shown.mask.shape, bool)
    for clicks, color in ((in_force, IN_FORCE), (waiting, WAITING)):
        if clicks is not None and clicks.view is shown.view:
            mask, selected = clicks.mask, selected | clicks.mask
            out[mask] = 0.5 * rgb[mask] + 0.5 * np.array(color, np.float32)
            out[mask & ~inside(mask)] = color
    rows, columns = around(selected)
    out = out[rows, columns]
    times = max(1, PICTURE_WIDTH // out.shape[1])
    step = -(-out.shape[1] // PICTURE_WIDTH)
    return np.asarray(out[::step, ::step].repeat(times, 0).repeat(times, 1).round().astype(np.uint8))


def around(mask: np.ndarray) -> tuple[slice, slice]:
    """Return rows and columns about a mask ``(H, W)``: its box in the middle, in the image's aspect, at least a third
    of the image."""
    size, (at_rows, at_columns) = np.array(mask.shape), np.nonzero(mask)
    low = np.array([at_rows.min(), at_columns.min()])
    high = np.array([at_rows.max(), at_columns.max()]) + 1
    share = min(1.0, max(1 / 3, 1.6 * float(((high - low) / size).max())))
    box = np.ceil(share * size).astype(int)
    start = np.clip((low + high - box) // 2, 0, size - box)
    return slice(int(start[0]), int(start[0] + box[0])), slice(int(start[1]), int(start[1] + box[1]))
