"""How the hand would take a held object along the reference (`ModelConfig.follow`).

An object that moves with the hand since the grasp is where the hand's motion has taken it. What is left of the
reference from there, as a motion of the hand, is a first guess of the actions. The network gets it for every step.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from uma.model.config import ModelConfig
from uma.model.encoders import EndEffectorBatch
from uma.model.inputs import Normalization
from uma.model.orientation import Addition
from uma.model.turn import exp, fit, log, product
from uma.model.ways import WAY_FEATURES, features

NEAR_RAD = 0.2
"""Angle at which the bounded features of a turn saturate, radians."""

LEFT_FEATURES = WAY_FEATURES + 12
"""Width of what is left to a phase: the way, and the turn's matrix and bounded axis."""

STEP_FEATURES = 2 * 9 + 1
"""Width of the features of a step: an action at the pace of `PACE`, the one that ends the motion, and what is left."""

WAY_M, TURN_RAD = 0.1, 0.5
"""Lengths of a way and a turn that count alike along the reference, metres and radians."""

PACE, LEAD = 0.2, 0.4
"""Length along the reference per step, and of the first action, in these units: the demonstrations' usual pace."""

LATER = 0.02
"""Of two equally near places of the reference, the later one counts as nearer by this, in these units."""


def turn_features(R: Tensor) -> Tensor:
    """``(..., 3, 3)`` -> ``(..., 12)``: its difference from no turn, and its bounded axis times sine."""
    sine = torch.stack([R[..., 2, 1] - R[..., 1, 2], R[..., 0, 2] - R[..., 2, 0], R[..., 1, 0] - R[..., 0, 1]], -1) / 2
    return torch.cat([(R - torch.eye(3, device=R.device)).flatten(-2), torch.tanh(sine / NEAR_RAD)], -1)


