"""Observation tokens and the task encoder h_psi (paper 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from uma.model.attention import CrossAttention, SelfAttention
from uma.model.config import ModelConfig
from uma.model.inputs import Normalization
from uma.model.pointnet import PointEncoder


@dataclass(frozen=True)
class PointBatch:
    """Points of a batch: ``xyz`` ``(B, N, 3)`` metres in the camera frame, ``rgb`` ``(B, N, 3)`` in [0, 1], ``height`` ``(B, N)`` metres."""

    xyz: Tensor
    rgb: Tensor
    height: Tensor


@dataclass(frozen=True)
class EndEffectorBatch:
    """Measured state: ``pose`` ``(B, 4, 4)`` = T_cam_ee, ``gripper`` ``(B,)`` in [0, 1]."""

    pose: Tensor
    gripper: Tensor


@dataclass(frozen=True)
class ReferenceBatch:
    """Padded reference tokens: ``position`` and ``start`` ``(B, L, 3)`` metres, ``phase`` ``(B, L)``, ``is_valid`` ``(B, L)`` bool."""

    position: Tensor
    start: Tensor
    phase: Tensor
    is_valid: Tensor


def mlp(a: int, b: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(a, b), nn.GELU(approximate="tanh"), nn.Linear(b, b))


class ObservationEncoder(nn.Module):
    """RGB-D points and the end-effector state to context tokens.

    Point features are colour, height over the table and position: in the camera frame and, with proprioception, also
    relative to the end effector along the camera's axes and in its own frame.
    """

    def __init__(self, config: ModelConfig, norm: Normalization):
        super().__init__()
        self.config, self.normalization = config, norm
        position_width = 10 if config.proprioception else 4
        self.points = PointEncoder(config, position_width + 3, position_width)
        if config.proprioception:
            self.end_effector = mlp(10, config.width)

    def forward(self, points: PointBatch, ee: EndEffectorBatch) -> Tensor:
        """``(B, G + 1, d)`` tokens, the last one the end effector (absent without proprioception)."""
        n = self.normalization
        center = points.xyz.new_tensor(n.point_center)
        position = [(points.xyz - center) / n.point_scale, points.height[..., None] / n.local_scale]
        if self.config.proprioception:
            relative = (points.xyz - ee.pose[:, None, :3, 3]) / n.local_scale
            # tanh keeps far points from drowning the centimetres around the fingers
            position += [torch.tanh(relative), torch.tanh(relative @ ee.pose[:, :3, :3])]
        position = torch.cat(position, -1)
        tokens = self.points(points.xyz, torch.cat([position, points.rgb * 2 - 1], -1), position)
        if not self.config.proprioception:
            return tokens
        R = ee.pose[:, :3, :3]
        state = torch.cat([(ee.pose[:, :3, 3] - center) / n.point_scale, R[..., 0], R[..., 1], 2 * ee.gripper[:, None] - 1], -1)
        return torch.cat([tokens, self.end_effector(state)[:, None]], 1)


class TaskEncoder(nn.Module):
    """h_psi: M task tokens from the initial observation and a sparse reference motion (paper Eq. 3).

    Every waypoint is a token of its position, its displacement from the keypoint's start and its phase in [0, 1];
    the tokens attend to the features of the initial point cloud and to each other, and M learned queries gather them.
    """

    def __init__(self, config: ModelConfig, norm: Normalization):
        super().__init__()
        d, h = config.width, config.heads
        self.normalization = norm
        self.points = PointEncoder(config, 7, 4)
        self.waypoint = mlp(7, d)
        self.to_points = nn.ModuleList(CrossAttention(d, h) for _ in range(config.task_layers))
        self.among = nn.ModuleList(SelfAttention(d, h) for _ in range(config.task_layers))
        self.ffn = nn.ModuleList(mlp(d, d) for _ in range(config.task_layers))
        self.norms = nn.ModuleList(nn.LayerNorm(d) for _ in range(3 * config.task_layers))
        self.queries = nn.Parameter(torch.randn(config.task_tokens, d) * 0.5)
        self.gather = CrossAttention(d, h)
        self.gather_norm = nn.LayerNorm(d)
        self.out = nn.Sequential(nn.LayerNorm(d), mlp(d, d), nn.LayerNorm(d))

    def forward(self, points: PointBatch, reference: ReferenceBatch) -> Tensor:
        """``(B, M, d)`` task tokens."""
        n = self.normalization
        center = points.xyz.new_tensor(n.point_center)
        position = torch.cat([(points.xyz - center) / n.point_scale, points.height[..., None] / n.local_scale], -1)
        cloud = self.points(points.xyz, torch.cat([position, points.rgb * 2 - 1], -1), position)
        z = self.waypoint(
            torch.cat(
                [(reference.position - center) / n.point_scale, (reference.position - reference.start) / n.local_scale, reference.phase[..., None] * 2 - 1], -1
            )
        )
        norms = iter(self.norms)
        for to_points, among, ffn in zip(self.to_points, self.among, self.ffn, strict=True):
            z = z + to_points(next(norms)(z), to_points.keys_values(cloud))
            z = z + among(next(norms)(z), reference.is_valid)
            z = z + ffn(next(norms)(z))
        q = self.queries.expand(len(z), -1, -1)
        return self.out(q + self.gather(q, self.gather.keys_values(self.gather_norm(z)), reference.is_valid))
