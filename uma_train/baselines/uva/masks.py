"""UVA's five modes: which inputs are given beside the past, and which losses count. A mode is data, as for UMA."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mode:
    """
    Attributes:
        future: whether the future images are given.
        action: whether the chunk is given.
        video_loss, action_loss: the losses that count.
    """

    future: bool = False
    action: bool = False
    video_loss: bool = False
    action_loss: bool = False


MODES: dict[str, Mode] = {
    "policy": Mode(action_loss=True),
    "video": Mode(video_loss=True),
    "forward": Mode(action=True, video_loss=True),
    "inverse": Mode(future=True, action_loss=True),
    "joint": Mode(video_loss=True, action_loss=True),
}
VIDEO_ONLY = "video"
"""The mode of samples without actions."""


@dataclass(frozen=True)
class Given:
    """The given inputs of a batch.

    Attributes:
        action: ``(B,)`` bool.
        future: ``(B, N)`` bool: positions given in every future image, the same in all of them.
        video_loss, action_loss: ``(B,)`` bool; the video's loss counts positions that are not given.
    """

    action: Tensor
    future: Tensor
    video_loss: Tensor
    action_loss: Tensor


def given(mode: Mode, size: int, tokens: int, device: torch.device) -> Given:
    """Return the inputs of a prediction in one mode."""
    flags = [torch.full((size,), v, device=device) for v in (mode.action, mode.video_loss, mode.action_loss)]
    future = torch.full((size, tokens), mode.future, device=device)
    return Given(flags[0], future, flags[1], flags[2])


def masked_share(size: int, generator: torch.Generator) -> Tensor:
    """Draw the masked share of the future ``(size,)``: a normal of mean 1 and deviation 0.25, cut to 0.7 and 1."""
    drawn = 1.0 - 0.25 * torch.randn(size, 16, generator=generator).abs()
    fits = drawn >= 0.7
    return drawn.gather(1, fits.float().argmax(1, keepdim=True))[:, 0].clamp(0.7, 1.0)


def draw(has_action: Tensor, tokens: int, generator: torch.Generator, modes: tuple[str, ...] = tuple(MODES)) -> Given:
    """Draw a mode per sample, evenly. A sample without actions ``has_action`` ``(B,)`` gets `VIDEO_ONLY`."""
    names = list(MODES)
    B = len(has_action)
    index = torch.tensor([names.index(m) for m in modes])[torch.randint(len(modes), (B,), generator=generator)]
    index = torch.where(has_action.cpu(), index, torch.tensor(names.index(VIDEO_ONLY)))
    columns = torch.tensor([[m.action, m.future, m.video_loss, m.action_loss] for m in MODES.values()])
    action, future, video, acted = columns[index].unbind(1)
    rank = torch.rand(B, tokens, generator=generator).argsort(1).argsort(1)
    shown = rank >= (masked_share(B, generator)[:, None] * tokens).round()
    positions = torch.where(video[:, None], shown, future[:, None].expand(B, tokens))
    return Given(*(v.to(has_action.device) for v in (action, positions, video, acted)))
