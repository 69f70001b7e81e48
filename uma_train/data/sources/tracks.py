"""Tracks of the object in a recorded demonstration without learned weights.

In this order: the policy's own tracked keypoints; uma's tracker from the keypoints of a reference; points on the
grasped object, which move with the closed hand.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from uma.geometry import se3
from uma.geometry.camera import unproject_pixels
from uma.model.inputs import PointSet
from uma.policy.demonstration import Demonstration, Robot
from uma.policy.tracker import KeypointTracker
from uma.types import Observation
from uma_train.data.seen import visible
from uma_train.data.sources.gates import Refused

HELD = 0.2
"""A gripper closed further than this may hold something, 0 open to 1 closed."""
SETTLED = 0.03
"""Largest change of the gripper while it holds something."""
COUNT = 16
"""Keypoints on a grasped object."""
FEWEST = 4
REACH_M = 0.06
"""Radius around the end effector, as it closes, within which points belong to the grasped object, metres."""
ABOVE_M = 0.006
"""Least height of such points above the table, metres."""
AWAY_M = 0.12
"""Least distance of the hand from the object in the image that the points are taken from, metres."""
TRACKER, HAND = "tracker", "hand"


@dataclass
class Tracker:
    """Collects tracks image by image.

    Args:
        demonstration: its kind of tracks is chosen at once, see `kind`.
    """

    demonstration: Demonstration
    kind: str = ""
    _tracker: KeypointTracker | None = None
    _seen: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    _hand: np.ndarray | None = None
    _refusal: Refused | None = None

    def __post_init__(self) -> None:
        d = self.demonstration
        self.kind = d.tracks.source if d.tracks is not None else TRACKER if d.reference is not None else HAND

    @property
    def _robot(self) -> Robot:
        if self.demonstration.robot is None:
            raise Refused("tracks", "neither keypoints nor a robot that holds an object")
        return self.demonstration.robot

    def take(self, step: int, observation: Observation, cloud: PointSet) -> None:
        """Take the image of a step, in order."""
        if self.kind == TRACKER:
            self._track(step, observation)
        elif self.kind == HAND:
            if self._hand is None and self._refusal is None and cloud is not None:
                self._hold(step, observation, cloud)
            if self._hand is None:
                return
            points = se3.apply(se3.invert(self._robot.T_base_cam), self._hand[step])
            self._seen[step] = points, visible(points, observation.depth, observation.camera)

    def _hold(self, step: int, observation: Observation, cloud: PointSet) -> None:
        """Take the points of the first image. A refusal waits for `result`: a wrong calibration is named first."""
        try:
            self._hand = with_hand(self._robot, step, on_the_table(observation, cloud.plane, self._robot.T_base_cam))
        except Refused as refusal:
            self._refusal = refusal

    def _track(self, step: int, observation: Observation) -> None:
        d = self.demonstration
        if d.reference is None or step < d.reference_step:
            return
        if self._tracker is None:
            start = np.stack([w[v][0] for w, v in zip(d.reference.waypoints, d.reference.is_valid)])
            self._tracker = KeypointTracker(observation, start)
            state = self._tracker.state
        else:
            state = self._tracker.update(observation)
        self._seen[step] = state.positions.copy(), state.is_visible.copy()

    def result(self) -> tuple[np.ndarray, np.ndarray]:
        """Return ``(S, K, 3)`` metres in the camera frame and ``(S, K)`` bool.

        Positions that are not valid are the last known ones, or the first known ones before these.

        Raises:
            Refused: no keypoint was seen.
        """
        d, S = self.demonstration, len(self.demonstration.stamps)
        if d.tracks is not None:
            return filled(d.tracks.positions, d.tracks.is_visible)
        if self._refusal is not None:
            raise self._refusal
        if not self._seen:
            raise Refused("tracks", "0 images after the task's reference, must be at least 1")
        K = len(next(iter(self._seen.values()))[0])
        positions, known = np.zeros((S, K, 3)), np.zeros((S, K), bool)
        for step, (points, is_known) in self._seen.items():
            positions[step], known[step] = points, is_known
        if self.kind == HAND and self._hand is not None:  # between two images, too
            positions = se3.apply(se3.invert(self._robot.T_base_cam), self._hand)
        return filled(positions, known) if self.kind != HAND else (positions.astype(np.float32), known)


def filled(positions: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return tracks whose unknown positions are the last known ones; keypoints that are never known are left out.

    Raises:
        Refused: no keypoint is known at any step.
    """
    ever = known.any(0)
    if not ever.any():
        raise Refused("tracks", f"0 of {known.shape[1]} keypoints were seen, must be at least 1")
    positions, known = positions[:, ever], known[:, ever]
    S, K = known.shape
    last = np.where(known, np.arange(S)[:, None], -1)
    last = np.maximum.accumulate(last, 0)
    last = np.where(last < 0, known.argmax(0), last)
    return positions[last, np.arange(K)].astype(np.float32), known


