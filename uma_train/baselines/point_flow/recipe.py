"""The training of the point flow by the loop that trains UMA."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from uma.checkpoint.folder import read_bundle
from uma.checkpoint.typed import from_json
from uma.model.inputs import Normalization, decode_actions
from uma.types import InputError
from uma_train.baselines.point_flow.hand import HandMotion
from uma_train.baselines.point_flow.network import FlowConfig, FlowNetwork, rollout
from uma_train.data.batch import Batch
from uma_train.data.mixtures import Mixture
from uma_train.training.choices import FlowChoice
from uma_train.training.config import TrainConfig
from uma_train.training.objectives import to_device
from uma_train.training.validation import motion_errors

MOVING_M = 0.02
"""Displacement from which a keypoint has the full weight, metres."""

STATIC_M = 0.15
"""Least distance of a static point from all keypoints and from the end effector, metres: objects and hands are
nearer."""

STATIC_HEIGHT_M = 0.05
"""Largest height of a static point above the table, metres: most of the arm is higher."""


@dataclass(frozen=True)
class FlowBatch:
    """Places are relative to the measured end effector, metres.

    Attributes:
        hand: H + 1 poses; those after the first are the actions.
        tracks: ``(B, H + 1, K, 3)``.
        is_known: ``(B, H + 1, K)`` bool, seen keypoints of windows with actions.
        static: ``(B, N)`` bool, cloud points that rest.
    """

    hand: HandMotion
    tracks: Tensor
    is_known: Tensor
    static: Tensor


def flow_batch(batch: Batch, norm: Normalization) -> FlowBatch:
    """Convert a batch without history. Windows without actions have a resting hand, and nothing known."""
    grid = batch.grid
    B, T, K, _ = grid.motion.shape
    has_action = torch.ones(B, dtype=torch.bool)
    for known in (grid.is_supervised_action, batch.ee.is_known):
        has_action = has_action if known is None else has_action & known
    origin = batch.T_cam_ee.astype(np.float64)
    origin[:, :3, 3] = 0.0
    poses = np.repeat(origin[:, None], T, 1)
    gripper = batch.ee.gripper.numpy().astype(np.float64)[:, None].repeat(T, 1)
    for b in np.flatnonzero(has_action.numpy()):
        poses[b, 1:], gripper[b, 1:] = decode_actions(grid.action[b, 1:].numpy(), origin[b], norm)
    is_known = has_action[:, None, None].expand(B, T, K)
    if grid.is_valid is not None:
        is_known = is_known & grid.is_valid[:, None]
    if grid.is_tracked is not None:
        is_known = is_known & grid.is_tracked
    tracks = grid.motion * norm.local_scale
    hand = HandMotion(torch.from_numpy(poses.astype(np.float32)), torch.from_numpy(gripper.astype(np.float32)))
    return FlowBatch(hand, tracks, is_known, _static(batch, tracks, is_known))


def _static(batch: Batch, tracks: Tensor, is_known: Tensor) -> Tensor:
    """Mark low cloud points ``(B, N)`` far from the end effector and from every keypoint, at all steps."""
    away = batch.points.xyz - batch.ee.pose[:, None, :3, 3]
    is_static = (batch.points.height < STATIC_HEIGHT_M) & (away.norm(dim=-1) > STATIC_M)
    distance = torch.cdist(away, tracks.flatten(1, 2)).masked_fill(~is_known.flatten(1)[:, None], torch.inf)
    return is_static & (distance.amin(-1) > STATIC_M) & is_known.flatten(1).any(1)[:, None]


class FlowRecipe:
    """Displacements of tracked keypoints over all passes of a chunk, each from the true places at its start."""

    model: FlowNetwork

    def __init__(self, config: TrainConfig, norm: Normalization):
        self.config, self.choice = config, config.flow
        self.settings = settings(config, config.flow)
        self.head = nn.Module()
        if not config.init:
            self.model = FlowNetwork(self.settings, norm)
            return
        stored = read_bundle(config.init)
        if stored.system != config.system:
            raise InputError(f"init {config.init}: of system '{stored.system}', must be of '{config.system}'")
        self.settings = from_json(FlowConfig, stored.model, "config.model")
        self.model = FlowNetwork(self.settings, stored.normalization)
        self.model.load_state_dict(stored.weights(), strict=True)

    def blocks(self) -> list[nn.Module]:
        return list(self.model.layers)

    def trained(self) -> list[nn.Parameter]:
        return list(self.model.parameters())

    def options(self, rng: np.random.Generator) -> dict[str, Any]:
        return {"keypoints": self.config.keypoints, "history": 0}

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the mean losses ``keypoints`` and ``static`` in units of `Normalization.local_scale`, and ``total``.

        ``generator`` selects the static points.
        """
        model, choice, device = self.model, self.choice, next(self.model.parameters()).device
        data = flow_batch(batch, model.normalization)
        order = torch.rand(data.static.shape, generator=generator) + ~data.static
        pick = order.argsort(1)[:, : choice.static]
        resting = (batch.points.xyz - batch.ee.pose[:, None, :3, 3]).gather(1, pick[..., None].expand(-1, -1, 3))
        rests = data.static.gather(1, pick).to(device)
        scene = model.encode(to_device(device, batch.points), batch.ee.pose.to(device))
        data, resting = to_device(device, data), resting.to(device)
        H, S, K = data.tracks.shape[1] - 1, model.config.steps, data.tracks.shape[2]
        sums = {name: [scene.new_zeros(()), scene.new_zeros(())] for name in ("keypoints", "static")}
        for start in range(0, H, S):
            n = min(S, H - start)
            is_key = data.is_known[:, start]
            # Unknown places may hold any value.
            now = data.tracks[:, start].masked_fill(~is_key[..., None], 0.0)
            asked, keys = torch.cat([now, resting], 1), torch.cat([is_key, torch.zeros_like(rests)], 1)
            away = model(scene, data.hand.window(start, S), asked, keys)[:, :, :n]
            truth = (data.tracks[:, start + 1 : start + n + 1] - now[:, None]).transpose(1, 2)
            known = (data.is_known[:, start + 1 : start + n + 1] & is_key[:, None]).transpose(1, 2)
            moves = (truth.norm(dim=-1) / MOVING_M).clamp(choice.still_weight, 1.0) * known
            self._add(sums["keypoints"], away[:, :K] - truth, moves)
            self._add(sums["static"], away[:, K:], rests[..., None].expand(-1, -1, n).float())
        out = {name: total / weight.clamp_min(1.0) for name, (total, weight) in sums.items()}
        return {**out, "total": out["keypoints"] + choice.static_weight * out["static"]}

    def _add(self, sums: list[Tensor], error: Tensor, weight: Tensor) -> None:
        """Add the weighted Huber losses of errors ``(..., 3)`` in metres, and the weights ``(...)``."""
        scale = self.model.normalization.local_scale
        error = torch.where(weight[..., None] > 0, error / scale, 0.0)
        delta = self.choice.huber / scale
        loss = nn.functional.huber_loss(error, torch.zeros_like(error), reduction="none", delta=delta).sum(-1)
        sums[0], sums[1] = sums[0] + (loss * weight).sum(), sums[1] + weight.sum()

    def copy(self) -> FlowNetwork:
        return FlowNetwork(self.settings, self.model.normalization)

    @torch.no_grad()
    def validate(self, model: nn.Module, held_out: Mixture, size: int) -> tuple[dict[str, Any], str]:
        """Return the errors of dynamics with given keypoints, over those that are seen at the start and move."""
        assert isinstance(model, FlowNetwork)
        options = self.options(np.random.default_rng(0))
        errors = dynamics_errors(
            model, held_out.draw(size, norm=model.normalization, rng=np.random.default_rng(0), **options)
        )
        line = (
            f"dynamics, keypoints given {errors['motion_mm']:.1f} mm (still "
            f"{errors['motion_still_mm']:.1f}, rigid {errors['motion_rigid_mm']:.1f}), "
            f"MSE of 10 steps {errors['motion_mse_m2']:.2e} m2 (still {errors['motion_still_mse_m2']:.2e})"
        )
        return {"dynamics, keypoints given": errors}, line


