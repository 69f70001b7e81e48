"""Training with several processes: replicated, or sharded by FSDP2.

``torchrun`` starts them; a plain start is one process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from uma.model.contrastive import ProjectionHead
from uma.model.uma import Uma


class Processes:
    """The processes of a run.

    Attributes:
        rank, count: index of this process, and number of processes.
        sharded: whether parameters, gradients and optimiser state are divided among the processes (FSDP2).
        device: of this process.
    """

    def __init__(self, *, sharded: bool = False, device: str = "cpu") -> None:
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        self.sharded = sharded and self.count > 1
        self.device = torch.device(f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device == "cuda" else device)
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        if self.count > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if self.device.type == "cuda" else "gloo")

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def prepare(self, model: Uma, head: ProjectionHead) -> None:
        """Shard both modules in place if the run is sharded; each block and encoder is gathered for its use."""
        if not self.sharded:
            return
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method

        mesh = init_device_mesh(self.device.type, (self.count,))
        blocks = [*model.blocks, *model.action_blocks, *model.motion_blocks]
        encoders = [m for m in (model.observation_encoder, model.task_encoder, model.language_encoder) if m is not None]
        for module in [*blocks, *encoders, model, head]:
            fully_shard(module, mesh=mesh)
        for block in blocks:
            register_fsdp_forward_method(block, "cache")
        for method in ("encode_task", "encode_instruction", "prepare_context", "velocity"):
            register_fsdp_forward_method(model, method)

    def sum_gradients(self, parameters: list[nn.Parameter]) -> None:
        """Replace every gradient by its sum over the processes, in one message; a missing gradient counts as zero."""
        if self.count == 1:
            return
        if self.sharded:  # FSDP2 averages them in the backward pass
            for p in parameters:
                if p.grad is not None:
                    p.grad.mul_(self.count)
            return
        # In a mode without motion tokens, the same parameters lack a gradient on every process.
        flat = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).reshape(-1) for p in parameters])
        dist.all_reduce(flat)
        offset = 0
        for p in parameters:
            n = p.numel()
            p.grad = flat[offset : offset + n].view_as(p)
            offset += n

    def share_out(self, of: Callable[[Tensor], Tensor], tensors: list[Tensor]) -> list[Tensor]:
        """Compute ``of(t)`` for every tensor, divided among the processes; one message distributes the results.

        ``of(t)`` must have the shape and type of t. Process r of n computes the tensors with index r modulo n.
        """
        if self.count == 1 or not tensors:
            return [of(t) for t in tensors]
        flat = torch.cat(
            [(of(t) if i % self.count == self.rank else torch.zeros_like(t)).reshape(-1) for i, t in enumerate(tensors)]
        )
        dist.all_reduce(flat)
        return [part.view_as(t) for part, t in zip(flat.split([t.numel() for t in tensors]), tensors, strict=True)]

    def sum_values(self, values: Iterable[float]) -> list[float]:
        """Sum each number over the processes."""
        values = list(values)
        if self.count == 1:
            return values
        message = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(message)
        return message.tolist()

    def from_first(self, value: float) -> float:
        """Broadcast the first process's value, for decisions that must agree, such as the elapsed time."""
        if self.count == 1:
            return value
        message = torch.tensor([value], dtype=torch.float64, device=self.device)
        dist.broadcast(message, 0)
        return message.item()

    def close(self) -> None:
        """Leave the process group."""
        if dist.is_initialized():
            dist.destroy_process_group()


def gather_full(value: Any) -> Any:
    """Gather every sharded tensor of a nested state to the CPU. All processes must call it."""
    if isinstance(value, DTensor):
        return value.full_tensor().cpu()
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, Mapping):
        return {k: gather_full(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(gather_full(v) for v in value)
    return value


def shard_like(value: Tensor, model: Tensor) -> Tensor:
    """Lay out a full tensor like ``model``: on its device, and sharded if it is sharded."""
    value = value.to(model.device)
    return distribute_tensor(value, model.device_mesh, model.placements) if isinstance(model, DTensor) else value
