"""Rigid surfaces: segmented around keypoints in the first image, then compared with later images in a hypothesised
pose.

A pose is a ``(4, 4)`` motion since the first image, in the camera frame. The comparison uses depth and colour, because
plain objects have no texture to track.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from uma.geometry import se3
from uma.geometry.camera import unproject
from uma.geometry.point_cloud import fit_plane, voxel_indices
from uma.types import Observation

HIDDEN, SAME, OTHER, GONE, NEARER = range(5)
"""Votes of a point: hidden by another surface; seen; another colour there; seen depth is farther; own colour is nearer.
"""

WORTH = np.array([0.0, 1.0, -0.5, -1.0, -0.3])
"""Score of each vote for a pose."""

STEPS = np.concatenate([np.zeros((1, 6)), np.eye(6), -np.eye(6)]) * np.array([0.003] * 3 + [0.05] * 3)
"""``(13, 6)`` small motions that `View.climb` tries, identity first: metres and radians."""

FOUND_WIDTH = 640
"""Approximate image width for segmentation, pixels."""


@dataclass(frozen=True)
class SurfaceSettings:
    """Tolerances of the segmentation and of the comparison with an image.

    Attributes:
        tolerance: ``(a, b)``: depths agree within ``a + b z^2`` metres at ``z`` metres.
        levels: colours agree within this, of 255, after brightness is equalised.
        ratio: largest brightness ratio.
        own_m: an equal-coloured surface up to this far in front of a point may be the object itself, metres.
        around_m: largest distance of surface points from a keypoint, metres.
        attach_m: largest distance of a keypoint from its object, metres.
        patch_m: radius of the surface patch around a keypoint without an object, metres.
        low_m: points nearer to the supporting plane lie in it, metres.
        link_m: longest gap within one object, metres; at least two and a half pixels.
        points: largest number of points of one surface.
    """

    tolerance: tuple[float, float] = (0.005, 0.004)
    levels: float = 24.0
    ratio: float = 1.9
    own_m: float = 0.06
    around_m: float = 0.09
    attach_m: float = 0.03
    patch_m: float = 0.025
    low_m: float = 0.004
    link_m: float = 0.010
    points: int = 100

    def depth_tolerance(self, z: np.ndarray) -> np.ndarray:
        """Return the tolerance in metres of depths at ``z`` metres."""
        return self.tolerance[0] + self.tolerance[1] * z * z

    def is_same_colour(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return whether ``(..., 3)`` RGB colours agree up to their brightness."""
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        scale = (a * b).sum(-1) / np.maximum((b * b).sum(-1), 1.0)
        rest = np.abs(a - scale[..., None] * b).max(-1)
        return (rest < self.levels * np.maximum(1.0, scale)) & (scale < self.ratio) & (scale > 1 / self.ratio)


@dataclass(frozen=True)
class Surface:
    """Points of a surface in the first image.

    Attributes:
        points: ``(n, 3)`` metres, camera frame.
        colours: ``(n, 3)`` RGB, 0 to 255.
    """

    points: np.ndarray
    colours: np.ndarray

    @property
    def middle(self) -> np.ndarray:
        """Centroid ``(3,)``, metres."""
        return self.points.mean(0)

    def part(self, chosen: np.ndarray) -> Surface:
        """Return the points that ``chosen`` selects."""
        return Surface(self.points[chosen], self.colours[chosen])

    def thinned(self, count: int) -> Surface:
        """Return at most ``count`` evenly selected points."""
        n = len(self.points)
        return self.part(np.linspace(0, n - 1, min(n, count)).round().astype(int))

    def distance(self, pose: np.ndarray, place: np.ndarray) -> float:
        """Return the metres from ``place`` ``(3,)`` to the nearest point of the surface in ``pose``."""
        return float(np.linalg.norm(se3.apply(pose, self.points) - place, axis=1).min())


@dataclass(frozen=True)
class Found:
    """A surface with the keypoints on it.

    Attributes:
        keypoints: ``(k,)`` their indices.
        surface: its visible points.
        is_telling: whether the image would look different without it, or it is the static supporting plane.
    """

    keypoints: np.ndarray
    surface: Surface
    is_telling: bool = True


