"""The state of a training run and its step, independent of the number of processes."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from uma.checkpoint.typed import to_json
from uma.model.inputs import Normalization
from uma_train.data.batch import Batch, Drawable
from uma_train.training.config import TrainConfig
from uma_train.training.distributed import Processes, gather_full, shard_like
from uma_train.training.optimizer import optimizers, with_rate
from uma_train.training.recipe import added, recipe_of

FREE = {"threads", "save_every", "validate_every", "log_every", "tensorboard", "device", "compile"}
"""Fields that a resumed run may change."""


def multiplies_bfloat16(device: str) -> bool:
    """Whether a device ("cuda" or "cpu") has native bfloat16 products. CPUs without them are far slower than in single
    precision.
    """
    if device == "cuda":
        return True
    try:
        cpu = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", cpu) is not None


def with_defaults(values: dict[str, Any], default: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration as JSON values, with the default of every field that it lacks, at any depth.

    A state written before a field existed was made with that field's default.
    """
    known = {k: with_defaults(v, default[k]) if _are_mappings(v, default.get(k)) else v for k, v in values.items()}
    return {**default, **known}


def _are_mappings(*values: object) -> bool:
    return all(isinstance(value, dict) for value in values)


class Trainer:
    """The weights of a run with their average, optimisers and random states; ``precision`` applies to matrix products.

    A step consists of micro-batches. Generators seeded by (seed, s, m) draw, mask and noise micro-batch m of step s.
    Process r of n computes those with m = r modulo n. So a resumed run draws the same batches. The summed gradients are
    equal for any number of processes, up to the order of additions.
    """

    def __init__(self, config: TrainConfig, windows: Drawable, norm: Normalization, processes: Processes | None = None):
        torch.manual_seed(config.seed)
        self.config, self.windows = config, windows
        self.processes = processes or Processes()
        self.precision = (
            torch.bfloat16 if config.bf16 and multiplies_bfloat16(self.processes.device.type) else torch.float32
        )
        self.micro_batches = config.batch_size // config.windows_at_once
        if self.micro_batches % self.processes.count:
            raise ValueError(
                f"batch_size {config.batch_size} / micro_batch {config.windows_at_once} = "
                f"{self.micro_batches}: must be a multiple of the {self.processes.count} processes"
            )
        self.recipe = recipe_of(config, norm)
        self.model, self.head = self.recipe.model, self.recipe.head
        self.model.train().to(self.processes.device)
        self.head.to(self.processes.device)
        self.processes.prepare(self.model, self.head)
        if config.compile:
            for block in self.recipe.blocks():
                block.compile(dynamic=False)
        self.parameters = self.recipe.trained()
        self.average = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.optimizers = optimizers(
            config.optimizer,
            self.model,
            self.parameters,
            config.lr,
            config.weight_decay,
            self.precision,
            self.processes,
        )
        if config.init and config.added_rate != 1:
            for optimizer in self.optimizers:
                with_rate(optimizer, added(config, self.model), config.added_rate)
        self.step = 0
        self.seconds = 0.0
        self.progress = 0.0

    def draw(self, step: int) -> list[Batch]:
        """Draw this process's micro-batches of a step.

        All processes agree on the recipe's options, such as motion tokens and history.
        """
        c = self.config
        options = self.recipe.options(np.random.default_rng([c.seed, step]))
        return [
            self.windows.draw(
                c.windows_at_once,
                norm=self.model.normalization,
                rng=np.random.default_rng([c.seed, step, m]),
                windows_per_task=c.windows_per_task,
                vary_keypoints=c.vary_keypoints,
                **options,
            )
            for m in range(self.processes.rank, self.micro_batches, self.processes.count)
        ]

    def rate(self) -> float:
        """Learning rate of the current step."""
        c = self.config
        warm = min(1.0, (self.step + 1) / max(1, c.warmup))
        return c.lr * warm * 0.5 * (1 + math.cos(math.pi * self.progress))

    def is_done(self) -> bool:
        """Update `progress`, the completed fraction of the run by steps or time. Return True at the end."""
        c = self.config
        by_clock = self.seconds / (60 * c.minutes) if c.minutes else 0.0
        self.progress = min(1.0, self.processes.from_first(max(self.step / c.steps, by_clock)))
        return self.progress >= 1.0

    def update(self, batches: list[Batch]) -> dict[str, float]:
        """Run one optimiser step. Return the losses, averaged over all micro-batches, and the gradient norm.

        Raises:
            FloatingPointError: the gradient is not finite; the weights are unchanged.
        """
        c = self.config
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = self.rate() * group.get("rate", 1.0)
            optimizer.zero_grad(set_to_none=True)
        sums: dict[str, float] = {}
        for m, batch in zip(range(self.processes.rank, self.micro_batches, self.processes.count), batches, strict=True):
            generator = torch.Generator().manual_seed(((c.seed * 1_000_003 + self.step) * 1024 + m) % (1 << 62))
            with torch.autocast(self.processes.device.type, torch.bfloat16, enabled=self.precision == torch.bfloat16):
                out = self.recipe.losses(batch, generator)
            if out["total"].requires_grad:  # not if no trained module is on its path (`TrainConfig.only`)
                (out["total"] / self.micro_batches).backward()
            for k, v in out.items():
                sums[k] = sums.get(k, 0.0) + v.item() / self.micro_batches
        values = dict(zip(sums, self.processes.sum_values(sums.values()), strict=True))
        self.processes.sum_gradients(self.parameters)
        norm = gather_full(torch.nn.utils.clip_grad_norm_(self.parameters, c.clip_norm)).item()
        if not math.isfinite(norm):
            raise FloatingPointError(f"gradient norm: {norm} at step {self.step}, must be finite")
        for optimizer in self.optimizers:
            optimizer.step()
        self.step += 1
        decay = min(c.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for k, v in self.model.state_dict().items():
                self.average[k].lerp_(v, 1 - decay)
        return {**values, "gradient_norm": norm}

    def averaged(self) -> nn.Module:
        """Return a copy of the model with the averaged weights, on the CPU. All processes must call it."""
        model = self.recipe.copy()
        model.load_state_dict(gather_full(self.average))
        return model.eval()

    def save(self, path: Path) -> None:
        """Write the training state atomically. All processes must call it; the first one writes."""
        state = gather_full(
            {
                "model": self.model.state_dict(),
                "head": self.head.state_dict(),
                "average": self.average,
                "optimizers": [o.state_dict() for o in self.optimizers],
                "step": self.step,
                "seconds": self.seconds,
                "config": json.dumps(to_json(self.config)),
            }
        )
        if self.processes.is_first:
            part = path.with_suffix(".part")
            torch.save(state, part)
            os.replace(part, path)

    def load(self, path: Path) -> None:
        """Resume from `save`.

        Raises:
            ValueError: the state is of a run with another configuration.
        """
        state = torch.load(path, weights_only=True, map_location="cpu")
        default, mine = (json.loads(json.dumps(to_json(v))) for v in (TrainConfig(), self.config))
        stored = with_defaults(json.loads(state["config"]), default)
        if differ := [k for k in mine if k not in FREE and mine[k] != stored.get(k)]:
            raise ValueError(
                f"{path}: of another run: {differ[0]} was {stored.get(differ[0])!r}, now "
                f"{mine[differ[0]]!r}; choose another --out"
            )
        for module, name in ((self.model, "model"), (self.head, "head")):
            present = module.state_dict()
            module.load_state_dict({k: shard_like(v, present[k]) for k, v in state[name].items()})
        self.average = {k: shard_like(state["average"][k], v) for k, v in self.average.items()}
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            for i, values in saved["state"].items():
                for k, v in values.items():
                    if isinstance(v, Tensor) and v.dim():
                        values[k] = shard_like(v, parameters[i])
            optimizer.load_state_dict(saved)
        self.step, self.seconds = state["step"], state["seconds"]
