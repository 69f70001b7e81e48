"""GPU counterpart of `uma.model.cloud` with static shapes only, for CUDA graphs and compiled graphs.

Masks replace NumPy's selections. So no size depends on the data, and nothing waits for the device.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from uma.geometry.point_cloud import CURVE_BITS, PLANE_SAMPLE, reversed_bits, spaced_bits
from uma.model import cloud
from uma.model.config import PointConfig
from uma.types import InputError

OVER, CANDIDATES, SEARCHED = 16384, 4096, 2048
"""Capacities for points above the table, for voxel points of a stratum, and for its farthest-point search.

Surplus points are thinned evenly. `CANDIDATES` is raised to at least twice the points of a stratum. The distance matrix
of the search takes 50 MB.
"""

CELL_BITS = 13
"""Bits of a voxel index along each axis: with voxels of 4 mm, 16 m on either side of the camera."""

SQUARINGS = 6
"""Matrix squarings that separate the eigenvectors, see `smallest_eigenvector`."""


class DeviceCloud(NamedTuple):
    """A `uma.model.cloud.PointSet` as tensors, which may be invalid: see `check`.

    Attributes:
        xyz: ``(N, 3)`` float32 metres, camera frame.
        rgb: ``(N, 3)`` uint8.
        height: ``(N,)`` float32 metres above the supporting plane.
        plane: ``(4,)`` float64 unit normal and offset (metres), camera frame; zeros if all points lie on one line.
        counts: ``(2,)`` int64, valid pixels after the reduction and points above the table.
    """

    xyz: Tensor
    rgb: Tensor
    height: Tensor
    plane: Tensor
    counts: Tensor


def check(result: DeviceCloud, config: PointConfig) -> None:
    """Refuse an image as `uma.model.cloud.point_set` does. Waits for the device.

    Raises:
        InputError: too few valid depth pixels to find the table, or too few points above it.
    """
    valid, above = result.counts.tolist()
    cloud.check_valid(valid, config)
    if not result.plane.any():
        raise InputError("depth: plane: all points lie on one line")
    cloud.check_above(above)


class CloudPreparation(nn.Module):
    """Turns images of one size, ``(H, W)`` depth and colours, into a `DeviceCloud`.

    The algorithm is the same as in `uma.model.cloud.point_set`: reduction, plane, strata, voxels, spread. Three steps
    differ:

    * RANSAC samples the valid pixels with a fixed jitter, so planes agree up to the depth noise.
    * `OVER`, `CANDIDATES` and `SEARCHED` bound the points of each stage; surplus points are thinned evenly in row
      order.
    * The plane's normal comes from repeated squaring, because an eigenvalue solver waits for the device.

    The farthest-point loop is sequential. With the matrix, one step takes three small kernels for the three strata
    together. Only the first ``head`` points of a stratum are exact, because only the PointNet++ centres need them. The
    rest follow a space-filling curve in van der Corput order, at the cost of two sorts. Centres on the first 1/8 of the
    list need a ``head`` of 1/8 of the largest stratum.

    Args:
        height, width: of the images, pixels.
        config: points per stratum and crop ranges.
        head: largest number of farthest-point steps; bounded by `SEARCHED`.
        matrix: precompute a distance matrix, which is faster where kernel launches dominate; otherwise compute
            distances per step. None = on CUDA devices. Results are equal.
        hypotheses, tolerance: of the plane, as in `uma.geometry.point_cloud.fit_plane`.
    """

    probes: Tensor
    slots: Tensor
    jitter: Tensor
    triples: Tensor
    voxels: Tensor
    spaced: Tensor
    reversed: Tensor
    interleaving: Tensor

    def __init__(
        self,
        height: int,
        width: int,
        config: PointConfig,
        *,
        head: int = cloud.HEAD,
        matrix: bool | None = None,
        hypotheses: int = 96,
        tolerance: float = 0.006,
    ) -> None:
        super().__init__()
        self.height, self.width, self.config, self.tolerance, self.matrix = height, width, config, tolerance, matrix
        self.counts, self.head = cloud.counts(config), min(head, SEARCHED)
        rng = np.random.default_rng(0)
        probes = cloud.probe_pixels(height, width)
        self.over = min(OVER, probes.shape[1])
        self.candidates = min(self.over, max(CANDIDATES, 2 * max(self.counts)))
        self.searched = min(self.candidates, SEARCHED)
        constants = {
            "probes": probes,
            "slots": np.arange(max(self.over, max(self.counts))),
            "jitter": np.arange(PLANE_SAMPLE) + rng.random(PLANE_SAMPLE),
            "triples": rng.integers(0, PLANE_SAMPLE, (3, hypotheses)),
            "voxels": np.array(cloud.VOXELS_M, np.float32)[:, None, None],
            "spaced": spaced_bits(),
            "reversed": reversed_bits(),
            "interleaving": cloud.interleaving(self.counts),
        }
        for name, value in constants.items():
            self.register_buffer(name, torch.from_numpy(value), persistent=False)

    def forward(self, depth: Tensor, rgb: Tensor, intrinsics: Tensor, ee_position: Tensor) -> DeviceCloud:
        """Prepare one image.

        Args:
            depth: ``(H, W)`` float32 metres, NaN where invalid.
            rgb: ``(H, W, 3)`` uint8.
            intrinsics: ``(4,)`` fx, fy, cx, cy in pixels.
            ee_position: ``(3,)`` metres, camera frame.
        """
        config = self.config
        pixel, z, is_valid = self.representatives(depth)
        xyz = unprojected(pixel, z, intrinsics.to(torch.float32), self.width)
        plane = self.plane(xyz, is_valid)
        height = (xyz.double() @ plane[:3] + plane[3]).float()
        is_near = (xyz.double() - ee_position.double()).square().sum(1) < config.near_m**2
        is_above = is_valid & (height > config.table_m) & (is_near | (height < config.height_m))
        count = torch.stack([is_valid.sum(), is_above.sum()])

        index, is_used = packed(is_above, self.slots[: self.over])
        xyz, height, is_near, pixel = xyz[index], height[index], is_near[index], pixel[index]
        is_low = ~is_near & (height < config.low_m)
        members = torch.stack([is_near, is_low, ~is_near & ~is_low]) & is_used
        members = members | (~members.any(1, keepdim=True) & is_used)
        chosen = self.drawn(xyz, members)[self.interleaving]
        return DeviceCloud(xyz[chosen], rgb.reshape(-1, 3)[pixel[chosen]], height[chosen], plane, count)

    def representatives(self, depth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return flat pixel, depth (0 if none) and validity of each block of ``(H, W)`` depth, each ``(P,)``."""
        z = depth.reshape(-1)[self.probes]
        is_valid = (z > 0) & (z < self.config.range_m)
        first = is_valid.int().argmax(0, keepdim=True)  # the first of equals
        is_found = is_valid.any(0)
        z = z.gather(0, first)[0]
        return self.probes.gather(0, first)[0], torch.where(is_found, z, torch.zeros_like(z)), is_found

    def plane(self, xyz: Tensor, is_valid: Tensor) -> Tensor:
        """Fit the ``(4,)`` float64 plane of valid ``(P, 3)`` points; the normal points toward the camera."""
        rank = is_valid.cumsum(0)
        wanted = (self.jitter * rank[-1] / PLANE_SAMPLE).long() + 1
        sample = xyz[torch.searchsorted(rank, wanted).clamp(max=len(rank) - 1)].double()
        a, b, c = (sample[i] for i in self.triples)
        normals = torch.linalg.cross(b - a, c - a)
        norms = normals.norm(dim=1, keepdim=True)
        is_plane = norms > 1e-6
        normals = torch.where(is_plane, normals / norms.clamp(min=1e-6), torch.zeros_like(normals))
        offsets = -(normals * a).sum(1)
        votes = ((sample @ normals.T + offsets).abs() < self.tolerance).sum(0)
        best = torch.where(is_plane[:, 0], votes, torch.full_like(votes, -1)).argmax(0, keepdim=True)
        plane = torch.cat([normals.index_select(0, best)[0], offsets.index_select(0, best)])
        for _ in range(2):
            plane = polished(plane, sample, self.tolerance)
        plane = torch.where(plane[3] > 0, plane, -plane)
        return torch.where(is_plane.any(), plane, torch.zeros_like(plane))

    def drawn(self, xyz: Tensor, members: Tensor) -> Tensor:
        """Return ``(N,)`` indices into ``(M, 3)`` points for the strata of the ``(3, M)`` masks, one after another."""
        is_kept = first_of_voxels(xyz, members, self.voxels)
        index, is_used = packed(is_kept, self.slots[: self.candidates])
        points, size = xyz[index], is_used.sum(1, keepdim=True)
        slots = self.slots[: self.searched]
        searched = thinned(size, slots)
        among = points.gather(1, searched[:, :, None].expand(-1, -1, 3))
        matrix = xyz.is_cuda if self.matrix is None else self.matrix
        order = searched.gather(1, farthest(among, slots < size, min(self.head, max(self.counts)), matrix))
        rest = self.rest(points, is_used, order) if max(self.counts) > self.head else order[:, :0]
        strata = []
        for k, count in enumerate(self.counts):
            listed = order[k, :count]
            if count > self.head:
                listed = torch.cat([listed, rest[k, : count - self.head]])
            strata.append(index[k][listed[self.slots[:count] % size[k].clamp(min=1)]])
        return torch.cat(strata)

    def rest(self, points: Tensor, is_used: Tensor, head: Tensor) -> Tensor:
        """Return ``(3, C)`` indices of ``(3, C, 3)`` points outside ``(3, h)`` ``head``, as `spread_points`."""
        half = 1 << (CURVE_BITS - 1)
        left = is_used.scatter(1, head, torch.zeros_like(head, dtype=torch.bool))
        cells = (points / self.voxels).floor().long().add(half).clamp(0, 2 * half - 1)
        x, y, z = self.spaced[cells].unbind(2)
        along = sorted_indices((x << 2) | (y << 1) | z, left)
        number = left.sum(1, keepdim=True)
        slots = self.slots[: self.candidates].expand_as(along)
        turn = self.reversed[(slots * 65536 // number.clamp(min=1)).clamp(max=65535)]
        return along.gather(1, sorted_indices(turn, slots < number))


def unprojected(pixel: Tensor, z: Tensor, intrinsics: Tensor, width: int) -> Tensor:
    """Return ``(P, 3)`` float32 points in the camera frame of flat pixels at depths ``z``, see
    `uma.geometry.camera`."""
    row = pixel // width
    fx, fy, cx, cy = intrinsics.unbind(0)
    u, v = ((pixel - row * width).float() - cx) / fx, (row.float() - cy) / fy
    return torch.stack([z * u, z * v, z], 1)


def polished(plane: Tensor, sample: Tensor, tolerance: float) -> Tensor:
    """Return the least-squares plane ``(4,)`` of the ``(n, 3)`` points near ``plane``, or ``plane`` if they are few."""
    weight = ((sample @ plane[:3] + plane[3]).abs() < tolerance).to(sample.dtype)
    total = weight.sum()
    centre = weight @ sample / total.clamp(min=1)
    offset = sample - centre
    normal = smallest_eigenvector((offset * weight[:, None]).T @ offset, plane[:3])
    return torch.where(total < 10, plane, torch.cat([normal, -(normal @ centre)[None]]))


def smallest_eigenvector(covariance: Tensor, guess: Tensor) -> Tensor:
    """Return the unit eigenvector of the least eigenvalue of a ``(3, 3)`` covariance.

    The adjugate has the eigenvectors of the inverse. `SQUARINGS` squarings equal 2 ** `SQUARINGS` iterations of inverse
    iteration, without a division. ``guess`` must not be orthogonal to the result.
    """
    a, b, c = covariance.unbind(0)
    inverse = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)])
    for _ in range(SQUARINGS):
        inverse = inverse / inverse.diagonal().sum().clamp(min=1e-300)
        inverse = inverse @ inverse
    vector = inverse @ guess
    return vector / vector.norm().clamp(min=1e-300)


