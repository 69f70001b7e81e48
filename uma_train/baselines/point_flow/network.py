"""The dynamics: displacements of points under the motion of the gripper's points."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from uma.model.attention import CrossAttention, SelfAttention
from uma.model.config import ModelConfig
from uma.model.encoders import PointBatch, mlp
from uma.model.inputs import Normalization
from uma.model.pointnet import PointEncoder
from uma.settings import within
from uma.types import InputError
from uma_train.baselines.point_flow.hand import POINTS, HandMotion

NEAR_M = (0.03, 0.1)
"""Length scales of coordinates in the hand's frame, metres."""

STEP_M = 0.05
"""Length scale of the displacement of a gripper's point, metres."""

CLOUD = 13
"""Width of a cloud point's features: position, position near the hand at two scales, colour and height."""

QUERY = 10
"""Width of an asked point's features: position, position in the hand's frame at two scales, and nearness."""


@dataclass(frozen=True)
class FlowConfig:
    """
    Attributes:
        uma: sizes of the point encoder, and the sampling of points.
        width, layers, heads: of the transformer.
        steps: S, predicted by one pass.
    """

    uma: ModelConfig = ModelConfig()
    width: int = 128
    layers: int = 4
    heads: int = 4
    steps: int = 10

    def __post_init__(self) -> None:
        within(self, {"width": (8, 4096), "layers": (1, 64), "heads": (1, 64), "steps": (1, 64)})
        if self.width % self.heads:
            raise InputError(f"width: {self.width}, must be a multiple of the {self.heads} heads")

    def encoder(self) -> ModelConfig:
        """Return the sizes of the point encoder at the transformer's width."""
        return replace(self.uma, width=self.width, heads=self.heads)


