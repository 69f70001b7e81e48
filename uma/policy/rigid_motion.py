"""Surfaces that may move: found at the start around keypoints, then compared with an image in a supposed pose.

A pose is a ``(4, 4)`` motion since the start, in the camera frame. Plain things have no texture to follow, but depth
and colour tell where they are and where they are not.
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
"""Votes of a point, in this order: something is before it; it is seen; another colour is there; what is seen lies
farther; its own colour is before it."""

WORTH = np.array([0.0, 1.0, -0.5, -1.0, -0.3])
"""What each vote counts for a pose."""

STEPS = np.concatenate([np.zeros((1, 6)), np.eye(6), -np.eye(6)]) * np.array([0.003] * 3 + [0.05] * 3)
"""``(13, 6)`` small motions that `View.climb` tries, none first: metres and radians."""

FOUND_WIDTH = 640
"""Surfaces are found in about this many pixels of image width."""


@dataclass(frozen=True)
class SurfaceSettings:
    """Limits of what belongs to a surface and of what agrees with an image.

    Attributes:
        tolerance: ``(a, b)``: depths agree within ``a + b z^2`` metres at ``z`` metres.
        levels: colours agree within this, of 255, once the brightness is made equal.
        ratio: the brightness may differ by this factor.
        own_m: a surface of the same colour up to this far before a point may be the thing itself, metres.
        around_m: surface points lie within this distance of a keypoint, metres.
        attach_m: a keypoint this near a thing belongs to it, metres.
        patch_m: radius of the surface around a keypoint that belongs to no thing, metres.
        low_m: what is this near the supporting plane lies in it, metres.
        link_m: longest gap within one thing, metres; at least two and a half pixels.
        points: most points of one surface.
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
        """Metres by which depths at ``z`` metres may differ."""
        return self.tolerance[0] + self.tolerance[1] * z * z

    def is_same_colour(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Whether ``(..., 3)`` RGB colours are alike but for their brightness."""
        a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
        scale = (a * b).sum(-1) / np.maximum((b * b).sum(-1), 1.0)
        rest = np.abs(a - scale[..., None] * b).max(-1)
        return (rest < self.levels * np.maximum(1.0, scale)) & (scale < self.ratio) & (scale > 1 / self.ratio)


@dataclass(frozen=True)
class Surface:
    """Points of a surface where they are at the start.

    Attributes:
        points: ``(n, 3)`` metres, camera frame.
        colours: ``(n, 3)`` RGB, 0 to 255.
    """

    points: np.ndarray
    colours: np.ndarray

    @property
    def middle(self) -> np.ndarray:
        """``(3,)`` metres."""
        return self.points.mean(0)

    def part(self, chosen: np.ndarray) -> Surface:
        """The points that ``chosen`` picks."""
        return Surface(self.points[chosen], self.colours[chosen])

    def thinned(self, count: int) -> Surface:
        """At most ``count`` points, evenly taken."""
        n = len(self.points)
        return self.part(np.linspace(0, n - 1, min(n, count)).round().astype(int))

    def distance(self, pose: np.ndarray, place: np.ndarray) -> float:
        """Metres from ``place`` ``(3,)`` to the nearest point of the surface in ``pose``."""
        return float(np.linalg.norm(se3.apply(pose, self.points) - place, axis=1).min())


@dataclass(frozen=True)
class Found:
    """A surface with the keypoints on it.

    Attributes:
        keypoints: ``(k,)`` their indices.
        surface: what the image shows of it.
        is_telling: an image without it would look different; or it is the supporting plane, which stays.
    """

    keypoints: np.ndarray
    surface: Surface
    is_telling: bool = True


def find_surfaces(observation: Observation, keypoints: np.ndarray, s: SurfaceSettings) -> list[Found]:
    """The surfaces that ``(K, 3)`` keypoints lie on; those with no surface near are left out.

    A thing is what stands out from the plane that supports it, and is linked without a gap.
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
    """Which points an image of the bare ``plane`` would be told from, by depth or by colour."""
    z, height = scene.points[:, 2], scene.points @ plane[:3] + plane[3]
    in_plane = np.abs(height) < s.low_m
    bare = np.median(scene.colours[in_plane], axis=0) if in_plane.any() else np.zeros(3)
    plane_z = -plane[3] / np.minimum(scene.points @ plane[:3] / z, -1e-3)
    return (plane_z - z > s.depth_tolerance(z)) | ~s.is_same_colour(scene.colours, bare) & (height > -s.low_m)


def _linked(points: np.ndarray, reach: float) -> np.ndarray:
    """``(n,)`` number of the group of each of ``(n, 3)`` points; links are up to ``reach`` metres long."""
    if not len(points):
        return np.zeros(0, int)
    pairs = cKDTree(points).query_pairs(reach, output_type="ndarray")
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(len(points),) * 2)
    return connected_components(graph, directed=False)[1]