def find_surfaces(observation: Observation, keypoints: np.ndarray, s: SurfaceSettings) -> list[Found]:
    """Segment the surfaces under ``(K, 3)`` keypoints; keypoints without a surface nearby are omitted.

    An object is a connected region that stands out from its supporting plane.
    """
    step = max(1, round(observation.camera.width / FOUND_WIDTH))
    cloud = unproject(observation.depth, observation.camera)
    cloud, colours = (a[::step, ::step].reshape(-1, 3) for a in (cloud, observation.rgb))
    cloud, colours = (a[np.isfinite(cloud[:, 2])] for a in (cloud, colours))
    away = cKDTree(keypoints).query(cloud, distance_upper_bound=0.25)[0]
    near = np.isfinite(away)
    scene = Surface(cloud[near].astype(np.float64), colours[near])
    try:
        plane = fit_plane(scene.points)
    except ValueError:
        plane = np.array([0.0, 0.0, -1.0, 100.0])  # far behind everything
    things = scene.part(_stands_out(scene, plane, s) & (away[near] < s.around_m))
    things = things.part(voxel_indices(things.points, 0.003))
    pixel = step * float(np.median(things.points[:, 2])) / observation.camera.fx if len(things.points) else 0.0
    thing_of = _linked(things.points, max(s.link_m, 2.5 * pixel))
    members: dict[int, list[int]] = {}
    found = []
    for k, x in enumerate(keypoints):
        to_thing, to_any = (np.linalg.norm(a.points - x, axis=1) for a in (things, scene))
        if len(to_thing) and to_thing.min() < s.attach_m:
            members.setdefault(int(thing_of[to_thing.argmin()]), []).append(k)
        elif (to_any < s.patch_m).sum() >= 4:
            in_plane = bool(x @ plane[:3] + plane[3] < s.low_m)
            found.append(Found(np.array([k]), scene.part(to_any < s.patch_m), in_plane))
    return [Found(np.array(on), things.part(thing_of == thing)) for thing, on in members.items()] + found


def _stands_out(scene: Surface, plane: np.ndarray, s: SurfaceSettings) -> np.ndarray:
    """Return the points that differ from the bare ``plane`` by depth or by colour."""
    z, height = scene.points[:, 2], scene.points @ plane[:3] + plane[3]
    in_plane = np.abs(height) < s.low_m
    bare = np.median(scene.colours[in_plane], axis=0) if in_plane.any() else np.zeros(3)
    plane_z = -plane[3] / np.minimum(scene.points @ plane[:3] / z, -1e-3)
    return (plane_z - z > s.depth_tolerance(z)) | ~s.is_same_colour(scene.colours, bare) & (height > -s.low_m)


def _linked(points: np.ndarray, reach: float) -> np.ndarray:
    """Return the ``(n,)`` cluster index of ``(n, 3)`` points; links are up to ``reach`` metres long."""
    if not len(points):
        return np.zeros(0, int)
    pairs = cKDTree(points).query_pairs(reach, output_type="ndarray")
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(len(points),) * 2)
    return connected_components(graph, directed=False)[1]


