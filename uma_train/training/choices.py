"""Choices for the systems that UMA is compared with (`uma_train.baselines`), as `uma train` takes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from uma.settings import within
from uma.types import HORIZON, InputError
from uma_train.data.clips import Layout


@dataclass(frozen=True)
class PixelChoice:
    """
    Attributes:
        layout: the images.
        tokeniser: bundle of the frozen image tokeniser, made by ``uma train --system tokeniser``.
        channels: of each halving of the image in a tokeniser; its latents are 2 ** len(channels) times smaller.
        latent: channels of a latent.
        kl: weight of the divergence in the tokeniser's loss.
        width, layers, heads: of the system's transformer; the width is that of the task tokens, too.
        head_width, head_layers: of a diffusion head.
        diffusion_steps: T of the noise schedule in training.
        inference_steps: fewest denoising steps of a prediction; the sampler's ``num_steps`` counts if larger.
        video_only: train on the future images alone, as in the first of two stages. The second stage continues with
            ``init``.
    """

    layout: Layout = Layout()
    tokeniser: str = ""
    channels: tuple[int, ...] = (24, 48, 96)
    latent: int = 8
    kl: float = 1e-4
    width: int = 192
    layers: int = 6
    heads: int = 6
    head_width: int = 256
    head_layers: int = 3
    diffusion_steps: int = 100
    inference_steps: int = 10
    video_only: bool = False

    def __post_init__(self) -> None:
        counts = {"width": (8, 4096), "layers": (1, 64), "heads": (1, 64), "head_width": (8, 4096)}
        within(
            self,
            counts
            | {
                "latent": (1, 64),
                "kl": (0, 1),
                "head_layers": (1, 32),
                "diffusion_steps": (2, 1000),
                "inference_steps": (1, 1000),
            },
            "pixels.",
        )
        if not 1 <= len(self.channels) <= 5:
            raise InputError(f"pixels.channels: {len(self.channels)} values, must be 1 to 5")
        if self.width % self.heads:
            raise InputError(f"pixels.width: {self.width}, must be a multiple of the {self.heads} heads")


@dataclass(frozen=True)
class MotusChoice:
    """Choices beside `PixelChoice`.

    Attributes:
        stage: of training: "video" alone, "latent" actions of videos, or the robot's "action"s. Each continues with
            ``init`` from the one before.
        latents: bundle of `uma train --system latent_actions`, for the stage "latent".
        action_width, task_width: of the action and the understanding expert; ``pixels.width`` is the video expert's.
        patch: latents per edge of a video token.
        acting: mode of the policy.
        stride, token, supervision, kl: of the latent actions: control steps of a flow field, width of a token, lambda_a
            and beta.
    """

    stage: Literal["video", "latent", "action"] = "action"
    latents: str = ""
    action_width: int = 144
    task_width: int = 96
    patch: int = 2
    acting: Literal["joint", "policy"] = "joint"
    stride: int = 4
    token: int = 64
    supervision: float = 1.0
    kl: float = 1e-6

    def __post_init__(self) -> None:
        widths = {"action_width": (8, 4096), "task_width": (8, 4096), "token": (4, 1024)}
        within(self, widths | {"patch": (1, 8), "supervision": (0, 1000), "kl": (0, 1)}, "motus.")
        if self.stride < 1 or HORIZON % self.stride:
            raise InputError(f"motus.stride: {self.stride}, must divide the {HORIZON} actions")


@dataclass(frozen=True)
class FlowChoice:
    """
    Attributes:
        width, layers, heads: of the system's transformer.
        steps: predicted by one pass, as in PointWorld; longer chunks take more passes.
        static: points of the cloud that are supervised to rest, per window.
        static_weight: of their loss.
        still_weight: weight of a keypoint that rests, against 1 of one that moves 2 cm or more.
        huber: displacement at which the loss becomes linear, metres.
    """

    width: int = 128
    layers: int = 4
    heads: int = 4
    steps: int = 10
    static: int = 32
    static_weight: float = 0.05
    still_weight: float = 0.2
    huber: float = 0.05

    def __post_init__(self) -> None:
        counts = {"width": (8, 4096), "layers": (1, 64), "heads": (1, 64), "steps": (1, 64), "static": (0, 4096)}
        weights = {"static_weight": (0, 10), "still_weight": (0, 1), "huber": (1e-4, 10)}
        within(self, counts | weights, "flow.")
        if self.width % self.heads:
            raise InputError(f"flow.width: {self.width}, must be a multiple of the {self.heads} heads")