class Layer(nn.Module):
    """Attention of gripper's and asked points to each other and to the scene."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.among = SelfAttention(width, heads)
        self.to_scene = CrossAttention(width, heads)
        self.ffn = mlp(width, width)

    def forward(self, z: Tensor, scene: Tensor, is_key: Tensor) -> Tensor:
        z = z + self.among(self.norms[0](z), is_key)
        z = z + self.to_scene(self.norms[1](z), self.to_scene.keys_values(scene))
        return z + self.ffn(self.norms[2](z))


class FlowNetwork(nn.Module):
    """Point flow of asked points from a partial cloud and the gripper's point flow.

    As PointWorld (arXiv 2601.03782): the scene is a partial coloured cloud, the action is the motion of the robot's own
    points from its kinematics, one pass predicts the displacements of all steps of a chunk, and longer horizons chain
    passes. The loss is a Huber loss with movement weighting.

    It deviates in these points.

    * A PointNet++ encoder of a few hundred points and a small transformer replace PTv3 over 12,000 points.
    * Colour and height replace DINOv3's features.
    * The robot's points are 24 points of the gripper, not 500 of the arm. The actions are poses of the end effector.
    * Steps are those of the actions, 1/15 s. PointWorld's are 0.1 s.
    * The points to predict are given; PointWorld predicts all points of the scene.
    * A second pass starts from the moved points and the first pass's cloud. Training shows such passes.
    * Displacements add up increments: weighted sums of the gripper points' increments, plus a free part. Before
      training, nothing moves.
    * There is no predicted variance.

    All coordinates are relative to the measured end effector, so predictions do not change if everything moves along.
    """

    def __init__(self, config: FlowConfig, norm: Normalization):
        super().__init__()
        self.config, self.normalization = config, norm
        d, S = config.width, config.steps
        self.scene = PointEncoder(config.encoder(), CLOUD, CLOUD - 3)
        self.hand = mlp(3 + 3 * S, d)
        self.which = nn.Parameter(0.5 * torch.randn(POINTS, d))
        self.query = mlp(QUERY, d)
        self.layers = nn.ModuleList(Layer(d, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(d)
        self.weigh, self.weighed = nn.Linear(d, d), nn.Linear(d, d)
        self.gate, self.free = nn.Linear(d, S), nn.Linear(d, 3 * S)
        for linear in (self.weigh, self.gate, self.free):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
        nn.init.ones_(self.gate.bias)

    def encode(self, points: PointBatch, pose: Tensor) -> Tensor:
        """Return tokens ``(B, G, d)`` of a scene.

        Args:
            points: in the policy frame.
            pose: ``(B, 4, 4)`` measured end effector in the policy frame.
        """
        away = points.xyz - pose[:, None, :3, 3]
        scale = self.normalization.local_scale
        places = [away / scale, *_near(away @ pose[:, :3, :3]), points.height[..., None] / scale]
        position = torch.cat(places, -1)
        return self.scene(points.xyz, torch.cat([position, points.rgb * 2 - 1], -1), position)

    def forward(self, scene: Tensor, hand: HandMotion, asked: Tensor, is_key: Tensor) -> Tensor:
        """Return displacements ``(N, Q, S, 3)`` from the start, metres.

        Args:
            scene: ``(B, G, d)`` of `encode`; N / B consecutive rows share a scene.
            hand: S + 1 poses.
            asked: ``(N, Q, 3)`` places, relative to the measured end effector, metres.
            is_key: ``(N, Q)`` bool. The prediction of a point depends on others only where True: not on padding.
        """
        N, Q, _ = asked.shape
        S, scale = self.config.steps, self.normalization.local_scale
        # bfloat16 has too few digits for millimetres.
        with torch.autocast(asked.device.type, enabled=False):
            flow = hand.points()
            steps = flow[:, :, 1:] - flow[:, :, :-1]
            start = flow[:, :, 0]
            away = ((flow[:, :, 1:] - start[:, :, None]) / STEP_M).flatten(2)
            features = self._features(hand, start, asked)
        tokens = self.hand(torch.cat([start / scale, away], -1)) + self.which
        queries = self.query(features)
        keys = torch.cat([is_key.new_ones(N, POINTS), is_key], 1)
        z = torch.cat([tokens, queries], 1)
        for layer in self.layers:
            z = layer(z, scene, keys)
        tokens, z = self.norm(z).split([POINTS, Q], 1)
        weights = self.weigh(z) @ self.weighed(tokens).transpose(-1, -2) * z.shape[-1] ** -0.5
        free = self.free(z).float().view(N, Q, S, 3) * (0.1 * scale)
        gate = self.gate(z).float()[..., None]
        with torch.autocast(asked.device.type, enabled=False):
            moved = torch.einsum("nqr,nrsc->nqsc", weights.float(), steps)
        return (gate * moved + free).cumsum(2)

    def _features(self, hand: HandMotion, start: Tensor, asked: Tensor) -> Tensor:
        """Return features ``(N, Q, 10)`` of the asked points."""
        pose = hand.poses[:, 0]
        local = (asked - pose[:, None, :3, 3]) @ pose[:, :3, :3]
        nearest = (asked[:, :, None] - start[:, None]).square().sum(-1).amin(-1, keepdim=True)
        nearness = torch.exp(-nearest / NEAR_M[0] ** 2)
        return torch.cat([asked / self.normalization.local_scale, *_near(local), nearness], -1)


def _near(local: Tensor) -> list[Tensor]:
    """Return bounded coordinates, so that the centimetres around the hand keep their weight."""
    return [torch.tanh(local / near) for near in NEAR_M]


def rollout(network: FlowNetwork, scene: Tensor, hand: HandMotion, points: Tensor, is_key: Tensor) -> Tensor:
    """Predict places ``(N, H, K, 3)`` over the H steps of a hand's motion, by passes of S steps.

    Each pass starts from the places at the end of the one before. Arguments are those of `FlowNetwork.forward`.
    """
    H, S, out, now = hand.poses.shape[1] - 1, network.config.steps, [], points
    for start in range(0, H, S):
        away = network(scene, hand.window(start, S), now, is_key)[:, :, : min(S, H - start)]
        out.append(now[:, None] + away.transpose(1, 2))
        now = out[-1][:, -1]
    return torch.cat(out, 1)
