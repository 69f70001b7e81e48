"""One sampler for every inference mode: eager, compiled, or captured in a CUDA graph.

A mode is data: given tokens and target tokens. Compilation and capture depend on the shapes only.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from uma.model.cloud import HEAD, check_above, check_valid
from uma.model.cloud_torch import CloudPreparation
from uma.model.encoders import EndEffectorBatch, PointBatch, ReferenceBatch
from uma.model.masks import MaskPattern
from uma.model.uma import TokenGrid, Uma
from uma.policy.agreement import closest, consensus
from uma.policy.sampling import SamplerConfig
from uma.types import InputError

Run = Callable[[dict[str, Tensor]], tuple[Tensor, ...]]
Batch = TypeVar("Batch", PointBatch, ReferenceBatch)

WARM_UP = 3
"""Warm-up runs before the capture of a CUDA graph."""


@dataclass(frozen=True)
class ImageInput:
    """One RGB-D image whose cloud the sampler prepares on its device.

    Attributes:
        depth: ``(H, W)`` float32 metres.
        rgb: ``(H, W, 3)`` uint8.
        intrinsics: ``(4,)`` fx, fy, cx, cy in pixels.
        ee_position: ``(3,)`` metres, camera frame.
        T_frame_cam: ``(4, 4)`` float32.
    """

    depth: Tensor
    rgb: Tensor
    intrinsics: Tensor
    ee_position: Tensor
    T_frame_cam: Tensor


@dataclass(frozen=True)
class Inputs:
    """Inputs of one sampler call: B observations, N candidates each, T steps and K keypoints.

    Attributes:
        points: of the observations, policy frame; or one image, for B = 1.
        ee: of the observations, policy frame.
        task: ``(B, M, d)`` task tokens.
        action: ``(B, N, T, 10)`` given action tokens.
        motion: ``(B, T, K, 3)`` given motion tokens; arbitrary at targets.
        identity: ``(B, K, 3)`` keypoint positions in the initial observation.
        is_target_action, is_target_motion: ``(B, T)`` and ``(B, T, K)`` bool.
        noise_action, noise_motion: ``(S, T, 10)`` and ``(S, T, K, 3)``, shared by observations and candidates.
    """

    points: PointBatch | ImageInput
    ee: EndEffectorBatch
    task: Tensor
    action: Tensor
    motion: Tensor
    identity: Tensor
    is_target_action: Tensor
    is_target_motion: Tensor
    noise_action: Tensor
    noise_motion: Tensor


@dataclass(frozen=True)
class Samples:
    """Normalised samples on the CPU.

    Attributes:
        action, motion: ``(B, N, T, 10)`` and ``(B, N, T, K, 3)``, averaged over the consensus; over all samples if no
            action is a target.
        all_actions: ``(B, N, S, T, 10)``.
    """

    action: Tensor
    motion: Tensor
    all_actions: Tensor


def _pieces(value: Any, prefix: str = "") -> dict[str, Tensor]:
    """Return every tensor in nested dataclasses, by dotted name."""
    out: dict[str, Tensor] = {}
    for f in fields(value):
        part = getattr(value, f.name)
        if isinstance(part, Tensor):
            out[prefix + f.name] = part
        elif part is not None:
            out |= _pieces(part, f"{prefix}{f.name}.")
    return out


def _built(pieces: dict[str, Tensor]) -> Inputs:
    def part(kind: Callable[..., Any], prefix: str) -> Any:
        return kind(**{k.removeprefix(prefix): v for k, v in pieces.items() if k.startswith(prefix)})

    own = {k: v for k, v in pieces.items() if "." not in k}
    kind = ImageInput if "points.depth" in pieces else PointBatch
    return Inputs(part(kind, "points."), part(EndEffectorBatch, "ee."), **own)


class Sampler:
    """Runs encoders, context, flow and consensus of one model.

    Args:
        model: is not modified; another device or precision uses a copy.
        config: may be replaced later by one of the same device, precision and compilation.
    """

    def __init__(self, model: Uma, config: SamplerConfig):
        self.config, self.device = config, torch_device(config.device)
        self.model = _placed(model, self.device, config.precision)
        self.prepares_images = self.device.type == "cuda" and self.model.config.image.kind == "none"
        self._preparations: dict[tuple[int, int], CloudPreparation] = {}
        self._tables: dict[int, list[list[Tensor]]] = {}
        self._graphs: dict[tuple, _Graph] = {}
        self._forward = torch.compile(self.forward, fullgraph=True, dynamic=False) if config.compile else self.forward

    def table(self, num_steps: int) -> list[list[Tensor]]:
        """Return the modulations of the flow times, cached per number of steps."""
        if num_steps not in self._tables:
            with torch.no_grad(), self._autocast():
                self._tables[num_steps] = self.model.modulations(num_steps)
        return self._tables[num_steps]

    def _prepared(self, image: ImageInput) -> tuple[PointBatch, Tensor]:
        """Prepare the cloud of an image in the policy frame.

        Returns:
            The points, and ``(3,)``: valid pixels, points above the table, and whether a plane was found. Positions
                stay in single precision, because half precision would lose millimetres.
        """
        height, width = image.depth.shape
        prepare = self._preparations[height, width]
        with torch.autocast(self.device.type, enabled=False):
            found = prepare(image.depth, image.rgb, image.intrinsics, image.ee_position)
            xyz = found.xyz @ image.T_frame_cam[:3, :3].T + image.T_frame_cam[:3, 3]
        counts = torch.cat([found.counts, found.plane.any()[None].to(found.counts.dtype)])
        return PointBatch(xyz[None], found.rgb[None].float() / 255.0, found.height[None]), counts

    def forward(self, pieces: dict[str, Tensor], table: list[list[Tensor]]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the consensus of `Samples`, all samples' actions, and the counts of `_prepared`, as one graph."""
        x = _built(pieces)
        if isinstance(x.points, ImageInput):
            points, counts = self._prepared(x.points)
        else:
            points, counts = x.points, x.task.new_zeros(0)
        B, N, T, A = x.action.shape
        S, K = len(x.noise_action), x.motion.shape[2]
        cache = self.model.prepare_context(points, x.ee, x.task)
        rows = B * N * S
        shared = B == 1  # one target pattern for all rows: modulation is routed once

        def repeat(v: Tensor) -> Tensor:
            return v if shared else v.repeat_interleave(N * S, 0)

        grid = TokenGrid(
            x.action[:, :, None].expand(B, N, S, T, A).reshape(rows, T, A),
            x.motion[:, None].expand(B, N * S, T, K, 3).reshape(rows, T, K, 3),
            x.identity[:, None].expand(B, N * S, K, 3).reshape(rows, K, 3),
            None,
        )
        noise = (x.noise_action.repeat(B * N, 1, 1), x.noise_motion.repeat(B * N, 1, 1, 1))
        mask = MaskPattern(repeat(x.is_target_action), repeat(x.is_target_motion))
        a, m = self.model.sample(grid, mask, cache, noise, len(table) - 1, self.config.method, table)
        a, m = a.view(B, N, S, T, A), m.view(B, N, S, T, K, 3)
        chosen = closest(a.flatten(3), max(1, math.ceil(self.config.consensus_fraction * S)))
        agreed, moved = consensus(a.flatten(3), chosen), consensus(m.flatten(3), chosen) if K else m.flatten(3).mean(2)
        # If no action is a target, all samples have equal actions, so there is no consensus to choose.
        chooses = x.is_target_action.any(1)[:, None, None]
        moved = torch.where(chooses, moved, m.flatten(3).mean(2))
        return agreed.view(B, N, T, A), moved.view(B, N, T, K, 3), a, counts

    @torch.no_grad()
    def __call__(self, inputs: Inputs) -> Samples:
        """Draw samples. Inputs are copied to the device once, and the samples back once.

        Raises:
            InputError: the image shows no scene, as `uma.model.cloud.point_set`.
        """
        table, pieces = self.table(self.config.num_steps), _pieces(inputs)
        if isinstance(inputs.points, ImageInput):
            self._preparation(*inputs.points.depth.shape)
        with self._autocast():
            if self.device.type == "cpu" or not self.config.graph:
                on_device = {k: v.to(self.device, non_blocking=True) for k, v in pieces.items()}
                *samples, counts = (v.float().cpu() for v in self._forward(on_device, table))
            else:
                key = (self.config, *((k, tuple(v.shape)) for k, v in pieces.items()))
                if key not in self._graphs:
                    self._graphs[key] = _Graph(lambda p: self._forward(p, table), pieces, self.device)
                *samples, counts = self._graphs[key](pieces)
        if len(counts):
            self._check(counts)
        return Samples(*samples)

    def _preparation(self, height: int, width: int) -> None:
        if (height, width) not in self._preparations:
            config = self.model.config
            # Only the centres of the first level need exact farthest points.
            share = config.groups[0] / config.points.total
            head = math.ceil(share * max(config.points.near, config.points.low, config.points.rest))
            exact = min(HEAD, config.points.total) if config.points.total <= HEAD * 2 else head
            prepare = CloudPreparation(height, width, config.points, head=exact)
            self._preparations[height, width] = prepare.to(self.device)

    def _check(self, counts: Tensor) -> None:
        valid, above, has_plane = (int(v) for v in counts)
        check_valid(valid, self.model.config.points)
        if not has_plane:
            raise InputError("depth: plane: all points lie on one line")
        check_above(above)

    def encode_task(self, points: PointBatch, reference: ReferenceBatch) -> Tensor:
        """Return task tokens on the CPU. This runs once per task, so it is not captured in a graph."""
        with torch.no_grad(), self._autocast():
            tokens = self.model.encode_task(_moved(points, self.device), _moved(reference, self.device))
        return tokens.float().cpu()

    def encode_instruction(self, text: str, points: PointBatch | None) -> Tensor:
        """Return task tokens of a text on the CPU."""
        with torch.no_grad(), self._autocast():
            tokens = self.model.encode_instruction([text], None if points is None else _moved(points, self.device))
        return tokens.float().cpu()

    def in_scene(self, tokens: Tensor, points: PointBatch) -> Tensor:
        """Return ``(1, M, d)`` task tokens on the CPU of a text's tokens ``(M, d)`` in a scene."""
        with torch.no_grad(), self._autocast():
            found = self.model.in_scene(tokens[None].to(self.device), _moved(points, self.device))
        return found.float().cpu()

    def _autocast(self) -> torch.autocast:
        is_half = self.config.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16, enabled=is_half, cache_enabled=False)


