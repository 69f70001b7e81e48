"""The rotation between two sets of points, by least squares (`fit`), from sums that task tokens can state.

A mean of products states a rotation only where the points determine it, so two of them can be combined before the fit.
"""

from __future__ import annotations

import torch
from torch import Tensor

PRODUCTS = 9
"""Width of a stated mean of products, ``(3, 3)`` row by row."""

LEAST = 0.03
"""Weight of no rotation against products whose trace is at most 1. It decides where the points do not."""

SHIFT, SQUARINGS = 1.2, 8
"""Of the iteration: makes every eigenvalue positive, and raises their ratios to the power of 256."""


def product(a: Tensor, b: Tensor) -> Tensor:
    """Matrix products in full precision, which autocast would round."""
    return (a[..., :, :, None] * b[..., None, :, :]).sum(-2)


def fit(products: Tensor) -> Tensor:
    """Return the rotations ``(..., 3, 3)`` R that maximise tr(R^T (H + `LEAST` I)) for means H of ``now then^T``.

    For points with ``now = R then`` this is R, as far as the points determine it: collinear points are not turned about
    their line, and without products R is the identity. Where two rotations fit equally, the result is between them.

    Davenport's method: the unit quaternion of R is the eigenvector of the largest eigenvalue of a symmetric matrix.
    Repeated squaring finds it, and its gradient is finite everywhere.

    Args:
        products: ``(..., 3, 3)`` H, of trace at most 1.
    """
    H = products.float()
    eye, four = torch.eye(3, device=H.device), torch.eye(4, device=H.device)
    trace = H.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    skew = torch.stack([H[..., 2, 1] - H[..., 1, 2], H[..., 0, 2] - H[..., 2, 0], H[..., 1, 0] - H[..., 0, 1]], -1)
    below = torch.cat([skew[..., :, None], H + H.mT - trace * eye], -1)
    K = torch.cat([torch.cat([trace, skew[..., None, :]], -1), below], -2)
    K = K + LEAST * (4 * four[:, :1] * four[:1] - four) + SHIFT * four
    for _ in range(SQUARINGS):
        K = product(K, K)
        K = K / K.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
    ww, xx, yy, zz = K.diagonal(dim1=-2, dim2=-1).unbind(-1)
    wx, wy, wz, xy, xz, yz = (2 * K[..., i, j] for i, j in ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)))
    rows = (ww + xx - yy - zz, xy - wz, xz + wy, xy + wz, ww - xx + yy - zz, yz - wx, xz - wy, yz + wx)
    return torch.stack([*rows, ww - xx - yy + zz], -1).unflatten(-1, (3, 3))


def log(R: Tensor) -> Tensor:
    """``(..., 3, 3)`` rotations -> ``(..., 3)`` axis times angle, radians; 0 to about 3."""
    sine = torch.stack([R[..., 2, 1] - R[..., 1, 2], R[..., 0, 2] - R[..., 2, 0], R[..., 1, 0] - R[..., 0, 1]], -1) / 2
    length = (sine.square().sum(-1, keepdim=True) + 1e-12).sqrt()
    cosine = (R.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True) - 1.0) / 2.0
    return sine * torch.atan2(length, cosine) / length


def exp(vector: Tensor) -> Tensor:
    """``(..., 3)`` axis times angle, radians -> ``(..., 3, 3)`` rotations."""
    angle = (vector.square().sum(-1)[..., None, None] + 1e-12).sqrt()
    x, y, z = vector.unbind(-1)
    o = torch.zeros_like(x)
    cross = torch.stack([o, -z, y, z, o, -x, -y, x, o], -1).unflatten(-1, (3, 3)) / angle
    eye = torch.eye(3, device=vector.device, dtype=vector.dtype)
    return eye + angle.sin() * cross + (1 - angle.cos()) * product(cross, cross)
