"""A rigid thing through a clip: hypotheses that vote, a fit to image motion, and alignment to depth and colour.

Per image the thing rests, moves with the closed hand, keeps its velocity, or moves as the image motion says. Image
motion is searched from each hypothesis' own projection, so that large motions are found.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from uma.geometry import se3
from uma_train.curation.clip import Clip
from uma_train.curation.klt import corners, flow
from uma_train.curation.surfaces import Surface, agreement, align, surface_of
from uma_train.curation.views import View

FEATURES = 150
"""Corners, and as many random pixels, whose image motion is followed."""
AGREE_M, NEAR_M = 0.012, 0.007
"""Distances within which depth agrees with a pose, and image motion with a hypothesis, metres."""
STEP_M, STEP_RAD = 0.09, 0.5
"""Largest motion of a fit to image motion between two images."""
PRIOR = {"fit": 0.05}
"""Weight of a hypothesis in its refinement by image motion, as a share of the motions; 0.3 for the others."""
FAVOUR = {"hand": (1.25, 3.0), "static": (1.15, 1.0)}
"""Factor and bonus on the votes of hypotheses that explain without measuring."""
FEW, MANY = 5.0, 40.0
"""Weight of the hypothesis in the alignment, in matched points; few for image motion and for a person's hand."""
REST_M = 0.0025
"""A thing at rest that seems to have moved by less stays exactly at rest, metres."""
FOLLOW = 0.3
"""Share by which the pose in the hand follows each measurement: things slip, but slowly."""
BELIEVED = 0.6
"""Share of agreement from which a pose is remembered, as a guess for when the thing is lost."""
LEAST = 0.2
"""Least share of uncovered surface for that; and the weight of image motion that depth and colour contradict."""
LOST = 0.35
"""Share of agreement below which a pose is not believed."""


