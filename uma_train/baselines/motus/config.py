"""Sizes of Motus's network, its modes, and the groups of its tokens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from uma.model.config import ModelConfig, small
from uma.settings import within
from uma.types import InputError
from uma_train.baselines.pixels.tokeniser import TokeniserConfig
from uma_train.data.clips import Layout

EXPERTS = ("video", "action", "understanding")

GROUPS: dict[str, str] = {"now": "video", "future": "video", "action": "action", "task": "understanding"}
"""Group of tokens -> its expert: the current image, the future images, state and chunk, and the task."""

Way = Literal["falls", "noise", "clean"]
"""A modality's flow time while sampling: from 1 to 0, always 1, or always 0."""

MODES: dict[str, tuple[Way, Way]] = {
    "video": ("noise", "falls"),
    "world": ("clean", "falls"),
    "inverse": ("falls", "clean"),
    "policy": ("falls", "noise"),
    "joint": ("falls", "falls"),
}
"""mode -> the ways of the chunk and of the images: VGM, world model, IDM, VLA and joint prediction in the paper."""

Stage = Literal["video", "latent", "action"]
"""Stage of training: future images alone, latent actions for the chunk, or the robot's actions."""


@dataclass(frozen=True)
class MotusConfig:
    """Attributes as in `PixelChoice`, and:

    Attributes:
        uma: sizes of the task encoder.
        width, action_width, task_width: of the three experts. The shared attention has that of the video expert.
        patch: latents per edge of a video token, so that video and action tokens balance.
        flow_times: flow times of training are multiples of 1 / flow_times, both ends included.
        acting: mode of the policy. The paper's best results are of the mode joint.
        shared_time: draw one flow time for both modalities; a control that must fail to condition.
    """

    layout: Layout = Layout()
    uma: ModelConfig = field(default_factory=small)
    tokeniser: TokeniserConfig = TokeniserConfig()
    width: int = 192
    action_width: int = 144
    task_width: int = 96
    layers: int = 6
    heads: int = 6
    patch: int = 2
    flow_times: int = 100
    inference_steps: int = 10
    acting: Literal["joint", "policy"] = "joint"
    shared_time: bool = False

    def __post_init__(self) -> None:
        widths = {"width": (8, 4096), "action_width": (8, 4096), "task_width": (8, 4096)}
        within(self, widths | {"patch": (1, 8), "flow_times": (2, 1000), "inference_steps": (1, 1000)})
        if self.width % self.heads:
            raise InputError(f"width: {self.width}, must be a multiple of the {self.heads} heads")
        for name, value in (("width", self.width), ("action_width", self.action_width)):
            if value % 2:
                raise InputError(f"{name}: {value}, must be even")

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of an image's tokens."""
        rows, columns = self.tokeniser.grid
        return -(-rows // self.patch), -(-columns // self.patch)

    @property
    def widths(self) -> dict[str, int]:
        return dict(zip(EXPERTS, (self.width, self.action_width, self.task_width), strict=True))
