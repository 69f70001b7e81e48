"""Observation tokens and the task encoder h_psi (paper 3.2)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from uma.model.attention import CrossAttention, SelfAttention
from uma.model.body import one_body
from uma.model.config import ModelConfig
from uma.model.heights import STATE_FEATURES, WAYPOINT_FEATURES, of_state, of_waypoints, table
from uma.model.image import features_at, image_encoder
from uma.model.inputs import Normalization
from uma.model.orientation import AXIS_FEATURES, LINE, TURN_FEATURES, Addition, axis, products, turns
from uma.model.places import PLACE_FEATURES
from uma.model.places import features as place_features
from uma.model.pointnet import PointEncoder
from uma.model.waypoints import at_phases


@dataclass(frozen=True)
class PointBatch:
    """Points of a batch: ``xyz`` ``(B, N, 3)`` metres in the camera frame, ``rgb`` ``(B, N, 3)`` in [0, 1], ``height``
    ``(B, N)`` metres.

    For models with image features also ``image`` ``(B, 3, h, w)`` in [0, 1] and ``normalized_uv`` ``(B, N, 2)``. The
    latter holds each point's x and y in [-1, 1] from the image's left and upper edge to its right and lower edge.
    """

    xyz: Tensor
    rgb: Tensor
    height: Tensor
    image: Tensor | None = None
    normalized_uv: Tensor | None = None


@dataclass(frozen=True)
class EndEffectorBatch:
    """Measured state: ``pose`` ``(B, 4, 4)`` = T_cam_ee, ``gripper`` ``(B,)`` in [0, 1].

    ``is_known`` ``(B,)`` bool is False for sources without a robot, such as human video. There ``pose`` is only the
    origin of the relative coordinates. None = all known.

    ``carried`` ``(B, 4, 4)`` is the hand's motion since it holds something, and since o_0, in the same frame; ``holds``
    ``(B,)`` bool says whether it does. None = unknown.
    """

    pose: Tensor
    gripper: Tensor
    is_known: Tensor | None = None
    carried: Tensor | None = None
    holds: Tensor | None = None


@dataclass(frozen=True)
class ReferenceBatch:
    """Padded reference tokens.

    Attributes:
        position, start: ``(B, L, 3)`` metres.
        phase: ``(B, L)``.
        is_valid: ``(B, L)`` bool.
    """

    position: Tensor
    start: Tensor
    phase: Tensor
    is_valid: Tensor


def mlp(a: int, b: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(a, b), nn.GELU(approximate="tanh"), nn.Linear(b, b))


class PointColours(nn.Module):
    """Appearance features of a point: its colour, and its image features if the model has an image encoder (paper
    3.2)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.encoder = image_encoder(config.image)
        self.width = 3 + (config.image.features if self.encoder is not None else 0)

    def forward(self, points: PointBatch) -> Tensor:
        """``(B, N, width)``."""
        colour = points.rgb * 2 - 1
        if self.encoder is None:
            return colour
        if points.image is None or points.normalized_uv is None:
            raise ValueError("image, normalized_uv: None, required by a model with image features")
        return torch.cat([colour, features_at(self.encoder(points.image), points.normalized_uv).to(colour.dtype)], -1)