class View:
    """One image, compared with a surface in hypothesised poses."""

    def __init__(self, observation: Observation, settings: SurfaceSettings) -> None:
        self._camera, self._settings = observation.camera, settings
        self._depth, self._rgb = observation.depth.reshape(-1), observation.rgb.reshape(-1, 3)

    def votes(self, poses: np.ndarray, surface: Surface) -> np.ndarray:
        """Return ``(h, n)`` votes of the surface's points for each of ``(h, 4, 4)`` poses."""
        s = self._settings
        points = surface.points @ poses[:, :3, :3].swapaxes(1, 2) + poses[:, None, :3, 3]
        index, inside = self._pixels(points)
        depth, z = self._depth[index], points[..., 2]
        inside &= np.isfinite(depth)
        gap = np.where(inside, depth - z, 0.0)
        tolerance = s.depth_tolerance(z)
        alike = s.is_same_colour(self._rgb[index], surface.colours)
        vote = np.where(alike, SAME, OTHER)
        vote[gap > tolerance] = GONE
        before = gap < -tolerance
        vote[before] = np.where(alike & (gap > -s.own_m), NEARER, HIDDEN)[before]
        return np.where(inside, vote, HIDDEN)

    def _pixels(self, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the flat pixel index of each of ``(..., 3)`` points, 0 outside the image, and which lie inside."""
        c, z = self._camera, points[..., 2]
        safe = np.where(z > 0.05, z, 1.0)
        u, v = c.fx * points[..., 0] / safe + c.cx, c.fy * points[..., 1] / safe + c.cy
        inside = (z > 0.05) & (u > -0.5) & (v > -0.5) & (u < c.width - 0.5) & (v < c.height - 0.5)
        column, row = (np.rint(np.where(inside, x, 0.0)).astype(np.intp) for x in (u, v))
        return row * c.width + column, inside

    def contains(self, points: np.ndarray) -> np.ndarray:
        """Return which of ``(n, 3)`` points project into the image."""
        return self._pixels(points)[1]

    def climb(self, pose: np.ndarray, surface: Surface, scales: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Hill-climb from ``pose`` by `STEPS` at each of ``scales``; return the best pose and its ``(n,)`` votes."""
        votes = self.votes(pose[None], surface)[0]
        for scale in scales:
            for _ in range(3):
                poses = moved(pose, surface.middle, scale * STEPS)
                of_poses = self.votes(poses, surface)
                best = int(WORTH[of_poses].mean(1).argmax())
                pose, votes = poses[best], of_poses[best]
                if best == 0:
                    break
        return pose, votes

    def hold(self, pose: np.ndarray, surface: Surface) -> tuple[float, float]:
        """Return the score loss of a two-pixel shift, 0 to 2, along the less and the more informative image axis.

        It is near 0 along an axis that does not determine the surface's position.
        """
        z = float(se3.apply(pose, surface.middle)[2])
        shift = max(2.0 * z / self._camera.fx, 0.008)
        moves = np.zeros((5, 6))
        moves[[1, 2, 3, 4], [0, 0, 1, 1]] = shift, -shift, shift, -shift
        worth = WORTH[self.votes(moved(pose, surface.middle, moves), surface)].mean(1)
        along_u, along_v = (float(worth[0] - worth[i : i + 2].max()) for i in (1, 3))
        return min(along_u, along_v), max(along_u, along_v)


@dataclass(frozen=True)
class Supposed:
    """A hypothesised pose of a surface, with its votes.

    Attributes:
        pose: ``(4, 4)``.
        votes: ``(n,)`` of the surface's points.
        with_hand: whether the surface moves with the hand; otherwise it is at rest.
        is_shifted: whether the pose was refined to fit the image.
    """

    pose: np.ndarray
    votes: np.ndarray
    with_hand: bool
    is_shifted: bool = False

    @property
    def worth(self) -> float:
        """Mean score, -1 to 1."""
        return float(WORTH[self.votes].mean())

    @property
    def share(self) -> float:
        """Fraction of supporting votes; an object that turns in the hand may hide itself."""
        against = (self.votes != SAME) & (self.votes != HIDDEN) & ~(self.with_hand & (self.votes == NEARER))
        same = int((self.votes == SAME).sum())
        return same / max(1, same + int(against.sum()))

    @property
    def is_based(self) -> bool:
        """Whether enough points are seen for a decision."""
        n = len(self.votes)
        return int((self.votes == SAME).sum()) >= min(max(4, 0.06 * n), 0.8 * n)


def moved(pose: np.ndarray, middle: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """Return ``(h, 4, 4)`` poses after ``(h, 6)`` moves: metres, and radians about the centre ``middle`` in
    ``pose``."""
    about = se3.apply(pose, middle)
    out = np.tile(np.eye(4), (len(moves), 1, 1))
    turn = np.array([se3.exp(move[3:]) if move[3:].any() else np.eye(3) for move in moves])
    out[:, :3, :3] = turn @ pose[:3, :3]
    out[:, :3, 3] = turn @ (pose[:3, 3] - about) + about + moves[:, :3]
    return out
