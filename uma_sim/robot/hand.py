"""A person's hand of simple shapes, drawn in place of the robot: a stand-in for human video.

The hidden gripper still moves the object, so the physics and the object's motion are those of a robot's episode. The
camera sees a forearm, a palm, a thumb and four fingers at the gripper's pads.
"""

from __future__ import annotations

from collections.abc import Iterator

import mujoco
import numpy as np

from uma_sim.robot import gripper

HIDDEN = 5
"""Geom group of the robot, which is not drawn."""

PALM_M, WRIST_M, FOREARM_M = 0.085, 0.16, 0.28
"""Distances from the fingertips to the palm and to the wrist, and length of the forearm, metres."""
FINGERS = np.array([-0.027, -0.009, 0.009, 0.027])
"""Places of the fingers across the palm, metres."""
BULGE_M = 0.018
"""Distance of a finger's middle joint outward, metres."""


class Hand:
    """Hides the robot of a scene and draws a hand.

    Args:
        model: the scene; its robot's geoms move to the group `HIDDEN`.
        rng: draws skin, sleeve, side and proportions.
    """

    def __init__(self, model: mujoco.MjModel, rng: np.random.Generator) -> None:
        robot = model.body("base").rootid[0]
        model.geom_group[model.body_rootid[model.geom_bodyid] == robot] = HIDDEN
        self._pads = [model.geom(name).id for name in gripper.PADS]
        self._tcp = model.site("gripper/tcp").id
        self._skin = _mixed(rng, (0.36, 0.23, 0.15), (0.93, 0.76, 0.65))
        self._sleeve = np.append(rng.uniform(0.05, 0.9, 3), 1.0)
        self._side = float(rng.choice([-1.0, 1.0]))
        self._scale = float(rng.uniform(0.9, 1.1))
        self._shoulder = np.array([rng.uniform(-0.35, 0.0), self._side * rng.uniform(0.0, 0.4), rng.uniform(0.35, 0.6)])
        self._has_sleeve = bool(rng.random() < 0.6)

    def draw(self, scene: mujoco.MjvScene, data: mujoco.MjData) -> None:
        """Add the hand's shapes to a scene that is about to be rendered."""
        for a, b, radius, rgba in self._shapes(data):
            if scene.ngeom >= scene.maxgeom:
                raise RuntimeError(f"scene: {scene.ngeom} geoms, limit {scene.maxgeom}")
            geom = scene.geoms[scene.ngeom]
            kind = mujoco.mjtGeom.mjGEOM_CAPSULE
            mujoco.mjv_initGeom(geom, kind, np.zeros(3), np.zeros(3), np.zeros(9), rgba.astype(np.float32))
            mujoco.mjv_connector(geom, kind, radius * self._scale, a, b)
            geom.segid, geom.objtype, geom.objid = -1, mujoco.mjtObj.mjOBJ_UNKNOWN.value, -1
            scene.ngeom += 1

    def _shapes(self, data: mujoco.MjData) -> Iterator[tuple[np.ndarray, np.ndarray, float, np.ndarray]]:
        """Yield the ends, metres in the base frame, radius and colour of every capsule."""
        tip, (across, closing, out) = data.site_xpos[self._tcp], data.site_xmat[self._tcp].reshape(3, 3).T
        right, left = (data.geom_xpos[pad] + 0.018 * out for pad in self._pads)
        thumb, fingers = (right, left) if self._side > 0 else (left, right)
        aside = closing if (fingers - thumb) @ closing > 0 else -closing
        palm, wrist = tip - PALM_M * out, tip - WRIST_M * out
        for x in FINGERS:
            knuckle = palm + x * across + 0.02 * aside
            end = fingers + 0.6 * x * across
            middle = 0.5 * (knuckle + end) + BULGE_M * aside
            yield knuckle, middle, 0.009, self._skin
            yield middle, end, 0.008, self._skin
            yield wrist + 0.7 * x * across, knuckle, 0.013, self._skin
        base = palm - 0.02 * aside - 0.02 * out
        middle = 0.5 * (base + thumb) - BULGE_M * aside
        yield base, middle, 0.011, self._skin
        yield middle, thumb, 0.010, self._skin
        way = self._shoulder - wrist
        elbow = wrist + FOREARM_M * way / np.linalg.norm(way)
        yield wrist, elbow, 0.030, self._skin
        if self._has_sleeve:
            yield wrist + 0.25 * (elbow - wrist), elbow, 0.040, self._sleeve


def _mixed(rng: np.random.Generator, dark: tuple[float, ...], light: tuple[float, ...]) -> np.ndarray:
    """Return a colour ``(4,)`` between two."""
    return np.append(np.array(dark) + rng.random() * (np.array(light) - np.array(dark)), 1.0)
