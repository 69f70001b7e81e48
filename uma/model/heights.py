"""Explicit height features above the table (`ModelConfig.heights`).

All inputs are in the camera frame (paper 3.3). There, a small tilt of the camera shifts the table's height by
centimetres at the far end of the reach. Points carry their heights; without these features, the end effector and the
waypoints do not.
"""

from __future__ import annotations

import torch
from torch import Tensor

OCTAVES = (0.8, 0.4, 0.2, 0.1, 0.05)
"""Wavelengths of the height's sines and cosines, metres, halving."""

HEIGHT_FEATURES = 1 + 2 * len(OCTAVES)
"""Width of `features`."""

STATE_FEATURES, WAYPOINT_FEATURES = HEIGHT_FEATURES + 6, 2 * HEIGHT_FEATURES
"""Widths of `of_state` and `of_waypoints`."""


def table(xyz: Tensor, height: Tensor) -> Tensor:
    """Fit the ``(B, 4)`` double plane under ``(B, N, 3)`` points with ``(B, N)`` heights ``n . p + d`` metres.

    The fit is a least-squares solution, because stored heights are an affine function of the positions. ``n`` points
    up.
    """
    x = xyz.detach().double()
    A = torch.cat([x, torch.ones_like(x[..., :1])], -1)
    # A small ridge keeps coplanar and coincident clouds solvable.
    gram = A.transpose(1, 2) @ A + 1e-9 * torch.eye(4, dtype=torch.float64, device=x.device)
    return solve_positive(gram, (A.transpose(1, 2) @ height.detach().double()[..., None])[..., 0])


def solve_positive(A: Tensor, b: Tensor) -> Tensor:
    """Solve ``A x = b`` for ``(B, n)`` x and small positive definite ``(B, n, n)`` A, by an unrolled Cholesky
    factorisation.

    A library solver synchronises with the GPU to detect singular matrices, which a CUDA graph does not permit.
    """
    n = A.shape[-1]
    L: list[list[Tensor]] = [[None] * n for _ in range(n)]  # type: ignore[list-item]
    for i in range(n):
        for j in range(i + 1):
            rest = A[:, i, j] - sum((L[i][k] * L[j][k] for k in range(j)), torch.zeros_like(A[:, i, j]))
            L[i][j] = rest.clamp_min(1e-30).sqrt() if i == j else rest / L[j][j]
    y: list[Tensor] = []
    for i in range(n):
        y.append((b[:, i] - sum((L[i][k] * y[k] for k in range(i)), torch.zeros_like(b[:, i]))) / L[i][i])
    x: list[Tensor] = [y[0]] * n
    for i in reversed(range(n)):
        x[i] = (y[i] - sum((L[k][i] * x[k] for k in range(i + 1, n)), torch.zeros_like(y[i]))) / L[i][i]
    return torch.stack(x, -1)


def over(plane: Tensor, position: Tensor) -> Tensor:
    """Return the ``(B, ...)`` heights in metres of ``(B, ..., 3)`` positions above the ``(B, 4)`` plane."""
    shape = (len(plane), *(1,) * (position.dim() - 2))
    return ((position.double() * plane[:, :3].view(*shape, 3)).sum(-1) + plane[:, 3].view(shape)).to(position.dtype)


def features(height: Tensor) -> Tensor:
    """``(...)`` metres -> ``(..., 11)``: the height, and its phase at the wavelengths `OCTAVES`."""
    # Computed on the device, because copying a constant from the host would break a CUDA graph.
    octave = torch.arange(len(OCTAVES), device=height.device, dtype=height.dtype)
    angle = height[..., None] * (2 * torch.pi / OCTAVES[0] * torch.exp2(octave))
    return torch.cat([height[..., None] / OCTAVES[2], angle.sin(), angle.cos()], -1)


def of_state(plane: Tensor, pose: Tensor) -> Tensor:
    """Return ``(B, 17)`` of ``(B, 4, 4)`` T_cam_ee: its height, and the up direction in both frames."""
    up = torch.nn.functional.normalize(plane[:, :3], dim=-1).to(pose.dtype)
    return torch.cat([features(over(plane, pose[:, :3, 3])), up, (up[:, None] @ pose[:, :3, :3])[:, 0]], -1)


def of_waypoints(plane: Tensor, position: Tensor, start: Tensor) -> Tensor:
    """Return ``(B, 22)`` features per waypoint: its height and its keypoint's start height; inputs are ``(B, L,
    3)``."""
    return torch.cat([features(over(plane, position)), features(over(plane, start))], -1)
