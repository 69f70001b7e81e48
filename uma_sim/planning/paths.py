"""Gripper paths: vertical from a grasp, then along a Bézier curve through random 6-DoF waypoints (paper B.2)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from uma_sim.planning import grasping
from uma_sim.planning.grasping import UP

LIFT = 0.10
"""Vertical distance before the curve begins, metres."""

PUT_DOWN = 0.004
"""Release height above the table, metres."""

RADIAN_M = 0.3
"""Metres that weigh as much as a radian in the nearest pose of a path: about equal in duration."""


@dataclass(frozen=True)
class Path:
    """A sampled path.

    Attributes:
        poses: ``(N, 4, 4)`` T_base_ee, about 1 cm apart.
        lets_go: whether the object is put down and released at the end; otherwise it is held there.
        drop: fall of the object after the release, metres.
        rest: ``(4, 4)`` pose of the object after its fall, base frame; None = as at the release, lower by ``drop``.
    """

    poses: np.ndarray
    lets_go: bool
    drop: float = 0.0
    rest: np.ndarray | None = None

    def ahead(self, T: np.ndarray, metres: float, radians: float) -> np.ndarray:
        """Return the pose ``metres`` or ``radians`` beyond the path's nearest pose to ``T``, whichever comes first.

        The distance counts position and, weighted by `RADIAN_M`, rotation. So a gripper that is ahead in position waits
        for its rotation. Otherwise it could come down tilted and hit standing objects.
        """
        apart = np.linalg.norm(self.poses[:, :3, 3] - T[:3, 3], axis=-1)
        i = int(np.argmin(apart + RADIAN_M * _angles(self.poses, T)))
        travelled = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(self.poses[:, :3, 3], axis=0), axis=-1))])
        last = min(int(np.searchsorted(travelled, travelled[i] + metres)), len(self.poses) - 1)
        turned = _angles(self.poses[i : last + 1], self.poses[i])
        return self.poses[i + max(int(np.flatnonzero(turned <= radians)[-1]), min(1, last - i))].copy()

    def spread(self, count: int) -> np.ndarray:
        """Return ``(count, 4, 4)`` evenly spaced poses along it, including both ends."""
        return self.poses[np.linspace(0, len(self.poses) - 1, count).round().astype(int)]


def _angles(poses: np.ndarray, T: np.ndarray) -> np.ndarray:
    """Return the ``(n,)`` angles in radians between the rotations of ``(n, 4, 4)`` poses and of ``T``."""
    cosine = (np.einsum("nij,ij->n", poses[:, :3, :3], T[:3, :3]) - 1) / 2
    return np.arccos(np.clip(cosine, -1, 1))


def bezier(
    T_grasp: np.ndarray,
    controls: np.ndarray,
    turns: np.ndarray,
    lets_go: bool,
    lift: float = LIFT,
    down_to: np.ndarray | None = None,
    drop: float = 0.0,
) -> Path:
    """Build a path from a grasp, vertical by ``lift`` and along the cubic curve of three more control points.

    Args:
        T_grasp: ``(4, 4)``.
        controls: ``(3, 3)`` metres, base frame; the last is the end of the curve.
        turns: ``(3, 3)`` gripper rotation at the end of the curve, or ``(n, 3, 3)`` rotations along it, interpolated
            evenly.
        down_to: ``(3,)`` end of a final straight line; None = no line.
    """
    up = T_grasp[:3, 3] + lift * UP
    s = np.linspace(0, 1, 60)[:, None]
    curve = (
        (1 - s) ** 3 * up + 3 * s * (1 - s) ** 2 * controls[0] + 3 * s**2 * (1 - s) * controls[1] + s**3 * controls[2]
    )
    straight = np.linspace(T_grasp[:3, 3], up, 1 + int(lift / 0.01))[:-1]
    poses = np.tile(np.eye(4), (len(straight) + len(curve), 1, 1))
    poses[:, :3, 3] = np.concatenate([straight, curve])
    turns = np.concatenate([T_grasp[None, :3, :3], turns.reshape(-1, 3, 3)])
    turn = Slerp(np.linspace(0, 1, len(turns)), Rotation.from_matrix(turns))
    poses[: len(straight), :3, :3] = T_grasp[:3, :3]
    poses[len(straight) :, :3, :3] = turn(s[:, 0]).as_matrix()
    if down_to is not None:
        last = np.tile(poses[-1], (max(2, int(np.linalg.norm(down_to - controls[2]) / 0.01)), 1, 1))
        last[:, :3, 3] = np.linspace(controls[2], down_to, len(last) + 1)[1:]
        poses = np.concatenate([poses, last])
    return Path(poses, lets_go, drop)


def random_path(rng: np.random.Generator, T_grasp: np.ndarray, lets_go: bool) -> Path:
    """Draw a curve over the workspace, to a place on the table or to a tilted pose in the air."""
    yaw = float(np.clip(grasping.bearing(T_grasp[:3, 0]) + rng.uniform(-1.0, 1.0), -1.6, 1.6))
    end = np.array(
        [
            rng.uniform(0.40, 0.60),
            rng.uniform(-0.20, 0.26),
            T_grasp[2, 3] + PUT_DOWN if lets_go else rng.uniform(0.20, 0.34),
        ]
    )
    R = grasping.top_down(yaw, end)[:3, :3]
    if not lets_go:
        axis = rng.uniform(-np.pi, np.pi)
        R = Rotation.from_rotvec(rng.uniform(0.0, 0.4) * np.array([np.cos(axis), np.sin(axis), 0.0])).as_matrix() @ R
    between = T_grasp[:3, 3] + 0.5 * (end - T_grasp[:3, 3])
    first = np.array([*(between[:2] + rng.uniform(-0.10, 0.10, 2)), rng.uniform(0.24, 0.36)])
    last = np.array(
        [*(end[:2] if lets_go else 0.5 * (end[:2] + first[:2]) + rng.uniform(-0.05, 0.05, 2)), rng.uniform(0.22, 0.34)]
    )
    return bezier(T_grasp, np.stack([first, last, end]), R, lets_go, drop=PUT_DOWN if lets_go else 0.0)


def standing_path(
    rng: np.random.Generator, T_grasp: np.ndarray, T_end: np.ndarray, rise: float, lets_go: bool, drop: float = 0.0
) -> Path:
    """Draw a curve that levels the gripper, so that its load stands upright, and descends on ``T_end`` (4, 4) from
    ``rise`` metres.

    The gripper rotates sideways before it pitches up. Pitched up and pointing straight away from the base, the wrist is
    singular.
    """
    end = T_end[:3, 3]
    above = end + rise * UP
    sideways = grasping.carrying_rotation(T_grasp, above[:2], tilt=1.1)
    first = 0.5 * (T_grasp[:3, 3] + above)
    controls = np.stack(
        [
            [*(first[:2] + rng.uniform(-0.06, 0.06, 2)), rng.uniform(0.22, 0.32)],
            above + rng.uniform(0.0, 0.06) * UP,
            above,
        ]
    )
    return bezier(T_grasp, controls, np.stack([sideways, T_end[:3, :3]]), lets_go, down_to=end, drop=drop)