class ObservationEncoder(nn.Module):
    """Encodes RGB-D points and the end-effector state as context tokens.

    Point features are colour, height above the table and position in the camera frame. With proprioception, they
    include the position relative to the end effector, along the camera's axes and in its own frame. Without a robot in
    view, those coordinates and the end-effector token are zero.
    """

    center: Tensor

    def __init__(self, config: ModelConfig, norm: Normalization):
        super().__init__()
        self.config, self.normalization = config, norm
        self.register_buffer("center", torch.tensor(norm.point_center), persistent=False)
        position_width = 10 if config.proprioception else 4
        self.colours = PointColours(config)
        self.points = PointEncoder(config, position_width + self.colours.width, position_width)
        if config.proprioception:
            self.end_effector = mlp(10, config.width)
            if config.orientation:
                self.fingers = Addition(AXIS_FEATURES, config.width)
            if config.heights:
                self.height = Addition(STATE_FEATURES, config.width)
            if config.places:
                self.place = Addition(PLACE_FEATURES, config.width)

    def forward(self, points: PointBatch, ee: EndEffectorBatch) -> Tensor:
        """Return ``(B, G + 1, d)`` tokens; the last one is the end effector (absent without proprioception)."""
        n = self.normalization
        center = self.center
        places = [(points.xyz - center) / n.point_scale, points.height[..., None] / n.local_scale]
        if self.config.proprioception:
            known = (
                ee.pose.new_ones(len(ee.pose), 1, 1)
                if ee.is_known is None
                else ee.is_known[:, None, None].to(ee.pose.dtype)
            )
            relative = known * (points.xyz - ee.pose[:, None, :3, 3]) / n.local_scale
            # tanh bounds far points, so that the centimetres around the fingers keep their weight
            places += [torch.tanh(relative), torch.tanh(relative @ ee.pose[:, :3, :3])]
        position = torch.cat(places, -1)
        tokens = self.points(points.xyz, torch.cat([position, self.colours(points)], -1), position)
        if not self.config.proprioception:
            return tokens
        R = ee.pose[:, :3, :3]
        state = torch.cat(
            [(ee.pose[:, :3, 3] - center) / n.point_scale, R[..., 0], R[..., 1], 2 * ee.gripper[:, None] - 1], -1
        )
        token = self.end_effector(state)
        if self.config.orientation:
            token = token + self.fingers(axis(R[..., 0]))
        if self.config.heights:
            token = token + self.height(of_state(table(points.xyz, points.height), ee.pose))
        if self.config.places:
            token = token + self.place(place_features(ee.pose[:, :3, 3]))
        return torch.cat([tokens, known * token[:, None]], 1)