def ahead(path: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Return the points ``(B, S, D)`` that lie ``lengths`` ``(S,)`` beyond the origin's nearest point on a polyline,
    at most its end, and the ``(B,)`` length from there to the end.

    Args:
        path: ``(B, M, D)`` corners.
    """
    M = path.shape[1]
    leg = path[:, 1:] - path[:, :-1]
    square = leg.square().sum(-1)
    share = (-(path[:, :-1] * leg).sum(-1) / square.clamp_min(1e-9)).clamp(0.0, 1.0)
    off = (path[:, :-1] + share[..., None] * leg).square().sum(-1).add(1e-12).sqrt()
    later = (torch.arange(M - 1, device=path.device) + share) / max(M - 1, 1)
    nearest = (off - LATER * later).argmin(1, keepdim=True)
    length = square.add(1e-12).sqrt()
    reached = nn.functional.pad(length.cumsum(1), (1, 0))
    begin = (reached[:, :-1] + share * length).gather(1, nearest)
    end = reached[:, -1:]
    at = torch.minimum(begin + lengths, end)
    i = (torch.searchsorted(reached.contiguous(), at.contiguous(), right=True) - 1).clamp(0, M - 2)
    part = ((at - reached.gather(1, i)) / length.gather(1, i)).clamp(0.0, 1.0)[..., None]
    index = i[..., None].expand(-1, -1, path.shape[-1])
    return torch.lerp(path.gather(1, index), path.gather(1, index + 1), part), (end - begin)[:, 0]


class Guess(NamedTuple):
    """What the action tokens get.

    Attributes:
        added: ``(B, T, d)`` added to the tokens; zero at past steps.
        action: ``(B, T, 9)`` the paced guess, without gripper.
        trust: ``(B, T, 1)`` 1 where a guess exists, else 0.
    """

    added: Tensor
    action: Tensor
    trust: Tensor

    def rows(self, count: int, steps: int) -> Guess:
        """Return the guess for ``count`` rows, a multiple of B that consecutive rows share, and the last ``steps``."""
        T = self.added.shape[1]
        return Guess(
            *(
                nn.functional.pad(v.repeat_interleave(count // len(v), 0)[:, :steps], (0, 0, max(steps - T, 0), 0))
                for v in self
            )
        )


class Follow(nn.Module):
    """Adds what is left for a held object to the task tokens, and the guesses to the action tokens.

    A gate for each action token also moves the predicted action towards the guess (`trusted`).

    The initial additions and gates are zero. Nothing is added while the gripper is open or without a robot.
    """

    center: Tensor
    scale: Tensor

    def __init__(self, config: ModelConfig, norm: Normalization):
        super().__init__()
        d, self.steps = config.width, config.horizon + 1
        self.normalization, self.width = norm, d
        self.register_buffer("center", torch.tensor(norm.point_center), persistent=False)
        scale = torch.tensor(norm.of_steps(config.horizon), dtype=torch.float32)
        self.register_buffer("scale", scale, persistent=False)
        self.each = Addition(LEFT_FEATURES, d)
        self.guess = Addition(STEP_FEATURES, d)
        self.gate = nn.Linear(d, 2)
        nn.init.zeros_(self.gate.weight)
        nn.init.zeros_(self.gate.bias)

    def forward(self, place: Tensor, products: Tensor, ee: EndEffectorBatch) -> tuple[Tensor, Guess]:
        """Normalised places ``(B, M, 3)`` and products ``(B, M, 9)`` -> additions to the task tokens ``(B, M, d)``, and
        what the action tokens get, with T = H + 1."""
        if ee.carried is None or ee.holds is None:
            zero = place.new_zeros(len(place), self.steps, self.width)
            return zero[:, :1], Guess(zero, zero[..., :9], zero[..., :1])
        now, way, left = self.left(place, products, ee.carried)
        x = torch.cat([features(way, self.normalization.local_scale), turn_features(left)], -1)
        holds = ee.holds[:, None].to(x.dtype)
        guesses = self.guesses(now, way, left, ee.pose[:, :3, 3])
        acts = nn.functional.pad(self.guess(guesses), (0, 0, 1, 0))  # the current step has none
        ahead = nn.functional.pad(guesses[..., :9], (0, 0, 1, 0))
        trust = nn.functional.pad(torch.ones_like(guesses[..., :1]), (0, 0, 1, 0))
        guess = Guess(holds[..., None] * acts, ahead, holds[..., None] * trust)
        return holds[..., None] * self.each(x), guess

    def trusted(self, z: Tensor, velocity: Tensor, action: Tensor, guess: Guess, t: Tensor | float) -> Tensor:
        """Move the velocity of actions towards the guess, by a gate for position and one for rotation.

        At flow time t an action x_t with velocity v is predicted as x_t + (1 - t) v. A gate g moves it by g (1 - t)
        towards the guess, so that the velocity stays bounded at t = 1.

        Args:
            z: ``(B, T, d)`` action tokens.
            velocity, action: ``(B, T, 10)`` v and x_t.
            t: flow time, ``(B, 1, 1)`` or a number.
        """
        gate = torch.tanh(self.gate(nn.functional.layer_norm(z, z.shape[-1:]))) * guess.trust
        gate = torch.cat([gate[..., :1].expand(-1, -1, 3), gate[..., 1:].expand(-1, -1, 6)], -1)
        v = velocity[..., :9]
        moved = v + gate * (guess.action - action[..., :9] - (1 - t) * v)
        return torch.cat([moved, velocity[..., 9:]], -1)

    def left(self, place: Tensor, products: Tensor, carried: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return where the keypoints' middle is after the motion ``carried`` ``(B, 4, 4)``, ``(B, 3)``, and what is
        left from there: the ways ``(B, M, 3)``, metres, and the turns ``(B, M, 3, 3)``."""
        where = place * self.normalization.point_scale + self.center
        R, p = carried[:, :3, :3], carried[:, :3, 3]
        now = (R * where[:, 0, None, :]).sum(-1) + p
        return now, where - now[:, None], fit(product(products.unflatten(-1, (3, 3)), R[:, None].mT))

    def guesses(self, now: Tensor, way: Tensor, left: Tensor, hand: Tensor) -> Tensor:
        """Return the ``(B, H, 19)`` features of the steps for the hand at ``(B, 3)``, as normalised actions."""
        path = torch.cat([way / WAY_M, log(left) / TURN_RAD], -1)
        H = self.steps - 1
        lengths = LEAD + PACE * torch.arange(H, device=way.device)
        at, rest = ahead(path, torch.cat([lengths, lengths.new_full((1,), 1e3)]))
        turn = exp(at[..., 3:] * TURN_RAD)
        arm = (hand - now)[:, None]
        move = at[..., :3] * WAY_M + (turn * arm[..., None, :]).sum(-1) - arm
        turned = (turn - torch.eye(3, device=way.device))[..., :2].mT.flatten(-2)
        n = self.normalization
        action = torch.cat([move / n.position_scale, turned / n.rotation_scale], -1)
        paced, last = action[:, :-1], action[:, -1:].expand(-1, H, -1)
        share = (rest[:, None, None] / (rest[:, None, None] + 1)).expand(-1, H, 1)
        return torch.cat([paced / self.scale, last / self.scale, share], -1)
