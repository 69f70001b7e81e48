"""The complete Unified Motion-Action model: tokens, context, denoiser, loss, sampler."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from uma.model import flow
from uma.model.carry import Carry, Hand
from uma.model.config import ModelConfig
from uma.model.context import ContextEncoder
from uma.model.dit import FinalLayer, MaskedDiTBlock
from uma.model.encoders import EndEffectorBatch, ObservationEncoder, PointBatch, ReferenceBatch, TaskEncoder, mlp
from uma.model.follow import Follow, Guess
from uma.model.grounding import Grounding
from uma.model.inputs import ACTION_DIM, Normalization
from uma.model.language import LanguageEncoder
from uma.model.lines import Lines
from uma.model.masks import MaskPattern
from uma.model.ways import Ways


class Cache(NamedTuple):
    """The context, as the denoiser uses it: computed once per observation for all flow steps.

    Attributes:
        blocks: keys and values of each sub-layer that attends to the context, by block.
        follow: what `uma.model.follow` gives the action tokens; None = nothing.
        hand: what `uma.model.carry` needs of the measured hand; None = nothing.
    """

    blocks: list[list[tuple[Tensor, Tensor]]]
    follow: Guess | None = None
    hand: Hand | None = None


@dataclass(frozen=True)
class TokenGrid:
    """The normalised motion-action variables of a batch (see `uma.model.masks` for the grid).

    Attributes:
        action: ``(B, T, 10)``.
        motion: ``(B, T, K, 3)`` relative to the measured end-effector position, along the camera's axes.
        identity: ``(B, K, 3)`` keypoint positions in the initial observation, relative to the same origin; they
            identify the keypoints.
        is_valid: ``(B, K)`` bool; padded keypoints are False. None = no padding, so the attention needs no mask.
        is_supervised_action: ``(B,)`` bool; False for sources without compatible actions (paper 3.3). None = all.
        is_tracked: ``(B, T, K)`` bool; False for an unseen keypoint, which is neither given nor supervised. None = all
            seen.
    """

    action: Tensor
    motion: Tensor
    identity: Tensor
    is_valid: Tensor | None
    is_supervised_action: Tensor | None = None
    is_tracked: Tensor | None = None


def sinusoid(x: Tensor, width: int) -> Tensor:
    """``(N,)`` -> ``(N, width)`` sines and cosines, for values of order 1 to 1000."""
    frequency = torch.exp(torch.arange(width // 2, device=x.device) * (-math.log(1e4) / (width // 2)))
    angle = x[:, None].float() * frequency
    return torch.cat([angle.sin(), angle.cos()], -1)


def roles(mask: MaskPattern) -> Tensor:
    """Return ``(B, T, 1 + K, 2)`` one-hot roles: target, given. The action token comes first."""
    is_target = torch.cat([mask.action[:, :, None], mask.motion], 2)
    return torch.stack([is_target, ~is_target], -1)


def attendable(is_valid: Tensor | None, has_action: Tensor | None) -> Tensor | None:
    """Return ``(B, 1 + K)`` bool: tokens that may be attended to; None = all."""
    if is_valid is None:
        return None
    actions_valid = is_valid.new_ones(len(is_valid), 1) if has_action is None else has_action[:, None]
    return torch.cat([actions_valid, is_valid], 1)


class Uma(nn.Module):
    """p_theta(x_P, a_P | o_t, c, x_G, a_G) of paper Eq. 1."""

    def __init__(self, config: ModelConfig, norm: Normalization):
        super().__init__()
        if len(norm.step_scale) not in (0, config.horizon):
            raise ValueError(
                f"normalization.step_scale: {len(norm.step_scale)} values, must be none or {config.horizon}"
            )
        self.config, self.normalization = config, norm
        d = config.width
        self.observation_encoder = ObservationEncoder(config, norm)
        self.task_encoder = TaskEncoder(config, norm)
        self.language_encoder = LanguageEncoder(config) if config.language.kind != "none" else None
        self.grounding = Grounding(config) if config.language.scene else None
        self.ways = Ways(config, norm) if config.ways else None
        self.lines = Lines(config) if config.lines else None
        self.follow = Follow(config, norm) if config.follow else None
        self.carry = Carry(config, norm) if config.carry else None
        self.context = ContextEncoder(config) if config.context_layers else None
        self.action_in = nn.Linear(ACTION_DIM, d)
        self.motion_in = mlp(3 if config.keypoint_identity == "index" else 6, d)
        if config.keypoint_identity != "position":
            self.keypoint = nn.Parameter(torch.randn(config.max_keypoints, d) * 0.02)
        self.kind = nn.Parameter(torch.randn(2, d) * 0.02)  # token type: action, motion
        self.role = nn.Parameter(torch.randn(2, d) * 0.02)  # target, given
        self.step = nn.Parameter(sinusoid(torch.arange(-config.history, config.horizon + 1), d) * 0.5)
        self.time_in = mlp(d, d)
        shared = config.layers - config.separate_layers
        self.blocks = nn.ModuleList(MaskedDiTBlock(config) for _ in range(shared))
        self.action_blocks = nn.ModuleList(MaskedDiTBlock(config) for _ in range(config.separate_layers))
        self.motion_blocks = nn.ModuleList(MaskedDiTBlock(config) for _ in range(config.separate_layers))
        self.final = FinalLayer(d, ACTION_DIM)

    def encode_task(self, points: PointBatch, reference: ReferenceBatch) -> Tensor:
        """Task tokens c = h_psi(o_0, x_c), ``(B, M, task_width)`` (paper Eq. 3)."""
        return self.task_encoder(points, reference)

    def encode_instruction(self, texts: Sequence[str], points: PointBatch | None = None) -> Tensor:
        """Task tokens c = h_omega(text), ``(B, M, task_width)`` (paper D.1), or of text and scene (``language.scene``).

        Raises:
            ValueError: the model has no language encoder, or needs the initial ``points`` and has none.
        """
        if self.language_encoder is None:
            raise ValueError("language.kind: 'none', must be 'words' or 'siglip2' for an instruction")
        task = self.language_encoder(texts)
        if self.grounding is None:
            return task
        if points is None:
            raise ValueError("points: None, language.scene needs the initial scene")
        return self.in_scene(task, points)

    def in_scene(self, task: Tensor, points: PointBatch) -> Tensor:
        """Task tokens of texts ``(B, M, task_width)`` before they see a scene -> in the scene ``points``.

        Raises:
            ValueError: the model has no ``language.scene``.
        """
        if self.grounding is None:
            raise ValueError("language.scene: off, must be on for tokens in a scene")
        return self.grounding(task, *self.task_encoder.scene(points))

    def prepare_context(self, points: PointBatch, ee: EndEffectorBatch, task: Tensor) -> Cache:
        """Compute what the denoiser uses of the context."""
        observation = self.observation_encoder(points, ee)
        task, place, line, products = task.split([self.config.width, *self.config.stated], -1)
        for module, stated in ((self.ways, place), (self.lines, line)):
            if module is not None:
                each, together = module(stated, ee)
                task = task + each
                observation = torch.cat([observation[:, :-1], observation[:, -1:] + together[:, None]], 1)
        follow: Guess | None = None
        if self.follow is not None:
            each, follow = self.follow(place, products, ee)
            task = task + each
        context = torch.cat([observation, task], 1) if self.context is None else self.context(observation, task)
        hand = None if self.carry is None else self.carry.hand(ee)
        return Cache([block.cache(context) for block in self._all_blocks()], follow, hand)

    def _all_blocks(self) -> list[MaskedDiTBlock]:
        return [*self.blocks, *self.action_blocks, *self.motion_blocks]

    def velocity(
        self,
        state: flow.State,
        identity: Tensor,
        is_valid: Tensor | None,
        mask: MaskPattern,
        flow_time: Tensor,
        cache: Cache,
        has_action: Tensor | None = None,
    ) -> flow.State:
        """Predict the velocities of the state at ``(B,)`` flow times.

        Args:
            state: noisy targets and clean given tokens, ``(B, T, 10)`` and ``(B, T, K, 3)``; T covers the current step
                and the horizon, and optionally the history.
            identity, is_valid: as in `TokenGrid`.
            cache: from `prepare_context`, of B contexts, or of a divisor of B that consecutive rows share.
            has_action: ``(B,)`` bool; action tokens of other samples are masked in attention. None = all.
        """
        t = flow_time[:, None, None]
        return self._denoise(
            state, identity, roles(mask), attendable(is_valid, has_action), cache, t, self._time(flow_time), None
        )

    def _time(self, flow_time: Tensor) -> Tensor:
        """``(B, d)`` embedding of ``(B,)`` flow times."""
        return self.time_in(sinusoid(flow_time * 1000.0, self.config.width).to(self.step.dtype))

    def modulations(self, num_steps: int) -> list[list[Tensor]]:
        """Return the modulations of every block and of the final layer at the flow times ``i / num_steps``, i = 0 to
        ``num_steps``.

        They do not depend on the data, so a sampler with fixed times computes them once.
        """
        times = self._time(torch.arange(num_steps + 1, device=self.step.device) / num_steps)
        layers: list[MaskedDiTBlock | FinalLayer] = [*self._all_blocks(), self.final]
        return [[layer.modulation(t) for layer in layers] for t in times[:, None]]

    def _denoise(
        self,
        state: flow.State,
        identity: Tensor,
        role: Tensor,
        valid: Tensor | None,
        cache: Cache,
        t: Tensor | float,
        time: Tensor | None,
        modulation: list[Tensor] | None,
    ) -> flow.State:
        action, motion = state
        B, T, K, _ = motion.shape
        a = self.action_in(action)
        follow = None if cache.follow is None else cache.follow.rows(B, T)
        if follow is not None:
            a = a + follow.added
        a = a[:, :, None] + self.kind[0]
        known = self.config.keypoint_identity
        m = (
            self.motion_in(
                motion if known == "index" else torch.cat([motion, identity[:, None].expand(B, T, K, 3)], -1)
            )
            + self.kind[1]
        )
        if known != "position":
            m = m + self.keypoint[:K]
        past = max(T - self.config.horizon - 1, 0)
        hand = None if cache.hand is None or K == 0 else cache.hand.rows(B)
        if hand is not None and self.carry is not None:
            is_given = (role[:, past, 1:, 1] > 0).expand(B, K)
            now = self.carry.now(motion[:, past], identity, is_given, hand)
            added = self.carry.token(self.carry.features(action[:, past:], now, is_given, hand))
            m = m + nn.functional.pad(added, (0, 0, 0, 0, past, 0))
        role = role.to(a.dtype)
        step = self.step[-T:] if T > self.config.horizon + 1 else self.step[self.config.history :][:T]
        z = torch.cat([a, m], 2) + step[:, None] + role @ self.role
        rest, own = iter(cache.blocks), iter(modulation or ())
        for block in self.blocks:
            z = block(z, time, role, valid, next(rest), next(own, None))
        if self.config.separate_layers:
            parts = []
            for blocks, part in ((self.action_blocks, slice(0, 1)), (self.motion_blocks, slice(1, None))):
                y = z[:, :, part]
                for block in blocks:
                    cached, given = next(rest), next(own, None)
                    y = (
                        block(y, time, role[:, :, part], None if valid is None else valid[:, part], cached, given)
                        if y.shape[2]
                        else y
                    )
                parts.append(y)
            z = torch.cat(parts, 2)
        act, move = self.final(z, time, role, next(own, None))
        if follow is not None and self.follow is not None:
            act = self.follow.trusted(z[:, :, 0], act, action, follow, t)
        if hand is not None and self.carry is not None:
            # Along the actions that this very step predicts; a gradient through them would move the actions.
            end = torch.where(role[:, :, 0, :1] > 0, action + (1 - t) * act.float(), action).detach()
            taken = self.carry.candidates(end[:, past:], now, hand)
            left = t if isinstance(t, float) else t[..., None]
            move = torch.cat(
                [
                    move[:, :past],
                    self.carry.weighed(z[:, past:, 1:], move[:, past:], motion[:, past:], taken, now, left),
                ],
                1,
            )
        return act, move

    def flow_losses(
        self, grid: TokenGrid, mask: MaskPattern, cache: Cache, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """L_x and L_a (paper 3.3): mean squared velocity error over valid target tokens; 0 if there are none.

        An unseen keypoint has no label, so its token is a target without weight.
        """
        if grid.is_tracked is not None:
            mask = MaskPattern(mask.action, mask.motion | ~grid.is_tracked)
        B = len(grid.action)
        t = flow.draw_flow_time(B, self.config.flow_time, generator).to(grid.action.device)
        noise = tuple(torch.randn(v.shape, generator=generator).to(v.device) for v in (grid.action, grid.motion))
        targets = (mask.action[..., None], mask.motion[..., None])
        data = (grid.action, grid.motion)
        action, motion = (torch.where(m, flow.path(x, n, t), x) for m, x, n in zip(targets, data, noise, strict=True))
        velocity = self.velocity(
            (action, motion), grid.identity, grid.is_valid, mask, t, cache, grid.is_supervised_action
        )
        action_weight = targets[0].float()
        if grid.is_supervised_action is not None:
            action_weight = action_weight * grid.is_supervised_action[:, None, None]
        motion_weight = (
            targets[1].float() if grid.is_valid is None else targets[1] * grid.is_valid[:, None, :, None].float()
        )
        if grid.is_tracked is not None:
            motion_weight = motion_weight * grid.is_tracked[..., None]
        weights = (action_weight, motion_weight)
        losses = {}
        for name, v, x, n, w in zip(("action", "motion"), velocity, data, noise, weights, strict=True):
            error = (v.float() - (x - n)) ** 2 * w
            losses[name] = error.sum() / (w.sum() * x.shape[-1]).clamp_min(1.0)
        return losses

    @torch.no_grad()
    def sample(
        self,
        grid: TokenGrid,
        mask: MaskPattern,
        cache: Cache,
        noise: flow.State,
        num_steps: int,
        method: str = "euler",
        modulations: list[list[Tensor]] | None = None,
    ) -> flow.State:
        """Predict the target tokens of ``mask`` given the rest of ``grid`` (paper Eq. 5, 6).

        Args:
            mask: of the grid's B rows, or a single shared row.
            cache: as in `velocity`.
            num_steps, method: see `flow.sample`.
            modulations: `modulations` of the same number of steps; None = computed here.
        """
        table = self.modulations(num_steps) if modulations is None else modulations
        role, valid = roles(mask), attendable(grid.is_valid, grid.is_supervised_action)

        def velocity(state: flow.State, t: float) -> flow.State:
            return self._denoise(state, grid.identity, role, valid, cache, t, None, table[round(t * num_steps)])

        return flow.sample(
            velocity,
            noise,
            (grid.action, grid.motion),
            (mask.action[..., None], mask.motion[..., None]),
            num_steps,
            method,
        )
