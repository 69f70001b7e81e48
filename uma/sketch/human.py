"""The noise of human sketches: what a person's reference motion looks like beside the intended one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from scipy.spatial.transform import Rotation

from uma.geometry import se3
from uma.settings import within
from uma.types import InputError, ReferenceMotion, check_pose

CUT = 3.0
"""Largest deviation of every normal draw, in standard deviations."""

PARALLEL = 1e-4
"""Least second singular value of keypoints, metres, that determine a rotation; below, they lie on a line."""


@dataclass(frozen=True)
class HumanNoise:
    """Distribution of a person's errors in one sketch; the defaults are a careful person with all habits.

    Normal draws are cut at `CUT` standard deviations. A share is the probability of a habit per sketch.

    Attributes:
        keypoint_m: standard deviation of a keypoint's place on the object per axis, metres.
        outliers: share of keypoints that are off by ``outlier_m`` metres.
        waypoint_m: standard deviation of a waypoint per axis across the line of sight, metres.
        sight: factor on ``waypoint_m`` along the line of sight.
        bias_m: standard deviation per axis of the offset that all waypoints share, metres.
        rotation_rad: standard deviation of a waypoint's rotation about the keypoints' centroid, radians.
        translate_only: share of sketches in which no waypoint turns.
        hovers: share of sketches whose last waypoint is ``hover_m`` metres too high.
        ends_only: share of sketches with the first and the last waypoint alone.
        doubled: share of sketches with a doubled waypoint.
        moved: share of sketches whose object moved by up to ``moved_m`` metres after the click.
    """

    keypoint_m: float = 0.003
    outliers: float = 0.05
    outlier_m: float = 0.02
    waypoint_m: float = 0.008
    sight: float = 1.5
    bias_m: float = 0.01
    rotation_rad: float = 0.10
    translate_only: float = 0.4
    hovers: float = 0.3
    hover_m: float = 0.05
    ends_only: float = 0.3
    doubled: float = 0.05
    moved: float = 0.05
    moved_m: float = 0.02

    def __post_init__(self) -> None:
        shares = ("outliers", "translate_only", "hovers", "ends_only", "doubled", "moved")
        metres = ("keypoint_m", "outlier_m", "waypoint_m", "bias_m", "hover_m", "moved_m")
        limits: dict[str, tuple[float, float]] = {name: (0.0, 1.0) for name in shares}
        limits |= {name: (0.0, 0.2) for name in metres} | {"sight": (1.0, 5.0), "rotation_rad": (0.0, 1.0)}
        within(self, limits, "human.")


STYLES: Mapping[str, HumanNoise] = MappingProxyType(
    {
        "exact": HumanNoise(0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0),
        "careful": HumanNoise(translate_only=0, hovers=0, ends_only=0),
        "sloppy": HumanNoise(outliers=0.10, waypoint_m=0.02, sight=2.0, rotation_rad=0.25, translate_only=0),
        "translate": HumanNoise(translate_only=1, hovers=0, ends_only=0),
        "hover": HumanNoise(translate_only=0, hovers=1, ends_only=0),
        "ends": HumanNoise(translate_only=0, hovers=0, ends_only=1),
    }
)
"""Named distributions. The last three are a careful person with one habit: without turns, with an end that hovers, with
both ends alone. All but "translate" turn the waypoints, so that a sketch shows the intended rotation."""


def human(
    reference: ReferenceMotion, T_base_cam: np.ndarray, rng: np.random.Generator, style: str | HumanNoise = "careful"
) -> ReferenceMotion:
    """Return ``reference`` as a person might sketch it, with as many keypoints.

    Keypoints with several waypoints move as one body: the noise of a waypoint is one rigid motion. Its first waypoint
    is the click, so only the keypoints' noise and the object's later motion affect it. Pinned keypoints have the
    keypoints' noise alone.

    Args:
        reference: intended motion in the camera frame.
        T_base_cam: ``(4, 4)`` camera pose; its rotation defines the vertical.
        style: a name of `STYLES`, or a distribution.

    Raises:
        InputError: unknown style, or keypoints with different numbers of waypoints; pinned ones may have 1.
    """
    if isinstance(style, str):
        if style not in STYLES:
            raise InputError(f"style: {style!r}, must be one of {', '.join(STYLES)}")
        style = STYLES[style]
    vertical = check_pose(T_base_cam, "T_base_cam")[2, :3]  # base z in camera coordinates
    moving = [k for k, w in enumerate(reference.waypoints) if len(w) > 1]
    counts = sorted({len(reference.waypoints[k]) for k in moving})
    if len(counts) > 1:
        raise InputError(f"waypoints: {counts[0]} and {counts[-1]}, must be equal for all moving keypoints")
    offsets = _keypoint_noise(len(reference.waypoints), style, rng)
    points = [w + offset for w, offset in zip(reference.waypoints, offsets, strict=True)]
    phase, valid = list(reference.phase), list(reference.is_valid)
    if moving:
        way = np.stack([reference.waypoints[k] for k in moving], axis=1)
        kept = _kept(len(way), style, rng)
        drawn = _drawn(way, offsets[moving], vertical, style, rng)[kept]
        for i, k in enumerate(moving):
            points[k], valid[k] = drawn[:, i], valid[k][kept]
            is_even = np.allclose(phase[k], np.linspace(0, 1, len(way)))
            phase[k] = np.linspace(0, 1, len(kept)) if is_even else phase[k][kept]
            if not valid[k].any():  # the ends of this keypoint were hidden
                valid[k] = np.arange(len(kept)) == 0
    return ReferenceMotion(tuple(points), tuple(phase), tuple(valid), reference.frame, reference.object_label)


def _normal(rng: np.random.Generator, scale: float, shape: tuple[int, ...] = ()) -> np.ndarray:
    return scale * np.clip(rng.standard_normal(shape), -CUT, CUT)


def _direction(rng: np.random.Generator, shape: tuple[int, ...] = ()) -> np.ndarray:
    """Draw ``(*shape, 3)`` unit vectors."""
    v = rng.standard_normal((*shape, 3))
    return v / np.linalg.norm(v, axis=-1, keepdims=True)


def _keypoint_noise(count: int, style: HumanNoise, rng: np.random.Generator) -> np.ndarray:
    """Draw the offsets ``(count, 3)`` of keypoints, metres."""
    offsets = _normal(rng, style.keypoint_m, (count, 3))
    gross = style.outlier_m * _direction(rng, (count,))
    return np.where(rng.random((count, 1)) < style.outliers, gross, offsets)


def _kept(count: int, style: HumanNoise, rng: np.random.Generator) -> np.ndarray:
    """Draw the indices of the waypoints in the sketch: all, or both ends; one may occur twice."""
    ends, twice, which = rng.random() < style.ends_only, rng.random() < style.doubled, rng.random()
    kept = np.array([0, count - 1]) if ends else np.arange(count)
    if twice and len(kept) < ReferenceMotion.MAX_WAYPOINTS:
        kept = np.insert(kept, int(which * len(kept)), kept[int(which * len(kept))])
    return kept


def _drawn(
    way: np.ndarray, offsets: np.ndarray, vertical: np.ndarray, style: HumanNoise, rng: np.random.Generator
) -> np.ndarray:
    """Return the sketched waypoints ``(T, K, 3)`` of the intended ``way`` ``(T, K, 3)``, camera frame.

    Args:
        offsets: ``(K, 3)`` of the keypoints at the first waypoint.
        vertical: ``(3,)`` unit vector, up.
    """
    T = len(way)
    middle = way.mean(1)
    stays = rng.random() < style.translate_only
    axis, angle = _direction(rng, (T,)), _normal(rng, style.rotation_rad, (T,))
    noise = Rotation.from_rotvec(axis * angle[:, None]).as_matrix()
    sight = middle / np.maximum(np.linalg.norm(middle, axis=1, keepdims=True), 1e-9)
    place = _normal(rng, style.waypoint_m, (T, 3))
    place += (style.sight - 1.0) * (place * sight).sum(1, keepdims=True) * sight
    place += _normal(rng, style.bias_m, (3,))
    hover = style.hover_m * vertical * (rng.random() < style.hovers)
    aside = _direction(rng)
    aside -= (aside @ vertical) * vertical
    aside *= style.moved_m * rng.random() * (rng.random() < style.moved) / max(float(np.linalg.norm(aside)), 1e-9)
    drawn = np.empty_like(way)
    for i in range(T):
        if i == 0:
            drawn[i] = way[0] + offsets + aside
            continue
        R = _turn(way[0], way[i])
        body = way[0] - middle[0] if stays else (way[i] - middle[i]) @ noise[i].T
        carried = offsets if stays else offsets @ (noise[i] @ R).T
        drawn[i] = middle[i] + body + carried + place[i] + (hover if i == T - 1 else 0.0)
    return drawn


def _turn(start: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Return the rotation ``(3, 3)`` between keypoints ``(K, 3)``; the identity if they do not determine one."""
    if len(start) < 3 or np.linalg.svd(start - start.mean(0), compute_uv=False)[1] < PARALLEL:
        return np.eye(3)
    return se3.fit_rigid(start, now)[:3, :3]