@torch.no_grad()
def dynamics_errors(model: FlowNetwork, batch: Batch) -> dict[str, float]:
    """Return the errors of dynamics with given keypoints, over those that are seen at the start and move."""
    norm, data = model.normalization, flow_batch(batch, model.normalization)
    is_key = data.is_known[:, 0]
    now = data.tracks[:, 0].masked_fill(~is_key[..., None], 0.0)
    moved = rollout(model, model.encode(batch.points, batch.ee.pose), data.hand, now, is_key)
    motion = torch.cat([data.tracks[:, :1], moved], 1) / norm.local_scale
    still = data.tracks[:, :1].expand_as(motion) / norm.local_scale
    counted = replace(batch, is_moving=is_key if batch.is_moving is None else is_key & batch.is_moving)
    has_action = data.is_known.any((1, 2)).numpy()
    mm, still_mm, rigid_mm, mse = motion_errors(norm, counted, motion.numpy(), has_action)
    return {
        "motion_mm": mm,
        "motion_still_mm": still_mm,
        "motion_rigid_mm": rigid_mm,
        "motion_mse_m2": mse,
        "motion_still_mse_m2": motion_errors(norm, counted, still.numpy(), has_action)[3],
    }


def settings(config: TrainConfig, choice: FlowChoice) -> FlowConfig:
    """Return the network's configuration of a training configuration."""
    return FlowConfig(config.model_config(), choice.width, choice.layers, choice.heads, choice.steps)
