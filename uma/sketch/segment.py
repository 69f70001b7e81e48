"""From one click to an object: parts of an RGB-D frame that stand out from the table by height or by colour."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy.ndimage import uniform_filter
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from uma.geometry.camera import unproject
from uma.geometry.point_cloud import fit_plane
from uma.sketch.split import breaks, nearest_seed, shifted
from uma.types import CameraModel, InputError

KINDS = ("object", "colour", "pile")
"""Answers to a click: what stands alone, its part of the clicked colour, and everything that touches."""

LEAST_POINTS = 12
"""Fewest pixels of an object."""

PAIRS = ((0, 1), (1, 0), (1, 1), (1, -1), (0, 2), (2, 0))
"""Offsets (rows, columns) of pixels that may belong together; the last two bridge a gap of one pixel."""


@dataclass(frozen=True)
class SegmentSettings:
    """Thresholds of the segmentation.

    Attributes:
        noise: standard deviation of depth at 1 m, metres; grows with the depth squared.
        sigmas, least_m: a pixel is over the table by more than ``sigmas`` deviations and ``least_m`` metres.
        low_m: below this height, metres, colour decides too.
        colour: least colour difference from the local table, 0 to 255 per channel (Euclidean).
        shadow: darkest shadow and brightest light, as factors on the table's colour.
        most_unlike: if a larger share of the table looks unlike itself, height alone decides.
        window: of the local table colour, as a share of the image's width.
        step_m, step_px: neighbours of one object differ by less in depth: metres, plus pixel footprints.
        same_colour: largest difference within one colour, 0 to 255 per channel (Euclidean).
        lit: darkest and brightest side of one colour, as factors.
        apart: a part of its own colour is an object if at least this share of its border is a depth step or concave.
        snap: a click counts up to this share of the image's width beside an object.
    """

    noise: float = 0.0015
    sigmas: float = 3.5
    least_m: float = 0.005
    low_m: float = 0.05
    colour: float = 22.0
    shadow: tuple[float, float] = (0.3, 1.12)
    most_unlike: float = 0.35
    window: float = 0.15
    step_m: float = 0.010
    step_px: float = 2.0
    same_colour: float = 40.0
    lit: tuple[float, float] = (0.35, 2.5)
    apart: float = 0.5
    snap: float = 0.0065


@dataclass(frozen=True)
class Scene:
    """One RGB-D frame, split into table and foreground.

    Attributes:
        rgb: ``(H, W, 3)`` uint8.
        camera: intrinsics.
        points: ``(H, W, 3)`` metres, camera frame; NaN where invalid.
        plane: ``(4,)`` table: unit normal toward the camera, and offset.
        height: ``(H, W)`` metres over the table; NaN where invalid.
        is_foreground: ``(H, W)`` bool; neither table nor robot.
        is_robot: ``(H, W)`` bool.
    """

    rgb: np.ndarray
    camera: CameraModel
    points: np.ndarray
    plane: np.ndarray
    height: np.ndarray
    is_foreground: np.ndarray
    is_robot: np.ndarray
    settings: SegmentSettings = field(default_factory=SegmentSettings)

    @cached_property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Flat indices of neighbouring foreground pixels on one surface: two ``(E,)`` arrays."""
        s, z = self.settings, self.points[..., 2]
        step = s.step_m + s.step_px * z / self.camera.fx
        index = np.arange(z.size).reshape(z.shape)
        ends: list[tuple[np.ndarray, np.ndarray]] = []
        for down, right in PAIRS:
            a, b = shifted(down, right)
            near = self.is_foreground[a] & self.is_foreground[b]
            near &= np.abs(z[a] - z[b]) < step[a]
            ends.append((index[a][near], index[b][near]))
        first, second = (np.concatenate(side) for side in zip(*ends, strict=True))
        return first, second

    @cached_property
    def component(self) -> np.ndarray:
        """``(H, W)`` int32 number of the connected part; -1 outside the foreground."""
        return self._connected(*self.pairs, self.is_foreground)

    def _connected(self, first: np.ndarray, second: np.ndarray, is_part: np.ndarray) -> np.ndarray:
        node = np.full(is_part.size, -1, np.int32)
        pixels = np.flatnonzero(is_part)
        node[pixels] = np.arange(len(pixels), dtype=np.int32)
        entries = (np.ones(len(first), np.bool_), (node[first], node[second]))
        graph = coo_matrix(entries, shape=(len(pixels),) * 2)
        out = np.full(is_part.size, -1, np.int32)
        if len(pixels):
            out[pixels] = connected_components(graph, directed=False)[1]
        return out.reshape(is_part.shape)

    def pile(self, pixel: tuple[int, int], name: str = "pixel") -> np.ndarray:
        """Return everything that touches the foreground at ``pixel`` (u, v): ``(H, W)`` bool.

        Raises:
            InputError: see `select`.
        """
        u, v = self.snapped(pixel, name)
        return self.component == self.component[v, u]

    def coloured(self, pixel: tuple[int, int], name: str = "pixel") -> np.ndarray:
        """Return the connected part of the pile at ``pixel`` (u, v) in the clicked colour, lit or shaded."""
        u, v = self.snapped(pixel, name)
        around = (slice(max(v - 1, 0), v + 2), slice(max(u - 1, 0), u + 2))
        is_here = (self.component == self.component[v, u])[around]
        clicked = np.median(self.rgb[around][is_here], axis=0)
        is_same = self.is_foreground & (_unlike(self.rgb, clicked, self.settings.lit) < self.settings.same_colour)
        is_same[v, u] = True
        first, second = self.pairs
        flat = is_same.ravel()
        keep = flat[first] & flat[second]
        parts = self._connected(first[keep], second[keep], is_same)
        return parts == parts[v, u]

    def standing(self, pixel: tuple[int, int], name: str = "pixel") -> np.ndarray:
        """Return the part of the pile at ``pixel`` (u, v) that stands alone: in it, on it, or all of it.

        Two things of different colours are apart if most of their border is a depth step or concave. A handle and its
        blade meet smoothly, so they stay together.
        """
        pile, part = self.pile(pixel, name), self.coloured(pixel, name)
        rest = pile & ~part
        if min(np.count_nonzero(part), np.count_nonzero(rest)) < LEAST_POINTS:
            return pile
        step = self.settings.step_m + self.settings.step_px * self.points[..., 2] / self.camera.fx
        return part if breaks(self.points, step, PAIRS, part, rest) >= self.settings.apart else pile

    def snapped(self, pixel: tuple[int, int], name: str = "pixel") -> tuple[int, int]:
        """Return the foreground pixel (u, v) that a click at ``pixel`` means.

        Raises:
            InputError: see `select`.
        """
        height, width = self.is_foreground.shape
        u, v = (int(round(x)) if np.isfinite(x) else -1 for x in pixel)
        if not (0 <= u < width and 0 <= v < height):
            raise InputError(f"{name}: {pixel}, must lie in the image, 0 to {width - 1} and 0 to {height - 1}")
        if self.is_foreground[v, u]:
            return u, v
        if self.is_robot[v, u]:
            raise InputError(f"{name}: {(u, v)} is on the robot, must be on an object")
        r = max(1, round(self.settings.snap * width))
        rows, columns = np.nonzero(self.is_foreground[max(v - r, 0) : v + r + 1, max(u - r, 0) : u + r + 1])
        if len(rows):
            rows, columns = rows + max(v - r, 0), columns + max(u - r, 0)
            i = int(((rows - v) ** 2 + (columns - u) ** 2).argmin())
            return int(columns[i]), int(rows[i])
        if not np.isfinite(self.height[v, u]):
            raise InputError(f"{name}: {(u, v)} has no depth, must be on a visible surface")
        h, least = self.height[v, u] * 1e3, self.settings.least_m * 1e3
        if h < -least:
            raise InputError(f"{name}: {(u, v)} is {-h:.0f} mm below the table, must be on an object")
        raise InputError(
            f"{name}: {(u, v)} is on the table: {h:.0f} mm high and of its colour, "
            f"must be over {least:.0f} mm or of another colour"
        )


