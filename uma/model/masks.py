"""Inference modes and training regimes as mask patterns (paper Eq. 1, 3.3, 3.4): data, not code paths.

The token grid has ``T = h + 1 + H`` steps and one action and K motion tokens a step. Step h is now, 0 where there is no
history: its action token is the measured end-effector state, always given; its motion tokens are the keypoints' present
positions, given where something tracks them and otherwise predicted with the rest. The h steps before it are recent
history (paper Eq. 5): measured end-effector states, and tracked keypoints. The H steps after it are the chunk.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class MaskPattern:
    """Which tokens are targets. ``action`` is ``(B, T)``, ``motion`` ``(B, T, K)``, both bool; K may be 0."""

    action: Tensor
    motion: Tensor


def pattern(
    batch: int,
    steps: int,
    keypoints: int,
    *,
    action_target: bool,
    motion_target: bool,
    prefix: int = 0,
    history: int = 0,
    tracked: bool = False,
    is_known: Tensor | None = None,
    device: torch.device | str = "cpu",
) -> MaskPattern:
    """The pattern of an inference mode; `uma.policy.modes` has the table of modes.

    Args:
        steps: T, with the history.
        action_target, motion_target: whether actions, and motion, are targets; otherwise they are given.
        prefix: leading actions that are already committed and therefore given.
        history: past steps; their actions are given.
        tracked: whether the keypoints' present and past positions are given.
        is_known: bool, broadcastable to ``(B, T, K)``: a motion token that is given but not known is a target. None =
            all are known.
    """
    action = torch.full((batch, steps), action_target, device=device)
    action[:, : history + 1 + prefix] = False
    motion = torch.full((batch, steps, keypoints), motion_target, device=device)
    if tracked:
        motion[:, : history + 1] = False
    return MaskPattern(action, motion if is_known is None else motion | ~is_known)


@dataclass(frozen=True)
class MaskMix:
    """How often training draws each regime. Weights need not sum to 1.

    Attributes:
        control: actions from observation and task, without motion tokens (the regime deployed by default).
        joint, dynamics, inverse: as in `pattern`, with motion tokens.
        random: every token a target with a probability drawn for the sample.
        prefix: chance that a control or joint sample is given 1 to ``max_prefix`` leading actions (delay-robust
            chunks).
        tracked: chance that the keypoints' present positions, and past ones where there is a history, are given.
        history: chance that a batch of a model with history holds the past steps. They are given, but for the random
            regime.
    """

    control: float = 0.5
    joint: float = 0.25
    dynamics: float = 0.12
    inverse: float = 0.05
    random: float = 0.08
    prefix: float = 0.25
    max_prefix: int = 4
    tracked: float = 0.5
    history: float = 0.5

    @property
    def with_motion(self) -> float:
        """Share of batches that hold motion tokens."""
        return 1 - self.control / (self.control + self.joint + self.dynamics + self.inverse + self.random)

    def draw(self, batch: int, steps: int, keypoints: int, generator: torch.Generator, history: int = 0) -> MaskPattern:
        """Patterns for a batch; with ``keypoints`` 0 all are control, otherwise the regimes with motion tokens are
        mixed per sample."""

        def chance(p: float) -> Tensor:
            return torch.rand(batch, generator=generator) < p

        step = torch.arange(steps)
        prefix = torch.randint(1, self.max_prefix + 1, (batch,), generator=generator) * chance(self.prefix)
        free = step[None, :] > history + prefix[:, None]
        future = step > history
        if keypoints == 0:
            return MaskPattern(free, torch.zeros(batch, steps, 0, dtype=torch.bool))
        weights = torch.tensor([self.joint, self.dynamics, self.inverse, self.random], dtype=torch.float32)
        regime = torch.multinomial(weights, batch, replacement=True, generator=generator)
        share = torch.rand(batch, 1, generator=generator)
        random_action = torch.rand(batch, steps, generator=generator) < share
        random_motion = torch.rand(batch, steps, keypoints, generator=generator) < share[..., None]
        is_joint, is_dynamics, is_inverse, is_random = ((regime == i)[:, None] for i in range(4))
        action = (is_joint & free) | (is_inverse & future) | (is_random & random_action)
        motion = ((is_joint | is_dynamics)[..., None] & torch.ones(batch, steps, keypoints, dtype=torch.bool)) | (
            is_random[..., None] & random_motion
        )
        motion[:, : history + 1] &= ~chance(self.tracked)[:, None, None]
        action[:, history] = False
        return MaskPattern(action, motion)