@dataclass
class Rigid:
    """A tracked thing.

    Args:
        view: the image of ``mask``.
        mask: ``(H, W)`` bool, the thing's pixels.
    """

    view: View
    mask: np.ndarray
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    def __post_init__(self) -> None:
        import cv2

        inner = cv2.erode(self.mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        inner = inner if inner.sum() > 30 else self.mask
        self.surface: Surface = surface_of(self.view, inner & (self.view.depth > 0), self.rng)
        uv = corners(self.view, inner, FEATURES, self.rng)
        points, ok = self.view.lifted(uv)
        self.features = points[ok]
        self.T = self.before = np.eye(4)
        self.agrees = self.open = 1.0
        self.good: np.ndarray | None = None
        self.in_hand = None if self.view.hand is None else se3.invert(self.view.hand)

    def step(self, view: View) -> np.ndarray:
        """Track to the next image; return ``(4, 4)``, world at the first image to world now."""
        guesses = self._guesses(view)
        uv, z = self.view.project(se3.apply(self.T, self.features))
        seen = self.view.inside(uv, 2.0) & (np.abs(self.view.at(self.view.depth, uv) - z) < AGREE_M)
        X, uv = self.features[seen], uv[seen]
        best, T = (-1.0, "static"), guesses["static"]
        measured = np.zeros((0, 3)), np.zeros((0, 3))
        for name, guess in guesses.items():
            end, ok = flow(self.view, view, uv, view.project(se3.apply(guess, X))[0])
            points, valid = view.lifted(end)
            ok &= valid
            for kind, pose in ((name, guess), ("fit", self._fit(X[ok], points[ok]))):
                if pose is None:
                    continue
                near = ok & (np.linalg.norm(se3.apply(pose, X) - points, axis=1) < NEAR_M)
                factor, bonus = FAVOUR.get(kind, (1.0, 0.0))
                votes = (factor * near.sum() + bonus) * (LEAST + agreement(view, self.surface, pose)[0])
                if votes > best[0]:
                    best, T, measured = (votes, kind), pose, (X[near], points[near])
        T = _refined(T, *measured, PRIOR.get(best[1], 0.3), self.surface.points)
        anchor = guesses.get(best[1], T)
        found = align(view, self.surface, T, anchor, FEW if best[1] in ("fit", "person") else MANY).T
        self._settle(view, found, best[1])
        return self.T

    def _settle(self, view: View, found: np.ndarray, kind: str) -> None:
        """Adopt a pose. A thing at rest stays exactly where it is as long as that explains the image as well."""
        self.agrees, self.open = agreement(view, self.surface, found)
        if kind == "static":
            leap = np.linalg.norm(se3.apply(found, self.features) - se3.apply(self.T, self.features), axis=1)
            rests = agreement(view, self.surface, self.T)
            if np.median(leap) < REST_M and rests[0] > self.agrees - 0.03:
                found, (self.agrees, self.open) = self.T, rests
        if self.agrees > BELIEVED and self.open > LEAST:
            self.good = found
        self.before, self.T, self.view = self.T, found, view
        if view.hand is not None:
            now = se3.invert(view.hand) @ found
            is_new = self.in_hand is None or kind == "static" or not self._held(view)
            self.in_hand = now if is_new or self.in_hand is None else se3.interpolate(self.in_hand, now, FOLLOW)

    def _held(self, view: View) -> bool:
        """Return whether the hand may hold the thing: a gripper now, or a person's hand at the last pose."""
        return (view if view.clip.robot is not None else self.view).holds(se3.apply(self.T, self.features))

    def _guesses(self, view: View) -> dict[str, np.ndarray]:
        guesses = {"static": self.T}
        if self.agrees < BELIEVED and self.good is not None:
            guesses["good"] = self.good
        is_robot = view.clip.robot is not None
        if not is_robot:
            guesses["velocity"] = self.T @ se3.invert(self.before) @ self.T
        if view.hand is not None and self.in_hand is not None and self._held(view):
            guesses["hand" if is_robot else "person"] = view.hand @ self.in_hand
        return guesses

    def _fit(self, X: np.ndarray, Y: np.ndarray) -> np.ndarray | None:
        """Return the pose with the most pairs within `NEAR_M`, from triples of pairs; None if it leaps."""
        if len(X) < 6:
            return None
        picks = self.rng.integers(0, len(X), (64, 3))
        R, p = _kabsch(X[picks], Y[picks])
        off = np.linalg.norm(np.einsum("hij,nj->hni", R, X) + p[:, None] - Y, axis=2)
        best = int((off < NEAR_M).sum(1).argmax())
        near = off[best] < NEAR_M
        if near.sum() < 6:
            return None
        T = se3.fit_rigid(X[near], Y[near])
        D = T @ se3.invert(self.T)
        centre = se3.apply(self.T, X).mean(0)
        leap = np.linalg.norm(se3.apply(D, centre) - centre)
        return T if leap < STEP_M and se3.rotation_angle(np.eye(3), D[:3, :3]) < STEP_RAD else None

    def valid(self, points: np.ndarray) -> np.ndarray:
        """Return ``(n,)`` bool: points of the first image whose present depth agrees, if the pose is believed."""
        P = se3.apply(self.T, points)
        uv, z = self.view.project(P)
        near = np.abs(self.view.at(self.view.depth, uv) - z) < AGREE_M
        return near & self.view.inside(uv) & (self.agrees > LOST)


def _kabsch(X: np.ndarray, Y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rotations ``(h, 3, 3)`` and shifts ``(h, 3)`` between ``(h, n, 3)`` points."""
    cx, cy = X.mean(1, keepdims=True), Y.mean(1, keepdims=True)
    U, _, Vt = np.linalg.svd((X - cx).swapaxes(1, 2) @ (Y - cy))
    V, Ut = Vt.swapaxes(1, 2), U.swapaxes(1, 2)
    D = np.tile(np.eye(3), (len(X), 1, 1))
    D[:, 2, 2] = np.sign(np.linalg.det(V @ Ut))
    R = V @ D @ Ut
    return R, (cy - cx @ R.swapaxes(1, 2))[:, 0]


def _refined(T: np.ndarray, X: np.ndarray, Y: np.ndarray, prior: float, body: np.ndarray) -> np.ndarray:
    """Return the least-squares pose of measured pairs, with a few points of the body at ``T`` as prior."""
    if len(X) < 4:
        return T
    some = body[:: max(1, len(body) // 24)][:24]
    share = prior * len(X) / max(len(some), 1)
    w = np.concatenate([np.ones(len(X)), np.full(len(some), share)])
    A, B = np.concatenate([X, some]), np.concatenate([Y, se3.apply(T, some)])
    ca, cb = w @ A / w.sum(), w @ B / w.sum()
    U, _, Vt = np.linalg.svd(((A - ca) * w[:, None]).T @ (B - cb))
    D = np.diag([1.0, 1.0, np.sign(np.linalg.det(Vt.T @ U.T))])
    R = Vt.T @ D @ U.T
    return se3.make_pose(R, cb - R @ ca)


def track(clip: Clip, mask: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Track world points of the first image through a clip.

    Args:
        mask: ``(H, W)`` bool, the thing in the first image.
        points: ``(N, 3)`` on it.

    Returns:
        ``(T, N, 3)`` metres, ``(T, N)`` valid, and ``(T,)`` the share of the surface that agrees.
    """
    thing = Rigid(View(clip, 0), mask)
    T, N = len(clip.video), len(points)
    coords, valid, agrees = np.tile(points, (T, 1, 1)), np.ones((T, N), bool), np.ones(T)
    for t in range(1, T):
        if clip.has_image is not None and not clip.has_image[t]:
            coords[t], valid[t], agrees[t] = coords[t - 1], False, np.nan
            continue
        pose = thing.step(View(clip, t))
        coords[t], valid[t], agrees[t] = se3.apply(pose, points), thing.valid(points), thing.agrees
    return coords, valid, agrees