def analyse(
    rgb: np.ndarray,
    depth: np.ndarray,
    camera: CameraModel,
    is_robot: np.ndarray | None = None,
    settings: SegmentSettings = SegmentSettings(),
) -> Scene:
    """Split a frame into table and foreground.

    Args:
        rgb: ``(H, W, 3)`` uint8.
        depth: ``(H, W)`` float32 metres, NaN where invalid.
        is_robot: ``(H, W)`` bool, the robot's pixels; None for none. See `uma.sketch.robot_mask`.

    Raises:
        InputError: a wrong shape or type, or fewer than 50 valid depths.
    """
    shape = (camera.height, camera.width)
    if rgb.shape != (*shape, 3) or rgb.dtype != np.uint8:
        raise InputError(f"rgb: {rgb.dtype} {rgb.shape}, must be uint8 {(*shape, 3)}")
    if depth.shape != shape:
        raise InputError(f"depth: shape {depth.shape}, must be {shape}")
    is_robot = np.zeros(shape, bool) if is_robot is None else np.asarray(is_robot, bool)
    if is_robot.shape != shape:
        raise InputError(f"is_robot: shape {is_robot.shape}, must be {shape}")
    points = unproject(np.where(depth > 0, depth, np.nan).astype(np.float32), camera)
    usable = np.isfinite(points[..., 2]) & ~is_robot
    stride = max(1, camera.width // 320)
    try:
        plane = fit_plane(points[::stride, ::stride][usable[::stride, ::stride]])
    except ValueError as error:
        raise InputError(f"depth: {error}") from None
    height = points @ plane[:3].astype(np.float32) + np.float32(plane[3])
    threshold = np.maximum(settings.sigmas * settings.noise * points[..., 2] ** 2, settings.least_m)
    is_low = usable & (np.abs(height) < settings.low_m)
    is_level = usable & (np.abs(height) < threshold)
    is_foreground = usable & (height > threshold)
    if is_level.any():
        unlike = is_low & (_table_difference(rgb, is_level, settings) > settings.colour)
        if np.count_nonzero(unlike & is_level) < settings.most_unlike * np.count_nonzero(is_level):
            is_foreground |= unlike & (height > -threshold)
    return Scene(rgb, camera, points, plane, height, is_foreground, is_robot, settings)


def select(
    scene: Scene,
    pixel: tuple[int, int],
    also: Iterable[tuple[int, int]] = (),
    not_this: Iterable[tuple[int, int]] = (),
    by: str = "object",
) -> np.ndarray:
    """Return the pixels of the clicked object: ``(H, W)`` bool.

    Args:
        pixel: (u, v) of the click.
        also: further clicks on the object.
        not_this: clicks on its neighbours; each pixel of a pile goes to its nearest click, see `uma.sketch.split`.
        by: of `KINDS`; "pile" ignores ``not_this``.

    Raises:
        InputError: an unknown kind; a click outside the image, on the table, on the robot or without depth; or an
            object of fewer than `LEAST_POINTS` pixels.
    """
    if by not in KINDS:
        raise InputError(f"by: {by!r}, must be one of {', '.join(KINDS)}")
    wanted = [(pixel, "pixel"), *((p, f"also[{i}]") for i, p in enumerate(also))]
    unwanted = [scene.snapped(p, f"not_this[{i}]") for i, p in enumerate(not_this)]
    part = {"object": scene.standing, "colour": scene.coloured, "pile": scene.pile}[by]
    is_object = np.logical_or.reduce([part(p, name) for p, name in wanted])
    if unwanted and by != "pile":
        seeds = [scene.snapped(p, name) for p, name in wanted]
        both = set(seeds) & set(unwanted)
        if both:
            raise InputError(f"not_this: {both.pop()} is also a click on the object, must be on a neighbour")
        is_object &= nearest_seed(scene.points, scene.rgb, scene.pairs, is_object, seeds, unwanted)
    count = int(np.count_nonzero(is_object))
    if count < LEAST_POINTS:
        raise InputError(f"pixel: {tuple(pixel)} is on {count} points, at least {LEAST_POINTS} required")
    return is_object


def _unlike(rgb: np.ndarray, colour: np.ndarray, light: tuple[float, float]) -> np.ndarray:
    """Return the distance ``(...)`` of colours ``(..., 3)`` from ``colour`` times any factor of the range ``light``."""
    # Sums over planes are several times faster than over a last axis of three.
    planes = [rgb[..., k].astype(np.float32) for k in range(3)]
    colours = [np.asarray(colour, np.float32)[..., k] for k in range(3)]
    product = sum(p * c for p, c in zip(planes, colours))
    norm = np.maximum(sum(c * c for c in colours), np.float32(1.0))
    factor = np.clip(product / norm, np.float32(light[0]), np.float32(light[1]))
    squared = sum(p * p for p in planes) + factor * (factor * norm - 2 * product)
    return np.sqrt(np.maximum(squared, np.float32(0.0)))


def _table_difference(rgb: np.ndarray, is_level: np.ndarray, settings: SegmentSettings) -> np.ndarray:
    """Return ``(H, W)`` distances of colours from the local table, in light or shadow.

    A table may have two colours, such as a pattern's: the local means above and below the mean brightness.

    Args:
        is_level: ``(H, W)`` bool, at the table's height.
    """
    H, W = is_level.shape
    cell = max(1, W // 80)
    h, w = -(-H // cell), -(-W // cell)
    middle = np.median(rgb[is_level][:: max(1, int(is_level.sum()) // 4000)], axis=0)
    is_table = is_level & (_unlike(rgb, middle, (0.5, 1.5)) < 1.5 * settings.colour)
    data = np.zeros((h * cell, w * cell, 4), np.float32)
    data[:H, :W, :3], data[:H, :W, 3] = rgb * is_table[..., None], is_table
    cells = data.reshape(h, cell, w, cell, 4).sum((1, 3))
    light = cells[..., :3].sum(-1) / np.maximum(cells[..., 3], 1.0)
    size = 2 * round(settings.window * w / 2) + 1

    def means(weight: np.ndarray, fallback: np.ndarray) -> np.ndarray:
        total = np.stack([uniform_filter(cells[..., k] * weight, size, mode="constant") for k in range(4)], -1)
        mean = total[..., :3] / np.maximum(total[..., 3:], 1e-6)
        return np.where(total[..., 3:] * size * size > cell * cell, mean, fallback)

    both = means(np.ones((h, w), np.float32), middle.astype(np.float32))
    brighter = light > both.sum(-1)
    difference = np.full((H, W), np.inf, np.float32)
    for colour in (means(brighter, both), means(~brighter, both)):
        full = np.repeat(np.repeat(colour, cell, 0), cell, 1)[:H, :W]
        np.minimum(difference, _unlike(rgb, full, settings.shadow), out=difference)
    return difference
