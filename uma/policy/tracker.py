"""The keypoint tracker: provides the keypoints' current positions as model inputs (x_Gx of Eq. 6).

Keypoints on one surface form a body. A body is at rest or moves with the hand, and may have shifted slightly; depth and
colour decide (`rigid_motion`). If an image cannot decide, both poses stay possible. A body whose points do not move
together is split into one patch per keypoint.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from uma.geometry import se3
from uma.policy.rigid_motion import HIDDEN, SAME, Found, Supposed, Surface, SurfaceSettings, View, find_surfaces
from uma.types import KeypointState, Observation


@dataclass(frozen=True)
class TrackerSettings:
    """Thresholds of the tracker. Fractions refer to the surface points that are not hidden; scores are -1 to 1.

    Attributes:
        surface: tolerances of segmentation and comparison.
        held: a measured gripper above this may hold something, 0 open to 1 closed.
        closing: gripper increase between two images that counts as closing.
        opens: gripper change that counts as a release.
        grip_m: jaws that close this near a surface grasp it, metres from the TCP.
        left_m: distance at which the hand has left the place where it closed, metres.
        pinched_m: keypoints this near the jaws are not assumed at rest once the hand has left, metres.
        danger_m: a closed hand this near may push hidden objects, metres.
        agree, agree_strictly: least fraction of seen points that confirms a pose.
        refuted: fraction of seen points below which a pose is wrong.
        whole: fraction of seen points below which a body is deformed or displaced.
        tie: score difference below which two poses are indistinguishable.
        gain, gain_held: least score gain of a shift; the latter for a visible body in the hand.
        in_sight: least fraction of visible points for ``gain_held``.
        hold: least score loss of a two-pixel shift for a determined position.
        patience: images for which a hidden body near a closed hand stays known.
        long_patience: images for which a hidden body elsewhere, or in the hand, stays known.
    """

    surface: SurfaceSettings = field(default_factory=SurfaceSettings)
    held: float = 0.2
    closing: float = 0.03
    opens: float = 0.06
    grip_m: float = 0.035
    left_m: float = 0.008
    pinched_m: float = 0.07
    danger_m: float = 0.15
    agree: float = 0.6
    agree_strictly: float = 0.7
    refuted: float = 0.4
    whole: float = 0.85
    tie: float = 0.12
    gain: float = 0.1
    gain_held: float = 0.03
    in_sight: float = 0.3
    hold: float = 0.15
    patience: int = 4
    long_patience: int = 45


@dataclass(frozen=True)
class Hand:
    """The hand at one image.

    Attributes:
        T, T_before: ``(4, 4)`` end effector in the camera frame, at this image and at the previous one.
        gripper: 0 open to 1 closed.
        is_closed: whether it may hold something.
        is_closing: whether it may have just closed on something.
    """

    T: np.ndarray
    T_before: np.ndarray
    gripper: float
    is_closed: bool
    is_closing: bool


@dataclass
class Body:
    """Keypoints that are assumed to move as one rigid body.

    Attributes:
        keypoints: ``(k,)`` indices.
        dense, surface: all surface points, and the subset that votes.
        is_known: ``(k,)`` keypoints with a known position.
        is_telling: see `rigid_motion.Found`.
        is_part: whether it is a patch of a split body.
        pose, rest: ``(4, 4)`` the most likely pose; the pose at rest.
        in_hand: ``(4, 4)`` the pose in the end-effector frame if it moves with the hand.
        with_hand: whether it moves with the hand.
        was_held: whether it once did.
        grip_at: ``(3,)`` grasp position in the body's frame of the first image; None without a grasp.
        grip: gripper value during the grasp.
        is_lost: whether its pose was refuted; only a determined position restores it.
        unseen: images since its pose was confirmed.
        torn: consecutive images in which it did not move as one.
    """

    keypoints: np.ndarray
    dense: Surface
    surface: Surface
    is_known: np.ndarray
    in_hand: np.ndarray
    is_telling: bool = True
    is_part: bool = False
    pose: np.ndarray = field(default_factory=lambda: np.eye(4))
    rest: np.ndarray = field(default_factory=lambda: np.eye(4))
    with_hand: bool = False
    was_held: bool = False
    grip_at: np.ndarray | None = None
    grip: float = 0.0
    is_lost: bool = False
    unseen: int = 0
    torn: int = 0


class KeypointTracker:
    """Tracks keypoints through the observations of one camera.

    Args:
        observation: the first image.
        keypoints: ``(K, 3)`` metres in the first image, camera frame.
    """

    def __init__(self, observation: Observation, keypoints: np.ndarray, settings: TrackerSettings | None = None):
        self.settings = settings or TrackerSettings()
        self._start = np.array(keypoints, np.float64)
        self._before, self._view = observation, View(observation, self.settings.surface)
        surfaces = find_surfaces(observation, self._start, self.settings.surface)
        self._bodies = [self._body(found, observation) for found in surfaces]

    @property
    def state(self) -> KeypointState:
        """Current positions of the keypoints, and which of them are known."""
        x, known = self._start.copy(), np.zeros(len(self._start), bool)
        for body in self._bodies:
            x[body.keypoints] = se3.apply(body.pose, self._start[body.keypoints])
            known[body.keypoints] = body.is_known
        return KeypointState(x, known & self._view.contains(x))

    def update(self, observation: Observation) -> KeypointState:
        """Track the keypoints to the next image."""
        s, g = self.settings, observation.gripper
        self._view = View(observation, s.surface)
        is_closing = g > max(s.held, self._before.gripper + s.closing)
        hand = Hand(observation.T_cam_ee, self._before.T_cam_ee, g, g > s.held, is_closing)
        for body in self._bodies:
            self._follow(body, hand)
        self._bodies = [part for body in self._bodies for part in self._parts(body)]
        self._before = observation
        return self.state

    def _body(self, found: Found, observation: Observation) -> Body:
        s, T = self.settings, observation.T_cam_ee
        surface = found.surface.thinned(s.surface.points)
        known = np.ones(len(found.keypoints), bool)
        body = Body(found.keypoints, found.surface, surface, known, se3.invert(T), found.is_telling)
        if observation.gripper > s.held and surface.distance(body.rest, T[:3, 3]) < s.grip_m:
            body.grip_at = T[:3, 3]
        return body

    def _follow(self, body: Body, hand: Hand) -> None:
        self._take_grip(body, hand)
        best, is_clear = self._likelier(body, hand)
        found = self._shifted(body, best)
        if self._is_confirmed(body, found):
            self._settle(body, found, is_clear or found.is_shifted, hand)
        else:
            self._go_unseen(body, best, hand)

    def _take_grip(self, body: Body, hand: Hand) -> None:
        """Update whether the jaws release the body or close on it."""
        s = self.settings
        if body.with_hand and (not hand.is_closed or abs(hand.gripper - body.grip) > s.opens):
            body.with_hand, body.rest, body.is_lost = False, hand.T @ body.in_hand, True
        if not hand.is_closed:
            body.grip_at = None
        if hand.is_closing:
            # The hand may have closed and left between two images.
            away = [body.surface.distance(body.rest, T[:3, 3]) for T in (hand.T, hand.T_before)]
            T = hand.T if away[0] <= away[1] else hand.T_before
            if min(away) < s.grip_m:
                body.grip_at = se3.apply(se3.invert(body.rest), T[:3, 3])
                body.in_hand = se3.invert(T) @ body.rest

    def _likelier(self, body: Body, hand: Hand) -> tuple[Supposed, bool]:
        """Return the body's pose at rest or with the hand, and whether the image decides clearly."""
        may_follow = hand.is_closed and (body.grip_at is not None or not body.is_lost)
        poses = np.stack([body.rest, hand.T @ body.in_hand if may_follow else body.rest])
        votes, tie = self._view.votes(poses, body.surface), self.settings.tie
        rest, carried = (Supposed(poses[i], votes[i], bool(i)) for i in (0, 1))
        is_held = hand.is_closed and (body.with_hand or (body.grip_at is not None and not hand.is_closing))
        ahead = carried.worth - rest.worth
        return carried if ahead > (-tie if is_held else tie) else rest, abs(ahead) > tie

    def _shifted(self, body: Body, best: Supposed) -> Supposed:
        """Return a better pose nearby if the likelier one does not fit; a released body may have fallen farther.

        A body that was never held may lie among similar objects, which a wide search could confuse.
        """
        s = self.settings
        is_held = best.with_hand and body.with_hand and (best.votes != HIDDEN).mean() > s.in_sight
        fits = best.is_based and best.share >= (s.whole if is_held else s.agree)
        if fits or body.is_part or (body.is_lost and not body.was_held):
            return best
        has_fallen = body.is_lost and not best.with_hand
        pose, votes = self._view.climb(best.pose, body.surface, (5.0, 2.5, 1.0) if has_fallen else (1.0,))
        shifted = Supposed(pose, votes, best.with_hand, True)
        return shifted if shifted.worth > best.worth + (s.gain_held if is_held else s.gain) else best

    def _is_confirmed(self, body: Body, found: Supposed) -> bool:
        s = self.settings
        is_expected = body.grip_at is not None if found.with_hand else not found.is_shifted
        is_strict = body.is_part or body.is_lost or not is_expected
        if not found.is_based or found.share < (s.agree_strictly if is_strict else s.agree):
            return False
        if not is_strict:
            return True
        least, most = self._view.hold(found.pose, body.surface)
        # A patch at rest may be ambiguous along one axis, such as an edge.
        return (least if body.is_lost or not is_expected else most) > s.hold

    def _settle(self, body: Body, found: Supposed, is_clear: bool, hand: Hand) -> None:
        """Adopt a confirmed pose. If the image is ambiguous, the other pose stays possible."""
        body.pose, body.with_hand, body.is_lost, body.unseen = found.pose, found.with_hand, False, 0
        body.was_held |= found.with_hand
        body.grip = max(body.grip, hand.gripper) if found.with_hand else 0.0
        if found.with_hand or found.is_shifted or body.grip_at is None:
            body.in_hand = se3.invert(hand.T) @ found.pose
        if is_clear or not found.with_hand:
            body.rest = found.pose
        body.is_known = ~self._doubtful(body, found, hand)
        self._look_for_tears(body, found)

    def _doubtful(self, body: Body, found: Supposed, hand: Hand) -> np.ndarray:
        """Return ``(k,)`` keypoints of a body at rest that may have moved, by their surroundings or with the hand."""
        if found.with_hand:
            return np.zeros(len(body.keypoints), bool)
        s, start = self.settings, self._start[body.keypoints]
        around = np.linalg.norm(body.surface.points - start[:, None], axis=2) < s.surface.patch_m
        seen, same = ((around & mask).sum(1) for mask in (found.votes != HIDDEN, found.votes == SAME))
        doubtful = (seen >= 3) & (same < 0.5 * seen)
        if self._has_left(body, hand):
            pinched = np.linalg.norm(start - body.grip_at, axis=1) < s.pinched_m
            doubtful |= pinched & ((seen < 3) | (same < 0.8 * seen))
        return doubtful

    def _has_left(self, body: Body, hand: Hand) -> bool:
        """Whether the hand has left the place where it closed on the body."""
        if body.grip_at is None:
            return False
        return float(np.linalg.norm(se3.apply(body.rest, body.grip_at) - hand.T[:3, 3])) > self.settings.left_m

    def _go_unseen(self, body: Body, best: Supposed, hand: Hand) -> None:
        """Handle an unconfirmed pose: a held body, or a hidden one out of reach, stays known for a while."""
        s = self.settings
        body.pose, body.unseen = best.pose, body.unseen + 1
        is_held = body.with_hand and body.grip_at is not None
        seen = best.votes != HIDDEN
        is_refuted = seen.sum() >= min(3, len(seen)) and (best.votes[seen] == SAME).mean() < s.refuted
        is_open = not body.with_hand and self._has_left(body, hand)
        is_safe = is_held or not hand.is_closed or body.surface.distance(body.pose, hand.T[:3, 3]) > s.danger_m
        is_wrong = not is_held and (is_refuted or is_open)
        body.is_lost |= bool(is_wrong) or body.is_part or not (is_safe or body.is_telling)
        is_patient = body.unseen <= (s.long_patience if is_safe else s.patience)
        body.is_known = body.is_known & (is_patient and not body.is_lost)
        self._look_for_tears(body, best)

    def _look_for_tears(self, body: Body, best: Supposed) -> None:
        seen = best.votes != HIDDEN
        may_tear = not (best.with_hand or body.was_held) and len(body.keypoints) > 1 and seen.sum() >= 8
        is_mixed = may_tear and 0.2 < (best.votes[seen] == SAME).mean() < self.settings.whole
        body.torn = body.torn + 1 if is_mixed else 0

    def _parts(self, body: Body) -> list[Body]:
        """Return the body itself or, if torn, one patch for each of its keypoints."""
        if body.torn < 2:
            return [body]
        parts = []
        for i, k in enumerate(body.keypoints):
            away = np.linalg.norm(body.dense.points - self._start[k], axis=1)
            reach = max(self.settings.surface.patch_m, np.sort(away)[min(5, len(away) - 1)])
            patch = body.dense.part(away <= reach).thinned(self.settings.surface.points)
            part = Body(np.array([k]), patch, patch, body.is_known[i : i + 1], body.in_hand, is_part=True)
            part.pose, part.rest, part.grip_at = body.pose, body.rest, body.grip_at
            parts.append(part)
        return parts
