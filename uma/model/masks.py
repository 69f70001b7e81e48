"""Inference modes and training regimes as mask patterns (paper Eq. 1, 3.3, 3.4): data, not code paths.

The token grid has ``T = h + 1 + H`` steps with one action and K motion tokens each. Step h is the current step; h is 0
without history. Its action token is the measured end-effector state and always given. Its motion tokens are the
keypoints' current positions: given if tracked, otherwise predicted.

The h earlier steps are recent history (paper Eq. 5): measured end-effector states and tracked keypoints. The H later
steps are the chunk.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class MaskPattern:
    """Target tokens: ``action`` ``(B, T)`` and ``motion`` ``(B, T, K)``, both bool; K may be 0."""

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
    """Build the pattern of an inference mode; `uma.policy.modes` has the table of modes.

    Args:
        steps: T, with the history.
        action_target, motion_target: whether actions and motion are targets; otherwise they are given.
        prefix: number of leading actions that are committed and therefore given.
        history: past steps; their actions are given.
        tracked: whether the keypoints' current and past positions are given.
        is_known: bool, broadcastable to ``(B, T, K)``: an unknown motion token is always a target. None = all known.
    """
    action = torch.full((batch, steps), action_target, device=device)
    action[:, : history + 1 + prefix] = False
    motion = torch.full((batch, steps, keypoints), motion_target, device=device)
    if tracked:
        motion[:, : history + 1] = False
    return MaskPattern(action, motion if is_known is None else motion | ~is_known)


@dataclass(frozen=True)
class MaskMix:
    """Frequencies of the training regimes. Weights need not sum to 1.

    Attributes:
        control: actions from observation and task, without motion tokens (the default regime at deployment).
        joint, dynamics, inverse: as in `pattern`, with motion tokens.
        random: every token is a target with a probability drawn per sample.
        prefix: probability that 1 to ``max_prefix`` leading actions of a control or joint sample are given
            (delay-robust chunks).
        tracked: probability that the keypoints' current and past positions are given.
        history: probability that a batch contains past steps, for models with history. They are given, except in the
            random regime.
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
        """Fraction of batches with motion tokens."""
        return 1 - self.control / (self.control + self.joint + self.dynamics + self.inverse + self.random)

    def draw(self, batch: int, steps: int, keypoints: int, generator: torch.Generator, history: int = 0) -> MaskPattern:
        """Draw patterns for a batch: control for ``keypoints`` 0, otherwise a mix of the other regimes per sample."""

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