def torch_device(name: str) -> torch.device:
    """Return the device of a setting. Raises `InputError` for "cuda" without a CUDA device."""
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device: 'cuda', no CUDA device available; use 'auto' or 'cpu'")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _placed(model: Uma, device: torch.device, precision: str) -> Uma:
    """Return the model on a device. bfloat16 applies to the linear layers; norms and positions stay float32."""
    if device.type == "cpu" and precision == "float32":
        return model
    model = copy.deepcopy(model).to(device).eval()
    if precision == "bfloat16":
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                layer.to(torch.bfloat16)
    return model


def _moved(value: Batch, device: torch.device) -> Batch:
    return type(value)(**{f.name: v.to(device) for f in fields(value) if (v := getattr(value, f.name)) is not None})


class _Graph:
    """One CUDA graph with resident inputs and outputs, for one set of shapes."""

    def __init__(self, run: Run, pieces: dict[str, Tensor], device: torch.device):
        self._inputs = {k: v.to(device) for k, v in pieces.items()}
        self._staged = {k: v.clone().pin_memory() for k, v in pieces.items()}
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UP):
                run(self._inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._outputs = run(self._inputs)
            self._flat = torch.cat([v.float().flatten() for v in self._outputs])

    def __call__(self, pieces: dict[str, Tensor]) -> list[Tensor]:
        for name, value in pieces.items():
            self._staged[name].copy_(value)
            self._inputs[name].copy_(self._staged[name], non_blocking=True)
        self._graph.replay()
        flat, out = self._flat.cpu(), []
        for value in self._outputs:
            out.append(flat[: value.numel()].view(value.shape))
            flat = flat[value.numel() :]
        return out
