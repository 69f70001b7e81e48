"""Several processes, one model: gradients averaged over gloo. Started by ``torchrun``; a plain start is one process."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist


class Processes:
    """The processes of a run.

    Attributes:
        rank, count: this process and how many there are.
    """

    def __init__(self) -> None:
        self.count = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        if self.count > 1 and not dist.is_initialized():
            dist.init_process_group("gloo")

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def average_gradients(self, parameters: list[torch.nn.Parameter]) -> None:
        """Replace every gradient by its mean over the processes, in one message; an absent gradient counts as zero."""
        if self.count == 1:
            return
        # A mode without motion tokens leaves some parameters without gradient on every process alike.
        flat = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).reshape(-1) for p in parameters])
        dist.all_reduce(flat)
        flat /= self.count
        offset = 0
        for p in parameters:
            n = p.numel()
            p.grad = flat[offset : offset + n].view_as(p)
            offset += n

    def from_first(self, value: float) -> float:
        """The first process's value, on all: for what they must agree on, such as the time."""
        if self.count == 1:
            return value
        message = torch.tensor([value], dtype=torch.float64)
        dist.broadcast(message, 0)
        return message.item()

    def close(self) -> None:
        """Leave the group."""
        if dist.is_initialized():
            dist.destroy_process_group()