class View:
    """One image, to be asked how well a surface in some pose agrees with it."""

    def __init__(self, observation: Observation, settings: SurfaceSettings) -> None:
        self._camera, self._settings = observation.camera, settings
        self._depth, self._rgb = observation.depth.reshape(-1), observation.rgb.reshape(-1, 3)

    def votes(self, poses: np.ndarray, surface: Surface) -> np.ndarray:
        """``(h, n)`` votes of the surface's points on each of ``(h, 4, 4)`` poses."""
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
        """Flat pixel index of each of ``(..., 3)`` points, 0 outside the image, and which lie inside."""
        c, z = self._camera, points[..., 2]
        safe = np.where(z > 0.05, z, 1.0)
        u, v = c.fx * points[..., 0] / safe + c.cx, c.fy * points[..., 1] / safe + c.cy
        inside = (z > 0.05) & (u > -0.5) & (v > -0.5) & (u < c.width - 0.5) & (v < c.height - 0.5)
        column, row = (np.rint(np.where(inside, x, 0.0)).astype(np.intp) for x in (u, v))
        return row * c.width + column, inside

    def sees(self, points: np.ndarray) -> np.ndarray:
        """Which of ``(n, 3)`` points project into the image."""
        return self._pixels(points)[1]

    def climb(self, pose: np.ndarray, surface: Surface, scales: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
        """The best pose that a few `STEPS`, times each of ``scales``, reach from ``pose``, and its ``(n,)`` votes."""
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
        """What a shift by two pixels costs, 0 to 2, along the less and the more telling image axis.

        It is near 0 along an axis on which the surface's place cannot be seen.
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
    """A supposed pose of a surface, and what the image says about it.

    Attributes:
        pose: ``(4, 4)``.
        votes: ``(n,)`` of the surface's points.
        with_hand: the surface goes with the hand, else it lies still.
        is_shifted: the pose was moved to fit.
    """

    pose: np.ndarray
    votes: np.ndarray
    with_hand: bool
    is_shifted: bool = False

    @property
    def worth(self) -> float:
        """-1 to 1."""
        return float(WORTH[self.votes].mean())

    @property
    def share(self) -> float:
        """Share of the points that speak for it; a thing that turns in the hand may cover itself."""
        against = (self.votes != SAME) & (self.votes != HIDDEN) & ~(self.with_hand & (self.votes == NEARER))
        same = int((self.votes == SAME).sum())
        return same / max(1, same + int(against.sum()))

    @property
    def is_based(self) -> bool:
        """Enough points are seen to judge by."""
        n = len(self.votes)
        return int((self.votes == SAME).sum()) >= min(max(4, 0.06 * n), 0.8 * n)


def moved(pose: np.ndarray, middle: np.ndarray, moves: np.ndarray) -> np.ndarray:
    """``(h, 4, 4)`` poses after ``(h, 6)`` moves: metres, and radians about where ``pose`` puts ``middle``."""
    about = se3.apply(pose, middle)
    out = np.tile(np.eye(4), (len(moves), 1, 1))
    turn = np.array([se3.exp(move[3:]) if move[3:].any() else np.eye(3) for move in moves])
    out[:, :3, :3] = turn @ pose[:3, :3]
    out[:, :3, 3] = turn @ (pose[:3, 3] - about) + about + moves[:, :3]
    return out
