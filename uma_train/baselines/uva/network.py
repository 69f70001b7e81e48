"""UVA's network: per position, past, action and future are joined by channels; one transformer pass; two heads."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from uma.model.config import ModelConfig, small
from uma.model.inputs import ACTION_DIM, Normalization
from uma.types import HORIZON, InputError
from uma_train.baselines.pixels.diffusion import Schedule
from uma_train.baselines.pixels.inputs import PixelBatch
from uma_train.baselines.pixels.layers import Block, DiffusionHead
from uma_train.baselines.pixels.model import PixelModel
from uma_train.baselines.pixels.tokeniser import Tokeniser, TokeniserConfig
from uma_train.baselines.uva.masks import MODES, Given, draw, given
from uma_train.data.clips import Layout


@dataclass(frozen=True)
class UvaConfig:
    """Attributes as in `PixelChoice`, and:

    Attributes:
        uma: sizes of the task encoder.
        modes: the modes of training, evenly drawn.
        action_draws: noises and noise steps for each chunk in training; the action head is light.
    """

    layout: Layout = Layout()
    uma: ModelConfig = field(default_factory=small)
    tokeniser: TokeniserConfig = TokeniserConfig()
    width: int = 192
    layers: int = 6
    heads: int = 6
    head_width: int = 256
    head_layers: int = 3
    diffusion_steps: int = 100
    inference_steps: int = 10
    modes: tuple[str, ...] = tuple(MODES)
    action_draws: int = 8

    def __post_init__(self) -> None:
        if self.layout.past != self.layout.future or HORIZON % self.layout.future:
            raise InputError(
                f"layout.past, layout.future: {self.layout.past} and {self.layout.future}, UVA joins each past image "
                f"with a future one, so they must be equal, and divide the {HORIZON} actions"
            )
        if self.uma.width != self.width:
            raise InputError(f"width: {self.width}, must be that of the task tokens, {self.uma.width}")


class UvaNetwork(PixelModel):
    """z = transformer([past; action; future] per position, task); noise of patches and of the chunk from z.

    Deviations from the paper: the task tokens take the place of the text tokens; a past image has one measured state,
    not a chunk of past actions; the action head denoises
    the whole chunk at once.
    """

    config: UvaConfig

    def __init__(self, config: UvaConfig, norm: Normalization):
        super().__init__(config, norm)
        d, c, F = config.width, config.tokeniser.latent, config.layout.future
        self.tokeniser = Tokeniser(config.tokeniser).requires_grad_(False)
        self.schedule = Schedule(config.diffusion_steps)
        self.per_image = HORIZON // F * ACTION_DIM
        self.past_in, self.future_in = nn.Linear(c, d), nn.Linear(c, d)
        self.state_in, self.action_in = nn.Linear(ACTION_DIM, d), nn.Linear(self.per_image, d)
        self.task_in = nn.Linear(config.uma.task_width, d) if any(config.uma.stated) else nn.Identity()
        self.masked = nn.Parameter(0.02 * torch.randn(2, d))  # action, future image
        self.fuse = nn.Linear(4 * d, d)
        self.place = nn.Parameter(0.02 * torch.randn(config.tokeniser.tokens, d))
        self.when = nn.Parameter(0.02 * torch.randn(F, d))
        self.layers = nn.ModuleList(Block(d, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(d)
        self.video_head = DiffusionHead(c, d, config.head_width, config.head_layers)
        self.to_action = nn.Conv2d(d, d // 2, 3, 1, 1)
        self.action_latent = nn.Sequential(nn.Linear(F * (d // 2), d), nn.GELU(), nn.Linear(d, d))
        # A head narrower than the chunk could not pass its noise on.
        chunk = HORIZON * ACTION_DIM
        self.action_head = DiffusionHead(chunk, d, max(config.head_width, chunk + 32), config.head_layers)

    def blocks(self) -> list[nn.Module]:
        return list(self.layers)

    def join(self, batch: PixelBatch, future: Tensor, inputs: Given) -> Tensor:
        """Return Z ``(B, F, N, d)`` in one pass of the transformer.

        Args:
            future: ``(B, F, N, c)`` latents; only the positions in ``inputs`` are used.
        """
        B, F, N, _ = future.shape
        past = self.past_in(self.tokeniser.encode(batch.past))
        state = self.state_in(batch.state)[:, :, None].expand(B, F, N, -1)
        action = self.action_in(batch.action.reshape(B, F, self.per_image))[:, :, None].expand(B, F, N, -1)
        parts = [
            past,
            state,
            torch.where(inputs.action[:, None, None, None], action, self.masked[0]),
            torch.where(inputs.future[:, None, :, None], self.future_in(future), self.masked[1]),
        ]
        x = self.fuse(torch.cat(parts, -1)) + self.place + self.when[:, None]
        x = torch.cat([x.reshape(B, F * N, -1), self.task_in(batch.task.to(x.dtype))], 1)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x[:, : F * N]).view(B, F, N, -1)

    def latent_action(self, z: Tensor) -> Tensor:
        """``(B, F, N, d)`` -> ``(B, d)``: a convolution over positions, their mean, and a network over images."""
        B, F, N, d = z.shape
        maps = z.reshape(B * F, N, d).transpose(1, 2).reshape(B * F, d, *self.config.tokeniser.grid)
        return self.action_latent(self.to_action(maps).mean((2, 3)).reshape(B, -1))

    def losses(self, batch: PixelBatch, generator: torch.Generator) -> dict[str, Tensor]:
        """Squared errors of the velocities: ``video`` of masked patches, ``action`` of chunks, and their sum."""
        device = batch.past.device
        inputs = draw(batch.has_action, self.config.tokeniser.tokens, generator, self.config.modes)
        future = self.tokeniser.encode(batch.future)
        z = self.join(batch, future, inputs)
        B, F, N, c = future.shape

        def error(head: DiffusionHead, x: Tensor, condition: Tensor, n: int = 1) -> Tensor:
            x, condition = x.repeat(n, 1), condition.repeat(n, 1)
            t = torch.randint(1, self.config.diffusion_steps + 1, (len(x),), generator=generator).to(device)
            noise = torch.randn(x.shape, generator=generator).to(device)
            noisy = self.schedule.noised(x, noise, t)
            target = self.schedule.velocity(x, noise, t)
            each = (head(noisy, t, condition).float() - target).square().mean(-1)
            return each.view(n, -1).mean(0)

        wanted = ~inputs.future[:, None].expand(B, F, N) & inputs.video_loss[:, None, None] & batch.is_seen[..., None]
        patch = error(self.video_head, future.reshape(-1, c), z.reshape(B * F * N, -1)).view(B, F, N)
        video = (patch * wanted).sum() / wanted.sum().clamp_min(1)
        acts = inputs.action_loss & batch.has_action
        chunk = error(self.action_head, batch.action.reshape(B, -1), self.latent_action(z), self.config.action_draws)
        action = (chunk * acts).sum() / acts.sum().clamp_min(1)
        return {"video": video, "action": action, "total": video + action}

    @torch.no_grad()
    def act(
        self, batch: PixelBatch, num_steps: int, samples: int, generator: torch.Generator, mode: str = "policy"
    ) -> Tensor:
        """Sample chunks ``(B, samples, H, 10)``: one pass, and the action head alone (modes policy and inverse)."""
        B, N = len(batch.past), self.config.tokeniser.tokens
        inputs = given(MODES[mode], B, N, batch.past.device)
        shape = (B, self.config.layout.future, N, self.config.tokeniser.latent)
        future = self.tokeniser.encode(batch.future) if MODES[mode].future else batch.past.new_zeros(shape)
        condition = self.latent_action(self.join(batch, future, inputs)).repeat_interleave(samples, 0)
        return self.chunks(condition, num_steps, generator).view(B, samples, HORIZON, ACTION_DIM)

    def foresee(self, batch: PixelBatch, num_steps: int, generator: torch.Generator) -> Tensor:
        return self.imagine(batch, num_steps, generator, "forward")[0]

    def infer(self, batch: PixelBatch, num_steps: int, generator: torch.Generator) -> Tensor:
        return self.act(batch, num_steps, 1, generator, "inverse")[:, 0]

    def chunks(self, condition: Tensor, num_steps: int, generator: torch.Generator) -> Tensor:
        """Denoise chunks ``(n, H * 10)`` with the action head."""
        noise = torch.randn(len(condition), HORIZON * ACTION_DIM, generator=generator).to(condition.device)
        steps = max(num_steps, self.config.inference_steps)
        return self.denoised(self.action_head, noise, condition, steps)

    def denoised(self, head: DiffusionHead, noise: Tensor, condition: Tensor, steps: int) -> Tensor:
        """Denoise ``(n, size)`` vectors with one of the heads, under conditions ``(n, d)``."""

        def predict(x: Tensor, t: int) -> Tensor:
            at = torch.full((len(x),), t, device=x.device)
            return self.schedule.noise_of(x, head(x, at, condition), at)

        return self.schedule.sample(predict, noise, steps)

    @torch.no_grad()
    def imagine(
        self, batch: PixelBatch, num_steps: int, generator: torch.Generator, mode: str = "video", passes: int = 1
    ) -> tuple[Tensor, Tensor]:
        """Sample the future (modes video, forward and joint).

        Args:
            passes: passes of the transformer; each adds positions, in a random order, more of them the later it is.

        Returns:
            The latents ``(B, F, N, c)``, and in the mode joint the chunk ``(B, H, 10)``, otherwise zeros.
        """
        B, N, F = len(batch.past), self.config.tokeniser.tokens, self.config.layout.future
        device, c = batch.past.device, self.config.tokeniser.latent
        future = torch.zeros(B, F, N, c, device=device)
        order = torch.rand(B, N, generator=generator).argsort(1).argsort(1).to(device)
        inputs = given(MODES[mode], B, N, device)
        steps = max(num_steps, self.config.inference_steps)
        for i in range(passes):
            known = order < round(N * (1 - _cosine(i / passes)))
            new = order < round(N * (1 - _cosine((i + 1) / passes)))
            z = self.join(batch, future, Given(inputs.action, known, inputs.video_loss, inputs.action_loss))
            condition = z.reshape(B * F * N, -1)
            noise = torch.randn(B * F * N, c, generator=generator).to(device)
            drawn = self.denoised(self.video_head, noise, condition, steps)
            future = torch.where((new & ~known)[:, None, :, None], drawn.view(B, F, N, c), future)
        action = torch.zeros(B, HORIZON, ACTION_DIM, device=device)
        if mode == "joint":
            everything = torch.ones(B, N, dtype=torch.bool, device=device)
            last = Given(inputs.action, everything, inputs.video_loss, inputs.action_loss)
            condition = self.latent_action(self.join(batch, future, last))
            action = self.chunks(condition, num_steps, generator).view_as(action)
        return future, action


def _cosine(u: float) -> float:
    return float(torch.cos(torch.tensor(u) * torch.pi / 2))
