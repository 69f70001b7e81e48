"""A sheet through a clip: a mesh that the closed hand drags, corrected by image motion and depth.

What the hand pinched moves with it; the rest follows by the mesh's lengths and its support. So a fold is known while
it is hidden. Points are called valid only where the present image confirms them, from their own side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uma.geometry import se3
from uma.geometry.point_cloud import fit_plane
from uma_train.curation.clip import Clip
from uma_train.curation.klt import flow
from uma_train.curation.mesh import Mesh, mesh_of
from uma_train.curation.views import HELD, View

SETTLED = 0.03
"""A hand that is closed, and changed by less than this since the last image, holds."""
PINCH_M = 0.022
"""Nodes within this distance of the closed fingertips move with them."""
SEEN_M, SNAP_M = 0.012, 0.020
"""Distances in depth within which a node counts as seen, and is drawn to the surface, metres."""
GRAVITY_M = 0.004
"""How far an unseen node in the air sinks per image."""
FLOW_PULL, DEPTH_PULL = 0.25, 0.25
"""Shares of the way to the measured place per round."""
FACING = 0.15
"""Least cosine between normal and line of sight of a seen point."""
GREY = 45.0
"""Largest change of a valid point's grey value."""
TEXTURE = 5.0
"""Least eigenvalue of the image structure, in variances of the noise; noise alone has 0.8."""


