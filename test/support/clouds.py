"""Arguments of the cloud on a device, and how far two clouds are apart."""

import numpy as np
import torch
from scipy.spatial import cKDTree

from uma.model.config import PointConfig
from uma.types import Observation

SPARSE = PointConfig(near=40, low=60, rest=30)
"""More points than `HEAD` steps of the loop where tests ask for few steps."""


def tensors(o: Observation, device: str = "cpu") -> tuple[torch.Tensor, ...]:
    """The arguments of `CloudPreparation.forward`."""
    c = o.camera
    intrinsics = torch.tensor([c.fx, c.fy, c.cx, c.cy], dtype=torch.float64)
    parts = torch.from_numpy(o.depth), torch.from_numpy(o.rgb), intrinsics, torch.from_numpy(o.T_cam_ee[:3, 3].copy())
    return tuple(p.to(device) for p in parts)


def chamfer(a: np.ndarray, b: np.ndarray) -> float:
    """Mean distance to the nearest point of the other cloud, both ways, metres."""
    return (cKDTree(a).query(b)[0].mean() + cKDTree(b).query(a)[0].mean()) / 2
