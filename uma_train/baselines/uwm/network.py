"""UWM's network: the velocities of the chunk and of the future images, at two independent noise steps.

The pair of steps selects the distribution: step T of a modality marginalises it, step 0 conditions on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from uma.model.config import ModelConfig, small
from uma.model.inputs import ACTION_DIM, Normalization
from uma.model.uma import sinusoid
from uma.settings import within
from uma.types import HORIZON, InputError
from uma_train.baselines.pixels.diffusion import Schedule
from uma_train.baselines.pixels.inputs import PixelBatch
from uma_train.baselines.pixels.layers import ModulatedBlock
from uma_train.baselines.pixels.model import PixelModel
from uma_train.baselines.pixels.tokeniser import Tokeniser, TokeniserConfig
from uma_train.data.clips import Layout


@dataclass(frozen=True)
class UwmConfig:
    """Attributes as in `PixelChoice`, and:

    Attributes:
        uma: sizes of the task encoder.
        registers: tokens without input or output.
        shared_step: draw one noise step for both modalities, as PAD does; a control that must fail to condition.
    """

    layout: Layout = Layout()
    uma: ModelConfig = field(default_factory=small)
    tokeniser: TokeniserConfig = TokeniserConfig()
    width: int = 192
    layers: int = 6
    heads: int = 6
    registers: int = 8
    diffusion_steps: int = 100
    inference_steps: int = 10
    shared_step: bool = False

    def __post_init__(self) -> None:
        within(self, {"registers": (0, 64)})
        if self.uma.width != self.width:
            raise InputError(f"width: {self.width}, must be that of the task tokens, {self.uma.width}")


@dataclass(frozen=True)
class Steps:
    """Noise steps of the chunk and of the future images, each ``(B,)``."""

    action: Tensor
    image: Tensor


MODES: dict[str, tuple[str, str]] = {
    "policy": ("falls", "noise"),
    "video": ("noise", "falls"),
    "forward": ("clean", "falls"),
    "inverse": ("falls", "clean"),
    "joint": ("falls", "falls"),
}
"""mode -> the steps of the chunk and of the images while sampling: from T to 0, always T, or always 0."""


class UwmNetwork(PixelModel):
    """Velocity of ``[chunk; patches]`` by self-attention, modulated by past images, task and both noise steps.

    Deviations from the paper: the task tokens are added to the condition, where the paper has no task; the encoder of
    the past images is a small convolutional network; the predicted images are at the middle and at the end of the
    chunk, not after it.
    """

    config: UwmConfig

    def __init__(self, config: UwmConfig, norm: Normalization):
        super().__init__(config, norm)
        d, F = config.width, config.layout.future
        self.tokeniser = Tokeniser(config.tokeniser).requires_grad_(False)
        self.schedule = Schedule(config.diffusion_steps)
        c = (32, 64, d)
        self.see = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(a, b, 3, 2, 1), nn.GroupNorm(8, b), nn.SiLU())
                for a, b in zip((3, *c), c, strict=False)
            )
        )
        self.seen = nn.Linear(2 * d, d)
        self.task_in = nn.Linear(config.uma.task_tokens * config.uma.task_width, d)
        self.time = nn.ModuleList(
            nn.Sequential(nn.Linear(d, d), nn.SiLU(), nn.Linear(d, d)) for _ in ("action", "image")
        )
        condition = (config.layout.past + 3) * d
        self.patch = F * config.tokeniser.latent
        tokens = HORIZON + config.tokeniser.tokens + config.registers
        self.action_in, self.patch_in = nn.Linear(ACTION_DIM, d), nn.Linear(self.patch, d)
        self.register = nn.Parameter(0.02 * torch.randn(config.registers, d))
        self.place = nn.Parameter(0.02 * torch.randn(tokens, d))
        self.layers = nn.ModuleList(ModulatedBlock(d, config.heads, condition) for _ in range(config.layers))
        self.norm = nn.LayerNorm(d)
        self.action_out, self.patch_out = nn.Linear(d, ACTION_DIM), nn.Linear(d, self.patch)

    def blocks(self) -> list[nn.Module]:
        return list(self.layers)

    def observe(self, batch: PixelBatch) -> Tensor:
        """Return the condition of past images and task ``(B, (P + 1) d)``, without the noise steps."""
        B, P = batch.past.shape[:2]
        maps = self.see(2 * batch.past.flatten(0, 1) - 1)
        # The place of what is seen: the mean of each channel, and its mean weighted by the column.
        across = torch.linspace(-1, 1, maps.shape[-1], device=maps.device)
        seen = self.seen(torch.cat([maps.mean((2, 3)), (maps * across).mean((2, 3))], -1))
        return torch.cat([seen.view(B, -1), self.task_in(batch.task.to(seen.dtype).flatten(1))], -1)

    def velocity(self, action: Tensor, image: Tensor, steps: Steps, observed: Tensor) -> tuple[Tensor, Tensor]:
        """Predict the velocities of noisy chunks ``(B, H, 10)`` and of noisy patches ``(B, N, F c)``."""
        d = self.config.width
        times = [net(sinusoid(t, d)) for net, t in zip(self.time, (steps.action, steps.image), strict=True)]
        condition = torch.cat([observed, *times], -1)
        registers = self.register.expand(len(action), -1, -1)
        x = torch.cat([self.action_in(action), self.patch_in(image), registers], 1) + self.place
        for layer in self.layers:
            x = layer(x, condition)
        x = self.norm(x)
        H, N = HORIZON, self.config.tokeniser.tokens
        return self.action_out(x[:, :H]), self.patch_out(x[:, H : H + N])

    def patches(self, images: Tensor) -> Tensor:
        """``(B, F, 3, h, w)`` -> ``(B, N, F c)``: the latents of all future images at each position."""
        return self.tokeniser.encode(images).transpose(1, 2).flatten(2)

    def draw_steps(self, has_action: Tensor, generator: torch.Generator) -> Steps:
        """Draw both steps uniformly from 0 to T; the chunk's is T where there are no actions."""
        T, B = self.config.diffusion_steps, len(has_action)
        action, image = (torch.randint(0, T + 1, (B,), generator=generator) for _ in range(2))
        if self.config.shared_step:
            action = image
        return Steps(torch.where(has_action, action.to(has_action.device), T), image.to(has_action.device))

    def losses(self, batch: PixelBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Squared errors of both velocities, over all samples, and their sum.

        A sample without actions has a chunk of noise at step T, as in the paper.
        """
        device = batch.past.device
        steps = self.draw_steps(batch.has_action, generator)
        clean = self.patches(batch.future)
        noises = [torch.randn(x.shape, generator=generator).to(device) for x in (batch.action, clean)]
        known = batch.action * batch.has_action[:, None, None]
        action = torch.where(
            batch.has_action[:, None, None], self.schedule.noised(known, noises[0], steps.action), noises[0]
        )
        image = self.schedule.noised(clean, noises[1], steps.image)
        predicted = self.velocity(action, image, steps, self.observe(batch))
        targets = [
            self.schedule.velocity(*pair)
            for pair in ((known, noises[0], steps.action), (clean, noises[1], steps.image))
        ]
        # Every image's channels of a patch count if the image was seen.
        seen = batch.is_seen.repeat_interleave(self.config.tokeniser.latent, 1)[:, None].to(clean)
        acted = (predicted[0].float() - targets[0]).square().mean()
        shown = ((predicted[1].float() - targets[1]).square() * seen).sum() / (
            seen.sum() * self.config.tokeniser.tokens
        ).clamp_min(1)
        return {"action": acted, "video": shown, "total": acted + shown}

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
    ) -> tuple[Tensor, Tensor]:
        """Sample in one of `MODES`: chunks ``(B samples, H, 10)`` and patches ``(B samples, N, F c)``.

        Args:
            samples: of each row, one after another.
            image_noise: starting noise of the patches; None = drawn.
        """
        n, T = len(batch.past) * samples, self.config.diffusion_steps
        device, steps = batch.past.device, max(num_steps, self.config.inference_steps)
        observed = self.observe(batch).repeat_interleave(samples, 0)
        action = torch.randn(n, HORIZON, ACTION_DIM, generator=generator).to(device)
        image = torch.randn(n, self.config.tokeniser.tokens, self.patch, generator=generator).to(device)
        if image_noise is not None:
            image = image_noise
        ways = MODES[mode]
        if ways[0] == "clean":
            action = batch.action.repeat_interleave(samples, 0)
        if ways[1] == "clean":
            image = self.patches(batch.future).repeat_interleave(samples, 0)
        grid = self.schedule.grid(steps)
        for t, to in zip(grid, grid[1:], strict=False):
            at = [torch.full((n,), {"falls": t, "noise": T, "clean": 0}[way], device=device) for way in ways]
            out = self.velocity(action, image, Steps(*at), observed)
            if ways[0] == "falls":
                action = self.schedule.back(action, self.schedule.noise_of(action, out[0], at[0]), t, to)
            if ways[1] == "falls":
                image = self.schedule.back(image, self.schedule.noise_of(image, out[1], at[1]), t, to)
        return action, image

    def act(self, batch: PixelBatch, num_steps: int, samples: int, generator: torch.Generator) -> Tensor:
        drawn, _ = self.sample(batch, "policy", num_steps, generator, samples=samples)
        return drawn.view(len(batch.past), samples, HORIZON, ACTION_DIM)

    def foresee(self, batch: PixelBatch, num_steps: int, generator: torch.Generator) -> Tensor:
        return self._latents(self.sample(batch, "forward", num_steps, generator)[1])

    def infer(self, batch: PixelBatch, num_steps: int, generator: torch.Generator) -> Tensor:
        return self.sample(batch, "inverse", num_steps, generator)[0]

    def _latents(self, patches: Tensor) -> Tensor:
        """``(B, N, F c)`` -> ``(B, F, N, c)``."""
        B, N, _ = patches.shape
        return patches.view(B, N, self.config.layout.future, -1).transpose(1, 2)

    def images(self, patches: Tensor) -> Tensor:
        """``(B, N, F c)`` -> ``(B, F, 3, h, w)``."""
        return self.tokeniser.decode(self._latents(patches))