@dataclass
class Sheet:
    """A tracked sheet.

    Args:
        view: the image of ``mask``.
        mask: ``(H, W)`` bool.
    """

    view: View
    mask: np.ndarray

    def __post_init__(self) -> None:
        self.mesh: Mesh = mesh_of(self.view, self.mask)
        self.x = self.mesh.rest.copy()
        self.plane = self._support()
        self.grey = self.view.at(self.view.smooth, self.view.project(self.x)[0])
        self.pinched = np.zeros(len(self.x), bool)
        self.in_hand = np.zeros((0, 3))
        self.is_seen = self._seen(self.view, self.x)

    def _support(self) -> np.ndarray | None:
        """Return the plane ``(4,)`` under the sheet, in the world; lowered to its lowest nodes."""
        H, W = self.mask.shape
        v, u = np.mgrid[0:H:4, 0:W:4]
        points, ok = self.view.lifted(np.stack([u.ravel(), v.ravel()], 1).astype(np.float64))
        if ok.sum() < 50:
            return None
        eye = se3.invert(self.view.T)[:3, 3]
        plane = fit_plane(points[ok] - eye)
        plane[3] -= plane[:3] @ eye
        low = np.percentile(self.x @ plane[:3] + plane[3], 10)
        plane[3] -= float(np.clip(low, 0.0, 0.02))
        return plane

    def step(self, view: View) -> np.ndarray:
        """Track to the next image; return the nodes ``(n, 3)``."""
        self._take_hold(view)
        x = self.x.copy()
        nothing = np.zeros(len(x))
        if self.pinched.any() and view.hand is not None:
            x[self.pinched] = se3.apply(view.hand, self.in_hand)
            x = self.mesh.relax(x, x, nothing, self.pinched, self.plane)
        target, pull = self._measured(view, x)
        x = self.mesh.relax(x, target, pull, self.pinched, self.plane)
        x = self._on_surface(view, x)
        self.view, self.x = view, x
        self.is_seen = self._seen(view, x)
        return x

    def _take_hold(self, view: View) -> None:
        if view.hand is None:
            return
        now, before = view.grip, self.view.grip
        if now < HELD or now < before - 2 * SETTLED:
            self.pinched = np.zeros(len(self.x), bool)
        elif not self.pinched.any() and now - before < SETTLED:
            near = np.linalg.norm(self.x - view.hand[:3, 3], axis=1)
            self.pinched = near < PINCH_M
            self.in_hand = se3.apply(se3.invert(view.hand), self.x[self.pinched])

    def _measured(self, view: View, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the places ``(n, 3)`` that image motion gives, and how strongly they pull; 0 where unknown."""
        target, pull = x.copy(), np.zeros(len(x))
        seen = np.flatnonzero(self.is_seen & ~self.pinched)
        uv = self.view.project(self.x[seen])[0]
        end, ok = flow(self.view, view, uv, view.project(x[seen])[0])
        points, valid = view.lifted(end)
        ok &= (
            valid
            & textured(self.view, view, uv)
            & ~view.by_hand(points)
            & (np.linalg.norm(points - x[seen], axis=1) < 0.05)
        )
        target[seen[ok]], pull[seen[ok]] = points[ok], FLOW_PULL
        return target, pull

    def _on_surface(self, view: View, x: np.ndarray) -> np.ndarray:
        """Return nodes drawn to the visible surface where they are near it; those in free space sink."""
        uv, z = view.project(x)
        q, n, ok = view.surface(uv)
        depth = view.at(view.depth, uv)
        ok &= view.inside(uv, 1.0) & ~view.by_hand(x) & ~view.by_hand(q)
        near = ok & (np.abs(depth - z) < SNAP_M)
        target, pull = x.copy(), np.zeros(len(x))
        target[near] += ((q - x)[near] * n[near]).sum(1, keepdims=True) * n[near]
        pull[near] = DEPTH_PULL
        free = ok & (depth > z + SNAP_M)
        eye = se3.invert(view.T)[:3, 3]
        ray = (x - eye) / np.linalg.norm(x - eye, axis=1, keepdims=True)
        target[free] += ray[free] * np.minimum(depth - z, 0.02)[free, None]
        pull[free] = 0.1
        if self.plane is not None:
            hidden = ~near & ~free
            target[hidden] -= GRAVITY_M * self.plane[:3]
            pull[hidden] = 0.05
        return self.mesh.relax(x, target, pull, self.pinched, self.plane, 25)

    def _seen(self, view: View, x: np.ndarray, points: np.ndarray | None = None) -> np.ndarray:
        uv, z = view.project(x)
        to_eye = se3.invert(view.T)[:3, 3] - x
        n = self.mesh.normals(x)
        facing = (n * to_eye).sum(1) > FACING * np.linalg.norm(to_eye, axis=1)
        return facing & view.inside(uv, 1.0) & (np.abs(view.at(view.depth, uv) - z) < SEEN_M)

    def valid(self, places: np.ndarray, attached: tuple[np.ndarray, np.ndarray], grey: np.ndarray) -> np.ndarray:
        """Return ``(N,)`` bool: points whose depth and colour the image confirms, from their own side."""
        uv, z = self.view.project(places)
        near = np.abs(self.view.at(self.view.depth, uv) - z) < SEEN_M
        index, w = attached
        n = (self.mesh.normals(self.x)[index] * w[..., None]).sum(1)
        to_eye = se3.invert(self.view.T)[:3, 3] - places
        facing = (n * to_eye).sum(1) > FACING * np.linalg.norm(to_eye, axis=1)
        alike = np.abs(self.view.at(self.view.smooth, uv) - grey) < GREY
        return near & facing & alike & self.view.inside(uv)


def textured(before: View, now: View, uv: np.ndarray) -> np.ndarray:
    """Return ``(n,)`` bool: the surroundings of pixels of ``before`` have structure well over the sensor's noise."""
    import cv2

    difference = np.abs(before.gray[::4, ::4].astype(np.float32) - now.gray[::4, ::4])
    noise = max(float(np.median(difference)) / 0.95, 0.5)
    least = cv2.cornerMinEigenVal(before.gray.astype(np.float32), 15, ksize=3)
    return before.at(least, uv) > TEXTURE * noise**2


def track(clip: Clip, mask: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Track world points of the first image on a sheet: ``(T, N, 3)`` metres and ``(T, N)`` valid."""
    first = View(clip, 0)
    sheet = Sheet(first, mask)
    attached = sheet.mesh.attach(points)
    grey = first.at(first.smooth, first.project(points)[0])
    T, N = len(clip.video), len(points)
    coords, valid = np.tile(points, (T, 1, 1)), np.ones((T, N), bool)
    for t in range(1, T):
        if clip.has_image is not None and not clip.has_image[t]:
            coords[t], valid[t] = coords[t - 1], False
            continue
        x = sheet.step(View(clip, t))
        coords[t] = sheet.mesh.place(x, points, attached)
        valid[t] = sheet.valid(coords[t], attached, grey)
    return coords, valid
