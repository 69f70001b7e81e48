"""Motus's network: velocities of the chunk and of the future images, at two independent flow times.

The path is x_tau = (1 - tau) x_0 + tau eps with the velocity eps - x_0. Time 0 is data and time 1 is noise, which is
the reverse of UMA's flow time. The pair of times selects the distribution, see `config.MODES`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from uma.model.inputs import ACTION_DIM, Normalization
from uma.model.uma import sinusoid
from uma.types import HORIZON
from uma_train.baselines.motus.config import GROUPS, MODES, MotusConfig
from uma_train.baselines.motus.experts import JointLayer
from uma_train.baselines.pixels.inputs import PixelBatch
from uma_train.baselines.pixels.model import PixelModel
from uma_train.baselines.pixels.tokeniser import Tokeniser

Cut = frozenset[tuple[str, str]]
"""Pairs (reader, read) of groups of tokens without attention from the first to the second."""

CLOCK = 30.0
"""Scale of a control step in the sinusoids of time, whose values are of order 1 to 1000."""


@dataclass(frozen=True)
class Given:
    """What a velocity is conditioned on, for ``B`` rows.

    Attributes:
        now: ``(B, n, p)`` patches of the current image.
        state: ``(B, 10)`` measured state, encoded as actions are.
        has_state: ``(B,)`` bool; False for videos and for latent actions.
        task: ``(B, M, d)`` task tokens.
    """

    now: Tensor
    state: Tensor
    has_state: Tensor
    task: Tensor

    def repeated(self, count: int) -> Given:
        return Given(*(getattr(self, name).repeat_interleave(count, 0) for name in Given.__dataclass_fields__))


class MotusNetwork(PixelModel):
    """Velocities of chunk and images by three experts.

    Deviations from the paper: all experts start from random weights, so the priors of Wan and Qwen are absent. UMA's
    task tokens are the understanding expert's input, in place of a frozen vision-language model's tokens. The video
    expert has no text input of its own. As in the paper, the current image alone is given.
    """

    config: MotusConfig

    def __init__(self, config: MotusConfig, norm: Normalization):
        super().__init__(config, norm)
        w, d = config.widths, config.width
        self.tokeniser = Tokeniser(config.tokeniser).requires_grad_(False)
        patch = config.patch**2 * config.tokeniser.latent
        rows, columns = config.grid
        self.inputs = nn.ModuleDict(
            {
                "video": nn.Linear(patch, d),
                "action": nn.Linear(ACTION_DIM, w["action"]),
                "understanding": nn.Linear(config.uma.task_width, w["understanding"]),
            }
        )
        self.state_in = nn.Linear(ACTION_DIM, w["action"])
        self.no_state = nn.Parameter(0.02 * torch.randn(w["action"]))
        self.place = nn.Parameter(0.02 * torch.randn(rows * columns, d))
        self.order = nn.Parameter(0.02 * torch.randn(config.uma.task_tokens, w["understanding"]))
        self.clock = nn.ModuleDict({name: nn.Linear(w[name], w[name]) for name in ("video", "action")})
        self.time = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Linear(w[name], w[name]), nn.SiLU(), nn.Linear(w[name], w[name]))
                for name in ("video", "action")
            }
        )
        conditions = {"video": d, "action": w["action"], "understanding": 0}
        self.layers = nn.ModuleList(JointLayer(w, conditions, d, config.heads) for _ in range(config.layers))
        self.norms = nn.ModuleDict({name: nn.LayerNorm(w[name]) for name in ("video", "action")})
        self.outputs = nn.ModuleDict({"video": nn.Linear(d, patch), "action": nn.Linear(w["action"], ACTION_DIM)})

    def blocks(self) -> list[nn.Module]:
        return list(self.layers)

    def of_expert(self, name: str) -> list[nn.Parameter]:
        """Return the parameters of one expert, with those of its inputs and outputs."""
        extra = {"action": [self.state_in.weight, self.state_in.bias, self.no_state], "video": [self.place]}
        groups = (self.inputs, self.clock, self.time, self.norms, self.outputs)
        modules = [group[name] for group in groups if name in group]
        modules += [cast(JointLayer, layer).experts[name] for layer in self.layers]
        return [*(p for m in modules for p in m.parameters()), *extra.get(name, [self.order])]

    # -- images --

    def patches(self, images: Tensor) -> Tensor:
        """``(B, F, 3, h, w)`` -> ``(B, F n, p)``: the latents of each image in squares of ``patch``."""
        latents, s = self.tokeniser.encode(images), self.config.patch
        B, F, _, c = latents.shape
        (rows, columns), (R, C) = self.config.tokeniser.grid, self.config.grid
        maps = latents.view(B * F, rows, columns, c).permute(0, 3, 1, 2)
        maps = functional.pad(maps, (0, C * s - columns, 0, R * s - rows))
        return functional.unfold(maps, s, stride=s).transpose(1, 2).reshape(B, F * R * C, c * s * s)

    def images(self, patches: Tensor) -> Tensor:
        """``(B, F n, p)`` -> ``(B, F, 3, h, w)``."""
        return self.tokeniser.decode(self._latents(patches))

    def foresee(self, batch: PixelBatch, num_steps: int, generator: torch.Generator) -> Tensor:
        return self._latents(self.sample(batch, "world", num_steps, generator)[1])

    def infer(self, batch: PixelBatch, num_steps: int, generator: torch.Generator) -> Tensor:
        return self.sample(batch, "inverse", num_steps, generator)[0]

    def _latents(self, patches: Tensor) -> Tensor:
        """``(B, F n, p)`` -> ``(B, F, N, c)``."""
        (rows, columns), (R, C), s = self.config.tokeniser.grid, self.config.grid, self.config.patch
        B, F = len(patches), patches.shape[1] // (R * C)
        flat = patches.reshape(B * F, R * C, -1).transpose(1, 2)
        maps = functional.fold(flat, (R * s, C * s), s, stride=s)[..., :rows, :columns]
        return maps.flatten(2).transpose(1, 2).reshape(B, F, rows * columns, -1)

    # -- the velocity --

    def frame_steps(self) -> list[int]:
        """Control steps of the future images. Action i of a chunk is that of step i + 1 whatever these are."""
        return [s for s in self.layout.steps if s > 0]

    def given(self, batch: PixelBatch, knows_state: bool = True) -> Given:
        has = batch.has_action & knows_state
        return Given(self.patches(batch.past[:, -1:]), batch.state[:, -1], has, batch.task)

    def _clock(self, name: str, steps: Tensor) -> Tensor:
        return self.clock[name](sinusoid(CLOCK * steps, self.config.widths[name]))

    def _may(self, groups: dict[str, int], cut: Cut, device: torch.device) -> Tensor | None:
        if not cut:
            return None
        names = [name for name, n in groups.items() for _ in range(n)]
        return torch.tensor([[(a, b) not in cut for b in names] for a in names], device=device)

    def velocity(
        self, action: Tensor | None, image: Tensor, times: tuple[Tensor, Tensor], given: Given, cut: Cut = frozenset()
    ) -> tuple[Tensor | None, Tensor]:
        """Predict the velocities of noisy chunks ``(B, H, 10)`` and of noisy patches ``(B, F n, p)``.

        Args:
            action: None leaves out the action expert, as in the first stage.
            times: flow times ``(B,)`` of the chunk and of the images.
            cut: attention that is left out.
        """
        device, n = image.device, given.now.shape[1]
        zero = torch.zeros_like(times[1])
        steps = torch.tensor([0, *self.frame_steps()], device=device).repeat_interleave(n)
        video = self.inputs["video"](torch.cat([given.now, image], 1)) + self._clock("video", steps)
        tokens = {"video": video + self.place.repeat(len(steps) // n, 1)}
        groups = {"now": n, "future": image.shape[1]}
        at = {"video": times[1]}
        if action is not None:
            state = torch.where(given.has_state[:, None], self.state_in(given.state), self.no_state)
            acts = torch.cat([state[:, None], self.inputs["action"](action)], 1)
            tokens["action"] = acts + self._clock("action", torch.arange(HORIZON + 1, device=device))
            groups["action"], at["action"] = HORIZON + 1, times[0]
        task = self.inputs["understanding"](given.task.to(video.dtype))
        tokens["understanding"] = task + self.order[: task.shape[1]]
        groups["task"] = task.shape[1]
        # What is given has time 0, whatever the rest has.
        conditions = {
            name: self.time[name](sinusoid(1000 * torch.cat([zero, t]), self.config.widths[name])).unflatten(0, (2, -1))
            for name, t in at.items()
        }
        conditions = {name: c.transpose(0, 1) for name, c in conditions.items()}
        which = {name: torch.ones(tokens[name].shape[1], dtype=torch.long, device=device) for name in at}
        which["video"][:n] = 0
        if action is not None:
            which["action"][0] = 0
        may = self._may(groups, cut, device)
        for layer in self.layers:
            tokens = layer(tokens, conditions, which, may)
        image_out = self.outputs["video"](self.norms["video"](tokens["video"][:, n:]))
        if action is None:
            return None, image_out
        return self.outputs["action"](self.norms["action"](tokens["action"][:, 1:])), image_out

    # -- training --

    def draw_times(self, has_action: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw both flow times uniformly, ends included; the chunk's is 1 where there are no actions."""
        T, device = self.config.flow_times, has_action.device
        action, image = (torch.randint(0, T + 1, has_action.shape, generator=generator) / T for _ in range(2))
        if self.config.shared_time:
            action = image
        return torch.where(has_action, action.to(device), 1.0), image.to(device)

    def losses(
        self, batch: PixelBatch, generator: torch.Generator, stage: str = "action", cut: Cut = frozenset()
    ) -> dict[str, Tensor]:
        """Squared errors of the velocities with equal weight, and their sum.

        Args:
            stage: "video" leaves out the action expert. In the stage "latent" the batch's actions are latent ones, and
                the robot's state is not given.
        """
        times = self.draw_times(batch.has_action, generator)
        clean = self.patches(batch.future)
        noises = [torch.randn(x.shape, generator=generator).to(x) for x in (batch.action, clean)]
        action, image = (
            (1 - t)[:, None, None] * x + t[:, None, None] * e
            for t, x, e in zip(times, (batch.action, clean), noises, strict=True)
        )
        action = torch.where(batch.has_action[:, None, None], action, noises[0])
        given = self.given(batch, knows_state=stage == "action")
        out = self.velocity(None if stage == "video" else action, image, times, given, cut)
        seen = batch.is_seen.repeat_interleave(clean.shape[1] // batch.is_seen.shape[1], 1).to(clean)
        error = (out[1].float() - (noises[1] - clean)).square().mean(-1)
        video = (error * seen).sum() / seen.sum().clamp_min(1)
        if out[0] is None:
            return {"video": video, "action": video.new_zeros(()), "total": video}
        wrong = (out[0].float() - (noises[0] - batch.action)).square().mean((1, 2))
        acted = (wrong * batch.has_action).sum() / batch.has_action.sum().clamp_min(1)
        return {"video": video, "action": acted, "total": video + acted}

    # -- sampling --

    @torch.no_grad()
    def sample(
        self,
        batch: PixelBatch,
        mode: str,
        num_steps: int,
        generator: torch.Generator,
        *,
        samples: int = 1,
        image_noise: Tensor | None = None,
        cut: Cut = frozenset(),
    ) -> tuple[Tensor, Tensor]:
        """Sample in one of `MODES` by Euler steps: chunks ``(B samples, H, 10)`` and patches ``(B samples, F n, p)``.

        Args:
            samples: of each row, one after another.
            image_noise: starting noise of the patches; None = drawn.
            cut: attention that is left out.
        """
        device, count = batch.past.device, max(num_steps, self.config.inference_steps)
        given = self.given(batch).repeated(samples)
        n, ways = len(given.now), MODES[mode]
        shape = (n, given.now.shape[1] * len(self.frame_steps()), given.now.shape[2])
        action = torch.randn(n, HORIZON, ACTION_DIM, generator=generator).to(device)
        image = torch.randn(shape, generator=generator).to(device) if image_noise is None else image_noise
        if ways[0] == "clean":
            action = batch.action.repeat_interleave(samples, 0)
        if ways[1] == "clean":
            image = self.patches(batch.future).repeat_interleave(samples, 0)
        for i in range(count):
            tau = 1 - i / count
            at = tuple(torch.full((n,), {"falls": tau, "noise": 1.0, "clean": 0.0}[w], device=device) for w in ways)
            v = self.velocity(action, image, (at[0], at[1]), given, cut)
            if ways[0] == "falls" and v[0] is not None:
                action = action - v[0] / count
            if ways[1] == "falls":
                image = image - v[1] / count
        return action, image

    def act(self, batch: PixelBatch, num_steps: int, samples: int, generator: torch.Generator) -> Tensor:
        drawn, _ = self.sample(batch, self.config.acting, num_steps, generator, samples=samples)
        return drawn.view(len(batch.past), samples, HORIZON, ACTION_DIM)


WHOLE_CUT: Cut = frozenset((reader, "future") for reader in GROUPS if reader != "future")
"""Nothing outside the future images reads them, also not by way of the current image."""
