"""The task's keypoints followed from image to image, so that their present positions can be given to the model (x_Gx of Eq. 6).

Pyramidal Lucas-Kanade on the grey image with a forward-backward check, lifted by depth. A keypoint that moves with the hand
is snapped to the hand's measured motion, which also carries it where the fingers hide it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uma.geometry import se3
from uma.geometry.camera import project
from uma.types import CameraModel, KeypointState, Observation


@dataclass(frozen=True)
class TrackerSettings:
    """Limits of the tracker.

    Attributes:
        window: side of the Lucas-Kanade window at 320 pixels of image width, pixels; grows with the width.
        levels: levels of the image pyramid above the first.
        max_round_trip: most forward-backward error, pixels at 320 of width.
        agree_m: a measured point this near a predicted one confirms it, metres.
        max_step_m: most that a keypoint may move between two images when neither the hand nor rest explains it, metres.
        held: a measured gripper above this may hold something.
        gain: share of the difference to a confirming measurement that is taken over.
        patience: images for which a keypoint counts as known without a confirming measurement.
        neighbour_m: a hidden keypoint follows the confirmed one that was nearest at the start, up to this distance, metres.
    """

    window: int = 11
    levels: int = 2
    max_round_trip: float = 0.7
    agree_m: float = 0.012
    max_step_m: float = 0.05
    held: float = 0.2
    gain: float = 0.3
    patience: int = 4
    neighbour_m: float = 0.15


class KeypointTracker:
    """Follows keypoints through a stream of observations of one camera.

    Args:
        observation: the image in which the keypoints are given.
        keypoints: ``(K, 3)`` metres, camera frame.

    Raises:
        ModuleNotFoundError: OpenCV is not installed.
    """

    def __init__(self, observation: Observation, keypoints: np.ndarray, settings: TrackerSettings | None = None):
        import cv2

        self._cv2, self.settings = cv2, settings or TrackerSettings()
        self._start = np.array(keypoints, np.float64)
        self._x = self._start.copy()
        self._unseen = np.zeros(len(self._x), int)
        self._with_hand = np.zeros(len(self._x), bool)
        self._grey, self._T_ee = self._grey_of(observation), observation.T_cam_ee
        seen = self._is_surface(self._x, observation)
        self._unseen[~seen] = self.settings.patience + 1

    @property
    def state(self) -> KeypointState:
        """Where the keypoints are, and which of them are known."""
        return KeypointState(self._x.copy(), self._unseen <= self.settings.patience)

    def update(self, observation: Observation) -> KeypointState:
        """Follow the keypoints to the next image."""
        grey = self._grey_of(observation)
        hand = observation.T_cam_ee @ se3.invert(self._T_ee)
        rest, carried = self._x, se3.apply(hand, self._x)
        may_hold = observation.gripper > self.settings.held
        at_rest, rest_ok = self._measured(rest, grey, observation)
        with_hand, hand_ok = self._measured(carried, grey, observation) if may_hold else (at_rest, np.zeros_like(rest_ok))
        rest_error = np.where(rest_ok, np.linalg.norm(at_rest - rest, axis=1), np.inf)
        hand_error = np.where(hand_ok, np.linalg.norm(with_hand - carried, axis=1), np.inf)
        agree = self.settings.agree_m
        # Where the hand rests both say the same: what was so stays so.
        tie = np.abs(np.where(np.isfinite(hand_error - rest_error), hand_error - rest_error, np.inf)) < 0.25 * agree
        by_hand = (hand_error < agree) & np.where(tie, self._with_hand, hand_error < rest_error)
        by_rest = (rest_error < agree) & ~by_hand
        free = rest_ok & ~by_hand & ~by_rest & (rest_error < self.settings.max_step_m)
        new = self._x.copy()
        for chosen, predicted, measured in ((by_hand, carried, with_hand), (by_rest, rest, at_rest)):
            new[chosen] = (predicted + self.settings.gain * (measured - predicted))[chosen]
        new[free] = at_rest[free]
        confirmed = by_hand | by_rest | free
        self._with_hand = np.where(confirmed, by_hand, self._with_hand & may_hold)
        self._carry_hidden(new, carried, confirmed, may_hold)
        self._unseen = np.where(confirmed, 0, self._unseen + 1)
        # What the hand carries is known as long as its neighbours, which the camera sees, go with the hand.
        self._unseen[~confirmed & self._with_hand] = 0
        self._x, self._grey, self._T_ee = new, grey, observation.T_cam_ee
        return self.state

    def _carry_hidden(self, new: np.ndarray, carried: np.ndarray, confirmed: np.ndarray, may_hold: bool) -> None:
        """Let keypoints without a measurement follow the confirmed one that was nearest to them at the start."""
        hidden = np.flatnonzero(~confirmed)
        known = np.flatnonzero(confirmed)
        for k in hidden:
            if len(known):
                away = np.linalg.norm(self._start[known] - self._start[k], axis=1)
                i = known[int(away.argmin())]
                if away.min() <= self.settings.neighbour_m:
                    self._with_hand[k] = self._with_hand[i]
            if may_hold and self._with_hand[k]:
                new[k] = carried[k]

    def _measured(self, predicted: np.ndarray, grey: np.ndarray, observation: Observation) -> tuple[np.ndarray, np.ndarray]:
        """``(K, 3)`` positions found in the new image near predicted ones, and ``(K,)`` which were found."""
        cv2, s, camera = self._cv2, self.settings, observation.camera
        scale = max(1.0, camera.width / 320)
        before, guess = (project(p, camera).astype(np.float32) for p in (self._x, predicted))
        inside = _inside(before, camera) & _inside(guess, camera)
        before, guess = (np.where(inside[:, None], p, 0.0).astype(np.float32)[:, None] for p in (before, guess))
        side = int(round(s.window * scale)) | 1
        options = {"winSize": (side, side), "maxLevel": s.levels, "flags": cv2.OPTFLOW_USE_INITIAL_FLOW}
        after, ok, _ = cv2.calcOpticalFlowPyrLK(self._grey, grey, before, guess.copy(), **options)
        back, ok_back, _ = cv2.calcOpticalFlowPyrLK(grey, self._grey, after, before.copy(), **options)
        error = np.linalg.norm((back - before)[:, 0], axis=1)
        points, valid = lifted(after[:, 0], observation)
        found = inside & (ok[:, 0] == 1) & (ok_back[:, 0] == 1) & (error < s.max_round_trip * scale) & valid
        return points, found

    def _is_surface(self, points: np.ndarray, observation: Observation) -> np.ndarray:
        """``(K,)`` whether the camera sees a surface where the points are."""
        found, valid = lifted(project(points, observation.camera), observation)
        return valid & (np.linalg.norm(found - points, axis=1) < 2 * self.settings.agree_m)

    def _grey_of(self, observation: Observation) -> np.ndarray:
        return self._cv2.cvtColor(np.ascontiguousarray(observation.rgb), self._cv2.COLOR_RGB2GRAY)


def _inside(pixels: np.ndarray, camera: CameraModel) -> np.ndarray:
    with np.errstate(invalid="ignore"):
        u, v = pixels[:, 0], pixels[:, 1]
        return (u >= 1) & (u < camera.width - 2) & (v >= 1) & (v < camera.height - 2)


def lifted(pixels: np.ndarray, observation: Observation) -> tuple[np.ndarray, np.ndarray]:
    """``(K, 3)`` points of ``(K, 2)`` pixels by the median of the 3 x 3 depths around each, and ``(K,)`` which have one."""
    camera = observation.camera
    inside = _inside(pixels, camera)
    u, v = (np.where(inside, np.nan_to_num(pixels[:, i]), 1.0) for i in (0, 1))
    column, row = np.rint(u).astype(int), np.rint(v).astype(int)
    d = np.arange(-1, 2)
    near = observation.depth[(row[:, None] + d)[:, :, None], (column[:, None] + d)[:, None, :]].reshape(len(pixels), 9)
    count = np.isfinite(near).sum(1)
    z = np.nanmedian(np.where(count[:, None] > 0, near, 1.0), axis=1)
    points = np.stack([(u - camera.cx) / camera.fx * z, (v - camera.cy) / camera.fy * z, z], -1)
    return points, inside & (count >= 5)