def packed(mask: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``(..., S)`` indices of the set entries of ``(..., n)`` ``mask`` in order, and which places are used.

    If more than S entries are set, they are thinned evenly. ``slots`` is ``(S,)`` 0 to S - 1.
    """
    rank = mask.cumsum(-1)
    total = rank[..., -1:]
    index = torch.searchsorted(rank, thinned(total, slots) + 1).clamp(max=mask.shape[-1] - 1)
    return index, slots < total


def thinned(total: Tensor, slots: Tensor) -> Tensor:
    """Return ``(..., S)`` evenly spaced numbers below ``(..., 1)`` ``total``; if ``total`` is at most S, 0 to S - 1."""
    return torch.where(total > len(slots), slots * total // len(slots), slots.expand(*total.shape[:-1], -1))


def sorted_indices(key: Tensor, mask: Tensor) -> Tensor:
    """Return ``(k, n)`` indices that sort ``(k, n)`` int64 keys below 2 ** 40; keys outside ``mask`` come last."""
    bits = key.shape[1].bit_length()
    key = torch.where(mask, key, torch.full_like(key, 1 << 40))
    place = torch.ones_like(key).cumsum(1) - 1
    return ((key << bits) | place).sort(1).values & ((1 << bits) - 1)


def first_of_voxels(xyz: Tensor, members: Tensor, size: Tensor) -> Tensor:
    """Return ``(k, M)`` bool: the first point in each occupied voxel of each of k strata.

    Args:
        xyz: ``(M, 3)`` metres.
        members: ``(k, M)`` bool.
        size: ``(k, 1, 1)`` voxel edges, metres.
    """
    half = 1 << (CELL_BITS - 1)
    x, y, z = (xyz / size).floor().long().add(half).clamp(0, 2 * half - 1).unbind(2)
    key = (((x << CELL_BITS) | y) << CELL_BITS) | z
    order = sorted_indices(key, members)
    cell = torch.where(members, key, torch.full_like(key, -1)).gather(1, order)
    is_first = torch.ones_like(members)
    is_first[:, 1:] = cell[:, 1:] != cell[:, :-1]
    return torch.zeros_like(members).scatter(1, order, is_first) & members


def farthest(points: Tensor, mask: Tensor, steps: int, matrix: bool) -> Tensor:
    """Return ``(k, steps)`` indices of masked points in farthest-point order, see `farthest_points`.

    If a row has fewer points than steps, its indices repeat.

    Args:
        points: ``(k, C, 3)`` float32 metres.
        mask: ``(k, C)`` bool.
        steps: length of the loop.
        matrix: as for `CloudPreparation`.
    """
    weight = mask.to(points.dtype)
    mean = (points * weight[..., None]).sum(1, keepdim=True) / weight.sum(1).clamp(min=1)[:, None, None]
    infinity = torch.full_like(weight, torch.inf)
    first = torch.where(mask, (points - mean).square().sum(2), infinity).argmin(1, keepdim=True)
    distance = torch.where(mask, infinity, torch.full_like(weight, -1.0))
    rows = squared_distances(points, points) if matrix else points
    chosen = [first]
    for _ in range(1, steps):
        row = rows.gather(1, chosen[-1][:, :, None].expand(-1, 1, rows.shape[2]))
        square = row if matrix else squared_distances(row, points)
        distance = torch.minimum(distance, square[:, 0])
        chosen.append(distance.argmax(1, keepdim=True))
    return torch.cat(chosen, 1)


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Return ``(k, m, n)`` squared distances between ``(k, m, 3)`` and ``(k, n, 3)``.

    They are computed axis by axis, because a matrix product would lose small distances.
    """
    (u, v), *others = zip(a.unbind(2), b.unbind(2), strict=True)
    total = (u[:, :, None] - v[:, None]).square()
    for u, v in others:
        total = total + (u[:, :, None] - v[:, None]).square()
    return total
