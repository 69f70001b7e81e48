"""The visible surface of a rigid thing in its first image, and its alignment to later images by geometry and colour.

Point-to-plane ICP by projection; pixels that something nearer covers do not count. Grey values of the first image hold
the surface against sliding along itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uma.geometry import se3
from uma_train.curation.views import View

POINTS = 1500
ROUNDS = 8
GATE_M = 0.015
"""Farthest match along the line of sight, metres."""
OCCLUDER_M = 0.006
"""What is seen nearer than the surface by more covers it, metres."""
CAUCHY_M, CAUCHY_GREY = 0.003, 12.0
"""Residuals that count half, metres and grey values; one of these grey steps weighs as one of these distances."""
DAMPING = 0.05
"""Per matched point, against steps in directions that the matches do not determine."""
FACING = 0.1
"""Least cosine between normal and line of sight."""
LEAST = 0.1
"""Least share of the surface that must be matched."""
AGREE_M, AGREE_GREY = 0.012, 40.0
"""Differences within which a point agrees with the image, metres and grey values."""


@dataclass(frozen=True)
class Surface:
    """Points of the first image: ``points``, ``normals`` ``(n, 3)`` in the world, ``grey`` ``(n,)``, and their size."""

    points: np.ndarray
    normals: np.ndarray
    grey: np.ndarray
    radius: float


@dataclass(frozen=True)
class Match:
    """A pose and what the image says about it.

    Attributes:
        T: ``(4, 4)``, world at the first image to world now.
        matched: share of the surface that was matched.
        rms: of the matched points' distances, metres.
    """

    T: np.ndarray
    matched: float
    rms: float


def surface_of(view: View, mask: np.ndarray, rng: np.random.Generator) -> Surface:
    """Return the surface at a mask's pixels ``(H, W)`` bool."""
    v, u = np.nonzero(mask)
    some = rng.permutation(len(u))[:POINTS]
    uv = np.stack([u[some], v[some]], 1).astype(np.float64)
    x, n, ok = view.surface(uv)
    x, n, uv = x[ok], n[ok], uv[ok]
    eye = se3.invert(view.T)[:3, 3]
    n = n * np.where(((eye - x) * n).sum(1) < 0, -1.0, 1.0)[:, None]
    radius = float(np.linalg.norm(x - x.mean(0), axis=1).mean()) if len(x) else 0.0
    return Surface(x, n, view.at(view.smooth, uv), max(radius, 0.005))


def align(view: View, surface: Surface, T: np.ndarray, anchor: np.ndarray, weight: float) -> Match:
    """Refine a pose from the start ``T``; the start itself if too little matches.

    Args:
        anchor: ``(4, 4)`` pose that counts as ``weight`` matched points.
    """
    start, matched, rms = T, 0.0, np.inf
    gradient = _gradient(view)
    eye = se3.invert(view.T)[:3, 3]
    for _ in range(ROUNDS):
        P, N = se3.apply(T, surface.points), surface.normals @ T[:3, :3].T
        uv, z = view.project(P)
        seen = view.at(view.depth, uv)
        to_eye = eye - P
        facing = (to_eye * N).sum(1) > FACING * np.linalg.norm(to_eye, axis=1)
        keep = view.inside(uv, 2.0) & (seen > z - OCCLUDER_M) & (np.abs(seen - z) < GATE_M) & facing & ~view.by_hand(P)
        if keep.sum() < max(12, 0.04 * len(P)):
            return Match(start, float(keep.mean()), np.inf)
        P, N, uv, grey = P[keep], N[keep], uv[keep], surface.grey[keep]
        q, n, ok = view.surface(uv)
        n = n * np.where((n * N).sum(1) < 0, -1.0, 1.0)[:, None]
        ok &= (n * N).sum(1) > 0.5
        r = ((q - P) * n).sum(1)
        w = ok / (1 + (r / CAUCHY_M) ** 2)
        centre = P.mean(0)
        J = np.concatenate([np.cross(P - centre, n) / surface.radius, n], 1)
        A, b = (J * w[:, None]).T @ J, (J * w[:, None]).T @ r
        Jc, rc, wc = _colour(view, gradient, P, grey, surface.radius)
        A, b = A + (Jc * wc[:, None]).T @ Jc, b + (Jc * wc[:, None]).T @ rc
        back = anchor @ se3.invert(T)
        pull = np.concatenate([se3.log(back[:3, :3]) * surface.radius, se3.apply(back, centre) - centre])
        A[np.diag_indices(6)] += DAMPING * len(P) + weight
        b = b + weight * pull
        step = np.linalg.solve(A, b)
        D = se3.make_pose(se3.exp(step[:3] / surface.radius), np.zeros(3))
        D[:3, 3] = centre + step[3:] - D[:3, :3] @ centre
        T = D @ T
        matched, rms = float(keep.mean()), float(np.sqrt((r[ok] ** 2).mean())) if ok.any() else np.inf
        if np.abs(step).max() < 5e-5:
            break
    return Match(T, matched, rms) if matched > LEAST and rms < GATE_M else Match(start, matched, np.inf)


