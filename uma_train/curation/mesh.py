"""A sheet as a mesh over its pixels in the first image, and its relaxation: nearly inextensible, above its support.

The relaxation is position-based: each round moves the nodes by the mean of their edges' corrections.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.spatial import cKDTree

from uma_train.curation.views import View

NODES = 400
GAP = 1.6
"""An edge is longer than the median by at most this factor: others bridge a hole or a step."""
BEND = 0.15
"""Stiffness of the edges that span two others, against crumpling."""
SQUASH = 0.3
"""Stiffness of an edge against compression: a sheet buckles rather than shortens."""
ROUNDS = 60
OVER = 1.4


@dataclass(frozen=True)
class Mesh:
    """Nodes of a sheet at the first image.

    Attributes:
        rest: ``(n, 3)`` metres, world.
        edges: ``(e, 2)`` nodes.
        length, stiff: ``(e,)`` metres, and stiffness against compression (1 = as against stretch).
        spread: ``(n, e)`` sparse, from corrections of edges to those of their nodes.
        quads: ``(n, 4)`` neighbours of a node to the right, left, below and above; the node itself where none is.
        spacing: metres between nodes.
    """

    rest: np.ndarray
    edges: np.ndarray
    length: np.ndarray
    stiff: np.ndarray
    spread: csr_matrix
    quads: np.ndarray
    spacing: float

    def normals(self, x: np.ndarray) -> np.ndarray:
        """Return ``(n, 3)`` unit normals for nodes at ``x``; towards the camera of the first image in the first one."""
        right, left, below, above = (x[self.quads[:, i]] for i in range(4))
        n = np.cross(right - left, above - below)
        return n / np.maximum(np.linalg.norm(n, axis=1, keepdims=True), 1e-9)

    def relax(
        self,
        x: np.ndarray,
        target: np.ndarray,
        pull: np.ndarray,
        fixed: np.ndarray,
        plane: np.ndarray | None,
        rounds: int = ROUNDS,
    ) -> np.ndarray:
        """Return the nodes ``(n, 3)`` after relaxation from ``x``.

        Args:
            target, pull: ``(n, 3)`` measured places and ``(n,)`` how strongly they pull per round, 0 to 1.
            fixed: ``(n,)`` bool, nodes that stay.
            plane: ``(4,)`` support in the world; nodes stay on its positive side.
        """
        a, b = self.edges.T
        movable = ~fixed[:, None]
        x = x.copy()
        for _ in range(rounds):
            d = x[b] - x[a]
            size = np.linalg.norm(d, axis=1)
            off = size - self.length
            off *= np.where(off > 0, 1.0, self.stiff) / np.maximum(size, 1e-9)
            x += movable * (OVER * (self.spread @ (0.5 * off[:, None] * d)))
            x += movable * (pull[:, None] * (target - x))
            if plane is not None:
                under = np.minimum(x @ plane[:3] + plane[3], 0.0)
                x -= movable * under[:, None] * plane[:3]
        return x

    def attach(self, points: np.ndarray, count: int = 4) -> tuple[np.ndarray, np.ndarray]:
        """Return the nearest nodes ``(N, count)`` of points, and their weights."""
        distance, index = cKDTree(self.rest).query(points, k=min(count, len(self.rest)))
        w = 1 / (distance.reshape(len(points), -1) + 1e-4) ** 2
        return index.reshape(len(points), -1), w / w.sum(1, keepdims=True)

    def place(self, x: np.ndarray, points: np.ndarray, attached: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        """Return where points ``(N, 3)`` of the first image are for nodes at ``x``: carried by the nodes' frames."""
        index, w = attached
        start, now = self._frames(self.rest), self._frames(x)
        local = np.einsum("nkij,nki->nkj", start[index], points[:, None] - self.rest[index])
        return ((x[index] + np.einsum("nkij,nkj->nki", now[index], local)) * w[..., None]).sum(1)

    def _frames(self, x: np.ndarray) -> np.ndarray:
        n, e = self.normals(x), x[self.quads[:, 0]] - x[self.quads[:, 1]]
        e = e - (e * n).sum(1, keepdims=True) * n
        e = e / np.maximum(np.linalg.norm(e, axis=1, keepdims=True), 1e-9)
        return np.stack([e, np.cross(n, e), n], -1)


def mesh_of(view: View, mask: np.ndarray) -> Mesh:
    """Return a mesh over a mask's pixels ``(H, W)`` bool."""
    import cv2

    usable = mask & (view.depth > 0)
    w = usable.astype(np.float32)
    smooth = cv2.blur(view.depth * w, (5, 5)) / np.maximum(cv2.blur(w, (5, 5)), 1e-6)
    step = max(2, int(np.sqrt(usable.sum() / NODES)))
    v0, u0 = np.nonzero(usable)
    rows, columns = np.arange(v0.min(), v0.max() + 1, step), np.arange(u0.min(), u0.max() + 1, step)
    number = np.full((len(rows) + 4, len(columns) + 4), -1)  # two empty rows and columns on each side
    inside = usable[np.ix_(rows, columns)]
    number[2:-2, 2:-2][inside] = np.arange(inside.sum())
    i, j = np.nonzero(inside)
    uv = np.stack([columns[j], rows[i]], 1).astype(np.float64)
    x = view.lift(uv, view.at(smooth, uv))
    i, j = i + 2, j + 2
    own = np.arange(len(x))

    def pairs(di: int, dj: int) -> np.ndarray:
        other = number[i + di, j + dj]
        return np.stack([own[other >= 0], other[other >= 0]], 1)

    near = np.concatenate([pairs(0, 1), pairs(1, 0)])
    spacing = float(np.median(np.linalg.norm(x[near[:, 0]] - x[near[:, 1]], axis=1)))
    edges, stiff = [], []
    for offset, reach, stiffness in (
        *(((di, dj), 1.0, SQUASH) for di, dj in ((0, 1), (1, 0))),
        *(((di, dj), 1.42, SQUASH) for di, dj in ((1, 1), (1, -1))),
        *(((di, dj), 2.0, BEND) for di, dj in ((0, 2), (2, 0))),
    ):
        found = pairs(*offset)
        size = np.linalg.norm(x[found[:, 0]] - x[found[:, 1]], axis=1)
        found = found[size < 2.0 * GAP * reach * spacing]
        edges.append(found)
        stiff.append(np.full(len(found), stiffness))
    all_edges = np.concatenate(edges)
    length = np.linalg.norm(x[all_edges[:, 0]] - x[all_edges[:, 1]], axis=1)
    e = np.arange(len(all_edges))
    degree = np.maximum(np.bincount(all_edges.ravel(), minlength=len(x)), 1)
    values = np.concatenate([1 / degree[all_edges[:, 0]], -1 / degree[all_edges[:, 1]]])
    places = (np.concatenate([all_edges[:, 0], all_edges[:, 1]]), np.concatenate([e, e]))
    spread = csr_matrix((values, places), (len(x), len(e))) * 2.0
    around = [number[i, j + 1], number[i, j - 1], number[i + 1, j], number[i - 1, j]]
    quads = np.stack([np.where(n >= 0, n, own) for n in around], 1)
    return Mesh(x, all_edges, length, np.concatenate(stiff), spread, quads, spacing)
