"""How high things are over the table, spelled out as features (`ModelConfig.heights`).

Everything a model is told is in the camera's frame (paper 3.3), and a camera that is tilted by a degree sees the table
a centimetre and more higher or lower at the far end of the reach. Only the points say how high they are; for the end
effector and for waypoints it would have to be inferred from these.
"""

from __future__ import annotations

import torch
from torch import Tensor

OCTAVES = (0.8, 0.4, 0.2, 0.1, 0.05)
"""Wavelengths, metres, of the sines and cosines in which a height is told, each half of the one before."""

HEIGHT_FEATURES = 1 + 2 * len(OCTAVES)
"""Width of `features`."""

STATE_FEATURES, WAYPOINT_FEATURES = HEIGHT_FEATURES + 6, 2 * HEIGHT_FEATURES
"""Widths of `of_state` and `of_waypoints`."""


def table(xyz: Tensor, height: Tensor) -> Tensor:
    """``(B, 4)`` double: the plane over which ``(B, N, 3)`` points have ``(B, N)`` heights, ``n . p + d`` metres, by
    least squares: stored heights are an affine function of the positions. ``n`` is the normal, up."""
    x = xyz.detach().double()
    A = torch.cat([x, torch.ones_like(x[..., :1])], -1)
    # The small ridge keeps clouds that lie in a plane or in one place solvable.
    gram = A.transpose(1, 2) @ A + 1e-9 * torch.eye(4, dtype=torch.float64, device=x.device)
    return solve_positive(gram, (A.transpose(1, 2) @ height.detach().double()[..., None])[..., 0])


def solve_positive(A: Tensor, b: Tensor) -> Tensor:
    """``(B, n)`` solution of ``A x = b`` for small positive definite ``(B, n, n)`` A, by an unrolled Cholesky factor.

    A library solver on a GPU waits for the device to report singular matrices, which no CUDA graph may do.
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
    """``(B, ...)`` metres that ``(B, ..., 3)`` positions are over the ``(B, 4)`` plane."""
    shape = (len(plane), *(1,) * (position.dim() - 2))
    return ((position.double() * plane[:, :3].view(*shape, 3)).sum(-1) + plane[:, 3].view(shape)).to(position.dtype)


def features(height: Tensor) -> Tensor:
    """``(...)`` metres -> ``(..., 11)``: the height, and where it lies in waves of `OCTAVES`."""
    # Halving wavelengths, made on the device: a constant copied from the host would break a CUDA graph.
    octave = torch.arange(len(OCTAVES), device=height.device, dtype=height.dtype)
    angle = height[..., None] * (2 * torch.pi / OCTAVES[0] * torch.exp2(octave))
    return torch.cat([height[..., None] / OCTAVES[2], angle.sin(), angle.cos()], -1)


def of_state(plane: Tensor, pose: Tensor) -> Tensor:
    """``(B, 17)`` of ``(B, 4, 4)`` T_cam_ee: its height, and the way up in the camera's frame and in its own."""
    up = torch.nn.functional.normalize(plane[:, :3], dim=-1).to(pose.dtype)
    return torch.cat([features(over(plane, pose[:, :3, 3])), up, (up[:, None] @ pose[:, :3, :3])[:, 0]], -1)


def of_waypoints(plane: Tensor, position: Tensor, start: Tensor) -> Tensor:
    """``(B, L, 22)`` of ``(B, L, 3)`` waypoints: their heights, and those of their keypoints at the start."""
    return torch.cat([features(over(plane, position)), features(over(plane, start))], -1)