def _gradient(view: View) -> tuple[np.ndarray, np.ndarray]:
    import cv2

    du, dv = (cv2.Sobel(view.smooth, cv2.CV_32F, i, 1 - i, scale=0.125) for i in (1, 0))
    return du, dv


def _colour(
    view: View, gradient: tuple[np.ndarray, np.ndarray], P: np.ndarray, grey: np.ndarray, radius: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the rows of the grey values' equations for points ``(n, 3)`` in the world.

    Returns:
        Jacobian ``(n, 6)`` about the points' mean, residual and weight ``(n,)``, in the unit of `CAUCHY_M`.
    """
    uv, z = view.project(P)
    now = view.between(view.smooth, uv)
    gain, offset = light(grey, now)
    gu, gv = (view.between(g, uv) for g in gradient)
    fx, fy, cx, cy = view.K
    along = (gu * (uv[:, 0] - cx) + gv * (uv[:, 1] - cy)) / z
    g = np.stack([gu * fx / z, gv * fy / z, -along], 1) @ view.T[:3, :3]
    unit = CAUCHY_M / CAUCHY_GREY
    J = np.concatenate([np.cross(P - P.mean(0), g) / radius, g], 1) * unit
    r = (gain * grey + offset - now) * unit
    return J, r, 1 / (1 + (r / CAUCHY_M) ** 2)


def light(before: np.ndarray, now: np.ndarray) -> tuple[float, float]:
    """Return gain and offset that map grey values to those of another image, robustly."""
    a, b = np.percentile(before, [20, 80]), np.percentile(now, [20, 80])
    gain = float(np.clip((b[1] - b[0]) / max(a[1] - a[0], 6.0), 0.6, 1.6)) if a[1] - a[0] > 6 else 1.0
    return gain, float(np.median(now) - gain * np.median(before))


def agreement(view: View, surface: Surface, T: np.ndarray) -> tuple[float, float]:
    """Return which share of the uncovered, camera-facing surface agrees in depth and colour, and the share seen."""
    P, N = se3.apply(T, surface.points), surface.normals @ T[:3, :3].T
    uv, z = view.project(P)
    depth = view.at(view.depth, uv)
    to_eye = se3.invert(view.T)[:3, 3] - P
    open_ = view.inside(uv, 1.0) & (depth > 0) & (depth > z - AGREE_M) & ((to_eye * N).sum(1) > 0) & ~view.by_hand(P)
    if open_.sum() < 8:
        return 0.0, float(open_.mean()) if len(open_) else 0.0
    now = view.at(view.smooth, uv)
    gain, offset = light(surface.grey[open_], now[open_])
    same = (np.abs(depth - z) < AGREE_M) & (np.abs(gain * surface.grey + offset - now) < AGREE_GREY)
    return float(same[open_].mean()), float(open_.mean())