class TaskEncoder(nn.Module):
    """h_psi: M task tokens from the initial observation and a sparse reference motion (paper Eq. 3).

    Every waypoint is a token of its position, its displacement from the keypoint's start and its phase in [0, 1]. The
    tokens attend to the features of the initial point cloud and to each other, and M learned queries gather them.

    The queries gather the waypoints' raw coordinates beside their normalised features, without a norm at the output. An
    output norm can let a constant part dominate, which makes the tokens of all tasks equal.
    """

    center: Tensor

    def __init__(self, config: ModelConfig, norm: Normalization):
        super().__init__()
        d, h = config.width, config.heads
        self.normalization = norm
        self.register_buffer("center", torch.tensor(norm.point_center), persistent=False)
        self.colours = PointColours(config)
        self.points = PointEncoder(config, 4 + self.colours.width, 4)
        self.waypoint = mlp(7, d)
        # Added at both ends, like the raw coordinates.
        self.turn = nn.ModuleList(Addition(TURN_FEATURES, d) for _ in range(2)) if config.orientation else None
        self.height = nn.ModuleList(Addition(WAYPOINT_FEATURES, d) for _ in range(2)) if config.heights else None
        self.place = nn.ModuleList(Addition(2 * PLACE_FEATURES, d) for _ in range(2)) if config.places else None
        self.along = Addition(6 + 2 * PLACE_FEATURES + TURN_FEATURES, d) if config.waypoints else None
        self.config = config
        self.to_points = nn.ModuleList(CrossAttention(d, h) for _ in range(config.task_layers))
        self.among = nn.ModuleList(SelfAttention(d, h) for _ in range(config.task_layers))
        self.ffn = nn.ModuleList(mlp(d, d) for _ in range(config.task_layers))
        self.norms = nn.ModuleList(nn.LayerNorm(d) for _ in range(3 * config.task_layers))
        self.queries = nn.Parameter(torch.randn(config.task_tokens, d))
        self.gather_norm = nn.LayerNorm(d)
        self.gather_in = nn.Linear(d + 7, d)
        self.gather = CrossAttention(d, h)
        self.out_norm = nn.LayerNorm(d)
        self.out = mlp(d, d)
        # Default weights would scale the differences between tasks far below an observation token; start at its scale.
        with torch.no_grad():
            self.gather_in.weight[:, d:].normal_(0, 0.7)
            self.queries.mul_(2.0)
        for linear in (self.gather.q, self.gather.kv, self.gather.out):
            nn.init.orthogonal_(linear.weight, gain=1.2)

    def forward(self, points: PointBatch, reference: ReferenceBatch) -> Tensor:
        """``(B, M, task_width)`` task tokens."""
        n = self.normalization
        center = self.center
        cloud, _ = self.scene(points)
        raw = torch.cat(
            [
                (reference.position - center) / n.point_scale,
                (reference.position - reference.start) / n.local_scale,
                reference.phase[..., None] * 2 - 1,
            ],
            -1,
        )
        z = self.waypoint(raw)
        if self.turn is not None:
            turned = turns(reference.position, reference.start, reference.phase, reference.is_valid)
            z = z + self.turn[0](turned)
        if self.height is not None:
            high = of_waypoints(table(points.xyz, points.height), reference.position, reference.start)
            z = z + self.height[0](high)
        if self.place is not None:
            where = torch.cat([place_features(reference.position), place_features(reference.start)], -1)
            z = z + self.place[0](where)
        norms = iter(self.norms)
        for to_points, among, ffn in zip(self.to_points, self.among, self.ffn, strict=True):
            assert isinstance(to_points, CrossAttention)  # ModuleList does not type its members
            z = z + to_points(next(norms)(z), to_points.keys_values(cloud))
            z = z + among(next(norms)(z), reference.is_valid)
            z = z + ffn(next(norms)(z))
        gathered = self.gather_in(torch.cat([self.gather_norm(z), raw], -1))
        if self.turn is not None:
            gathered = gathered + self.turn[1](turned)
        if self.height is not None:
            gathered = gathered + self.height[1](high)
        if self.place is not None:
            gathered = gathered + self.place[1](where)
        c = self.gather(self.queries.expand(len(z), -1, -1), self.gather.keys_values(gathered), reference.is_valid)
        c = c + self.out(self.out_norm(c))
        if self.along is not None:
            c = c + self.along(self._along(reference))
        return torch.cat([c, *self._stated(reference)], -1)

    def scene(self, points: PointBatch) -> tuple[Tensor, Tensor]:
        """Return the features of the initial point cloud ``(B, G, d)``, and their normalised places ``(B, G, 3)``."""
        n = self.normalization
        place = (points.xyz - self.center) / n.point_scale
        position = torch.cat([place, points.height[..., None] / n.local_scale], -1)
        cloud = self.points(points.xyz, torch.cat([position, self.colours(points)], -1), position)
        return cloud, place[:, : cloud.shape[1]]

    def _stated(self, reference: ReferenceBatch) -> list[Tensor]:
        """Return what the tokens state at their phases in channels of their own (`ModelConfig.stated`)."""
        n, r, stated = self.normalization, reference, []
        if self.config.follow:
            r = replace(r, is_valid=one_body(r.position, r.start, r.phase, r.is_valid))
        if self.config.ways:
            stated.append((self._at_phases(r, r.position) - self.center) / n.point_scale)
        if self.config.lines:
            turned = turns(r.position, r.start, r.phase, r.is_valid)
            stated.append(self._at_phases(r, turned.to(r.position.dtype))[..., LINE])
        if self.config.follow:
            moved = products(r.position, r.start, r.phase, r.is_valid)
            stated.append(self._at_phases(r, moved.to(r.position.dtype)))
        return stated

    def _at_phases(self, reference: ReferenceBatch, values: Tensor) -> Tensor:
        return at_phases(values, reference.phase, reference.is_valid, len(self.queries))

    def _along(self, reference: ReferenceBatch) -> Tensor:
        """Return the ``(B, M, 6 + 72 + 28)`` motion at the phase of each task token: place, displacement and turn."""
        n, r = self.normalization, reference
        turned = turns(r.position, r.start, r.phase, r.is_valid)
        values = torch.cat([r.position, r.start, turned.to(r.position.dtype)], -1)
        x, start, turned = self._at_phases(r, values).split([3, 3, TURN_FEATURES], -1)
        near = [(x - self.center) / n.point_scale, (x - start) / n.local_scale]
        return torch.cat([*near, place_features(x), place_features(start), turned], -1)
