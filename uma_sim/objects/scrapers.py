"""Upright tools of the training primitives, in many forms: a blade that stands on its edge, with a grip on top."""

from __future__ import annotations

from typing import Any

import mujoco
import numpy as np

G = mujoco.mjtGeom

FORMS = ("board", "rounded", "stacked", "footed")
"""Forms of a blade: a board, one with round ends, and two boards with a thinner upper or lower one."""

PAD_CLEARANCE = 0.017
"""Metres from the top of the blade up to the TCP in a grasp; the closed pads end 3 mm above the blade."""


def make(rng: np.random.Generator) -> dict:
    """Draw a random scraper: the fields of a `uma_sim.objects.catalog.CatalogShape` except its name.

    x runs along grip and blade; the origin is at half its height.
    """
    form = str(rng.choice(FORMS))
    length, thick = rng.uniform(0.030, 0.070), rng.uniform(0.005, 0.018)
    if form == "rounded":
        thick = min(thick, length / 4)  # rounder ends would let the bits slip off
    # A thin blade must be low, or the slightest push topples it.
    high = rng.uniform(0.020, min(0.050, max(0.021, 3.8 * thick)))
    grip_length = length * rng.uniform(max(0.4, 0.020 / length), 1.0)
    grip_half, grip_height = rng.uniform(0.006, 0.012), rng.uniform(0.020, 0.026 if thick < 0.009 else 0.040)
    split, thin = float(rng.uniform(0.35, 0.65)), float(rng.uniform(0.5, 0.75))
    edge = max(thin * thick, 0.004) if form == "footed" else thick
    base = -(high + grip_height) / 2
    shade = rng.uniform(0.35, 1.0, 3) if rng.uniform() < 0.5 else np.full(3, rng.uniform(0.5, 1.0))
    geoms = _blade(form, length, thick, high, base, shade, split, thin)
    geoms.append(_box([grip_length, grip_half, grip_height / 2], base + high + grip_height / 2, np.ones(3)))
    reach = 0.3 * grip_length
    return dict(
        geoms=tuple(geoms),
        points=_points(length, thick, high, base, grip_length, grip_half, grip_height),
        half_height=-base,
        radius=float(np.hypot(length, thick)),
        grasp_axis=(-reach, reach),
        grasp_z=base + high + PAD_CLEARANCE,
        width=2 * grip_half,
        tip=np.array([0.0, 0.0, base]),
        blade=(length, edge),
    )


def _box(half: Any, z: float, shade: np.ndarray) -> dict:
    return dict(type=G.mjGEOM_BOX, size=[float(v) for v in half], pos=[0.0, 0.0, float(z)], shade=shade)


def _blade(
    form: str, length: float, thick: float, high: float, base: float, shade: np.ndarray, split: float, thin: float
) -> list[dict]:
    """Return the geoms of a blade of height ``high`` metres from ``base`` up.

    Args:
        split: height fraction of the lower board.
        thin: thickness ratio of the thinner board.
    """
    if form == "board":
        return [_box([length, thick, high / 2], base + high / 2, shade)]
    if form == "rounded":
        ends = [
            dict(
                type=G.mjGEOM_CYLINDER,
                size=[thick, high / 2, 0],
                pos=[x * (length - thick), 0, base + high / 2],
                shade=shade,
            )
            for x in (-1, 1)
        ]
        return [_box([length - thick, thick, high / 2], base + high / 2, shade), *ends]
    low = high * split
    lower, upper = (thick, thin * thick) if form == "stacked" else (max(thin * thick, 0.004), thick)
    return [
        _box([length, lower, low / 2], base + low / 2, shade),
        _box([length, upper, (high - low) / 2], base + (low + high) / 2, 0.7 * shade),
    ]


def _points(
    length: float, thick: float, high: float, base: float, grip_length: float, grip_half: float, grip_height: float
) -> np.ndarray:
    """``(16, 3)`` surface points: eight stations along it, one point each on grip and blade, on alternating sides."""
    along, side = np.linspace(-0.9, 0.9, 8), np.tile([1.0, -1.0], 4)
    grip = np.stack([along * grip_length, side * grip_half, np.full(8, base + high + 0.75 * grip_height)], -1)
    blade = np.stack([along * length, -side * thick, np.full(8, base + 0.6 * high)], -1)
    return np.stack([grip, blade], 1).reshape(16, 3)