def holds(gripper: np.ndarray) -> list[tuple[int, int]]:
    """Return the stretches (first, last + 1) in which the hand is closed, without its closing and opening."""
    is_closed = np.concatenate([[False], gripper > HELD, [False]])
    edges = np.flatnonzero(np.diff(is_closed.astype(int)))
    out = []
    for first, end in zip(edges[::2], edges[1::2]):
        value = gripper[first:end]
        settled = np.flatnonzero(value > value.max() - SETTLED)
        out.append((int(first + settled[0]), int(first + settled[-1] + 1)))
    return out


def on_the_table(observation: Observation, plane: np.ndarray, T_base_cam: np.ndarray) -> np.ndarray:
    """Return the ``(N, 3)`` points of an image above the table, base frame.

    Args:
        plane: ``(4,)`` of the table, camera frame.
    """
    pixel = np.flatnonzero(np.isfinite(observation.depth))
    points = unproject_pixels(observation.depth, pixel, observation.camera)
    return se3.apply(T_base_cam, points[points @ plane[:3] + plane[3] > ABOVE_M].astype(np.float64))


def with_hand(robot: Robot, step: int, points: np.ndarray) -> np.ndarray:
    """Return ``(S, K, 3)`` points in the base frame that rest, and move with the closed hand where it holds them.

    Args:
        step, points: the first image, and its ``(N, 3)`` points above the table in the base frame. Those near the
            place where the hand will close are the object's.

    Raises:
        Refused: the hand never closes, is already at the object, or too few points are there.
    """
    d = robot
    stretches = holds(d.gripper)
    if not stretches:
        raise Refused("tracks", f"gripper closes to {d.gripper.max():.2f}, must exceed {HELD:g} to hold something")
    places = d.pose[[first for first, _ in stretches], :3, 3]
    first = int(np.argmax([end - begin for begin, end in stretches]))
    away = float(np.linalg.norm(d.pose[step, :3, 3] - places[first]))
    if away < AWAY_M:
        raise Refused("tracks", f"the hand begins {away:.2f} m from the grasp, must be at least {AWAY_M:g} m away")
    near = points[np.linalg.norm(points - places[first], axis=1) < REACH_M]
    if len(near) < FEWEST:
        raise Refused("tracks", f"{len(near)} points within {REACH_M:g} m of the grasp, must be at least {FEWEST}")
    x = spread(near, COUNT)
    out = np.empty((len(d.pose), len(x), 3))
    held_until, at = -1, -1
    for s in range(len(d.pose)):
        begins = [end for begin, end in stretches if begin == s]
        if begins and np.linalg.norm(x - d.pose[s, :3, 3], axis=1).min() < REACH_M:
            held_until, at = begins[0], s
        if at < s < held_until:
            x = se3.apply(d.pose[s] @ se3.invert(d.pose[s - 1]), x)
        out[s] = x
    return out


def spread(points: np.ndarray, count: int) -> np.ndarray:
    """Return up to ``count`` of ``(N, 3)`` points, each the farthest from those before it."""
    chosen = [int(np.linalg.norm(points - points.mean(0), axis=1).argmin())]
    distance = np.linalg.norm(points - points[chosen[0]], axis=1)
    while len(chosen) < min(count, len(points)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
    return points[chosen]
