"""Goal reaching (paper D.2): converts a goal image into a reference motion with two waypoints per keypoint.

A `Matcher` finds corresponding pixels of the two images. Their depth images lift them to 3D. The reference leads from
each current point to its goal point.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from uma.geometry.point_cloud import farthest_points
from uma.geometry.se3 import apply, fit_rigid
from uma.types import MAX_KEYPOINTS, CameraModel, InputError, Observation, ReferenceMotion

MAX_DEPTH_STEP = 0.03
"""Largest spread of the four depths around a pixel on one surface, metres (our choice; not given in the paper)."""

MIN_PAIRS = 3
"""Least number of matched pairs; fewer do not determine a rotation."""


class Matcher(Protocol):
    """Matches pixels of two images that show the same object point."""

    def __call__(
        self,
        rgb: np.ndarray,
        goal_rgb: np.ndarray,
        is_object: np.ndarray | None = None,
        is_goal_object: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Match the pixels of two images.

        Args:
            rgb, goal_rgb: ``(H, W, 3)`` uint8.
            is_object, is_goal_object: ``(H, W)`` bool masks of the object; None = unknown.

        Returns:
            ``(N, 2)`` pixels (u, v) in each image, pair by pair; integer coordinates are pixel centres.
        """
        ...


def lift(depth: np.ndarray, camera: CameraModel, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Lift pixels to points with bilinearly interpolated depth (paper D.2).

    Args:
        depth: ``(H, W)`` metres, NaN (or 0) where invalid.
        pixels: ``(N, 2)`` (u, v).

    Returns:
        ``(N, 3)`` points in the camera frame, NaN where invalid, and ``(N,)`` is_valid. A pixel is valid if it lies in
        the image and its depths are valid and on one surface (`MAX_DEPTH_STEP`).
    """
    H, W = depth.shape
    u, v = np.asarray(pixels, np.float64).reshape(-1, 2).T
    is_inside = (u >= 0) & (u <= W - 1) & (v >= 0) & (v <= H - 1)  # false for NaN
    u, v = np.where(is_inside, u, 0.0), np.where(is_inside, v, 0.0)
    u0, v0 = np.minimum(u.astype(int), W - 2), np.minimum(v.astype(int), H - 2)
    a, b = u - u0, v - v0
    weights = np.stack([(1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b])
    around = np.stack([depth[v0, u0], depth[v0, u0 + 1], depth[v0 + 1, u0], depth[v0 + 1, u0 + 1]]).astype(np.float64)
    counts = weights > 1e-9
    is_good = np.isfinite(around) & (around > 0)
    step = np.where(counts & is_good, around, -np.inf).max(0) - np.where(counts & is_good, around, np.inf).min(0)
    is_valid = is_inside & (is_good | ~counts).all(0) & (step <= MAX_DEPTH_STEP)
    z = np.where(is_valid, (weights * np.where(counts & is_good, around, 0.0)).sum(0), np.nan)
    return np.stack([(u - camera.cx) / camera.fx * z, (v - camera.cy) / camera.fy * z, z], axis=-1), is_valid


def share_one_motion(
    points: np.ndarray, goal_points: np.ndarray, tolerance: float, *, hypotheses: int = 200, seed: int = 0
) -> np.ndarray:
    """Return ``(N,)`` bool: the pairs of ``(N, 3)`` points that fit the dominant rigid motion.

    RANSAC finds the motion. Each pair is then checked against the motion of the others, because a distant outlier can
    bias a joint fit in its favour.
    """
    n = len(points)
    if n < 4:  # three pairs always fit some motion
        return np.ones(n, bool)
    rng, best = np.random.default_rng(seed), np.zeros(n, bool)

    def follows(by: np.ndarray) -> np.ndarray:
        return np.linalg.norm(apply(fit_rigid(points[by], goal_points[by]), points) - goal_points, axis=1) < tolerance

    for _ in range(hypotheses):
        found = follows(rng.choice(n, 3, replace=False))
        if found.sum() > best.sum():
            best = found
    if best.sum() < 4:
        return best
    best = follows(np.flatnonzero(best))
    members = np.flatnonzero(best)
    for i in members if len(members) >= 4 else ():
        best[i] = follows(members[members != i])[i]
    return best


def goal_reference(
    observation: Observation,
    goal_depth: np.ndarray,
    pixels: np.ndarray,
    goal_pixels: np.ndarray,
    *,
    max_keypoints: int = MAX_KEYPOINTS,
    rigid_tolerance: float | None = 0.015,
    object_label: str = "",
) -> ReferenceMotion:
    """Return the reference motion x_c of matched pixels, from each current point to its goal point (paper D.2).

    Args:
        observation: the current scene.
        goal_depth: ``(H, W)`` float32 metres, NaN where invalid: depth of the goal scene from the same camera pose.
        pixels, goal_pixels: ``(N, 2)`` (u, v), pair by pair.
        max_keypoints: number of pairs to keep, spread over the object.
        rigid_tolerance: largest deviation from the dominant rigid motion, metres; None keeps every pair, for soft
            objects.

    Raises:
        InputError: sizes differ, or fewer than `MIN_PAIRS` pairs are left.
    """
    size = (observation.camera.height, observation.camera.width)
    if goal_depth.shape != size:
        raise InputError(
            f"goal depth: {goal_depth.shape[1]}x{goal_depth.shape[0]} pixels, must be {size[1]}x{size[0]} like "
            "the observation"
        )
    pixels, goal_pixels = (
        np.asarray(pixels, np.float64).reshape(-1, 2),
        np.asarray(goal_pixels, np.float64).reshape(-1, 2),
    )
    if len(pixels) != len(goal_pixels):
        raise InputError(f"goal pixels: {len(goal_pixels)}, must be as many as the pixels, {len(pixels)}")
    points, is_valid = lift(observation.depth, observation.camera, pixels)
    goal_points, is_goal_valid = lift(goal_depth, observation.camera, goal_pixels)
    keep = np.flatnonzero(is_valid & is_goal_valid)
    with_depth = len(keep)
    if rigid_tolerance is not None:
        keep = keep[share_one_motion(points[keep], goal_points[keep], rigid_tolerance)]
    if len(keep) < MIN_PAIRS:
        raise InputError(
            f"goal image: {len(keep)} matches left of {len(pixels)} ({with_depth} have valid depth in both "
            f"images), must be at least {MIN_PAIRS}"
        )
    keep = keep[farthest_points(points[keep], max_keypoints)]
    waypoints = tuple(np.stack([points[i], goal_points[i]]) for i in keep)
    return ReferenceMotion(waypoints, frame=observation.camera.frame, object_label=object_label)


def match_goal(
    observation: Observation,
    goal_rgb: np.ndarray,
    goal_depth: np.ndarray,
    matcher: Matcher,
    is_object: np.ndarray | None = None,
    is_goal_object: np.ndarray | None = None,
    **options: Any,
) -> ReferenceMotion:
    """Match two images and return the reference motion. ``options`` are those of `goal_reference`.

    Raises:
        InputError: the image sizes differ, or as `goal_reference`.
    """
    if goal_rgb.shape != observation.rgb.shape:
        size = f"{observation.rgb.shape[1]}x{observation.rgb.shape[0]}"
        raise InputError(
            f"goal image: {goal_rgb.shape[1]}x{goal_rgb.shape[0]} pixels, must be {size} like the observation"
        )
    return goal_reference(
        observation, goal_depth, *matcher(observation.rgb, goal_rgb, is_object, is_goal_object), **options
    )


@dataclass(frozen=True)
class SiftMatcher:
    """Matches SIFT features in both directions with Lowe's ratio test, and keeps the inliers of one epipolar geometry
    (RANSAC).

    A rigid object that moves before a static camera is equivalent to a moving camera. So its pairs share an epipolar
    geometry.

    Attributes:
        ratio: largest ratio of the best to the second-best match distance.
        tolerance_px: largest distance to the epipolar line, pixels.
        min_change: least image difference of the object region, of 255, without masks. The camera must not move.
        min_motion_px: least motion of a pair without masks, pixels.
    """

    ratio: float = 0.8
    tolerance_px: float = 1.5
    min_change: float = 12.0
    min_motion_px: float = 2.0

    def __call__(
        self,
        rgb: np.ndarray,
        goal_rgb: np.ndarray,
        is_object: np.ndarray | None = None,
        is_goal_object: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """See `Matcher`. Raises ModuleNotFoundError without OpenCV (extra ``perception``)."""
        import cv2

        sift, none = cv2.SIFT.create(contrastThreshold=0.02), (np.zeros((0, 2)), np.zeros((0, 2)))
        knows_object = is_object is not None or is_goal_object is not None
        if not knows_object:
            difference = np.abs(
                cv2.GaussianBlur(rgb, (0, 0), 1.5).astype(np.float32) - cv2.GaussianBlur(goal_rgb, (0, 0), 1.5)
            ).max(-1)
            is_object = is_goal_object = cv2.dilate(
                (difference > self.min_change).astype(np.uint8), np.ones((7, 7), np.uint8)
            )
        (keys, descriptors), (goal_keys, goal_descriptors) = (
            sift.detectAndCompute(
                cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY),
                None if where is None else where.astype(np.uint8),
            )
            for image, where in ((rgb, is_object), (goal_rgb, is_goal_object))
        )
        if descriptors is None or goal_descriptors is None:
            return none
        brute = cv2.BFMatcher(cv2.NORM_L2)

        def best(a: np.ndarray, b: np.ndarray) -> set[tuple[int, int]]:
            pairs = (two for two in brute.knnMatch(a, b, k=2) if len(two) == 2)
            return {(m.queryIdx, m.trainIdx) for m, n in pairs if m.distance < self.ratio * n.distance}

        back = best(goal_descriptors, descriptors)
        agreed = sorted((i, j) for i, j in best(descriptors, goal_descriptors) if (j, i) in back)
        if not agreed:
            return none
        pixels, goal_pixels = np.array([keys[i].pt for i, _ in agreed]), np.array([goal_keys[j].pt for _, j in agreed])
        if not knows_object:
            moved = np.linalg.norm(pixels - goal_pixels, axis=1) >= self.min_motion_px
            pixels, goal_pixels = pixels[moved], goal_pixels[moved]
        if len(pixels) < 8:  # too few for an epipolar geometry
            return pixels, goal_pixels
        cv2.setRNGSeed(0)
        _, fits = cv2.findFundamentalMat(pixels, goal_pixels, cv2.FM_RANSAC, self.tolerance_px, 0.999, 2000)
        if fits is None:
            return pixels, goal_pixels
        fits = fits.ravel().astype(bool)
        return pixels[fits], goal_pixels[fits]
