"""The training loop: resumable, its state written atomically; one process, or several by ``torchrun``."""

from __future__ import annotations

import json
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import TextIO

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from uma.checkpoint.bundle import Contract, load_bundle, save_bundle
from uma.checkpoint.typed import to_json
from uma.model.config import PRESETS
from uma.model.contrastive import ProjectionHead
from uma.model.inputs import Normalization
from uma.model.uma import Uma
from uma_train.config import TrainConfig
from uma_train.data.episode import list_episodes, load_episode
from uma_train.data.windows import Batch, Windows, measure_normalization
from uma_train.distributed import Processes
from uma_train.evaluate import validate
from uma_train.objectives import losses


class Trainer:
    """Weights, their average, the optimiser and the random states of a run.

    Batch ``i`` is drawn from a generator seeded by (seed, i), so that a resumed run sees the batches it would have seen.
    Each process draws its share of the batch; whether it has motion tokens is drawn alike on all.
    """

    def __init__(self, config: TrainConfig, windows: Windows, norm: Normalization, processes: Processes | None = None):
        torch.manual_seed(config.seed)
        self.config, self.windows = config, windows
        self.processes = processes or Processes()
        if config.init:
            self.model = load_bundle(config.init).model
        else:
            self.model = Uma(PRESETS[config.preset](), norm)
        self.model.train()
        self.head = ProjectionHead(self.model.config)
        self.parameters = [*self.model.parameters(), *(self.head.parameters() if config.objective.contrastive_weight else ())]
        self.average = {k: v.clone() for k, v in self.model.state_dict().items()}
        self.optimizer = torch.optim.AdamW(self.parameters, lr=config.lr, weight_decay=config.weight_decay, betas=(0.9, 0.95))
        self.step = 0
        self.seconds = 0.0
        self.progress = 0.0

    def draw(self, step: int) -> Batch:
        """Batch of a step: with or without motion tokens, as the mask mix says."""
        shared = np.random.default_rng([self.config.seed, step])
        rng = np.random.default_rng([self.config.seed, step, self.processes.rank])
        masks = self.config.objective.masks
        with_motion = 1 - masks.control / (masks.control + masks.joint + masks.dynamics + masks.inverse + masks.random)
        K = self.config.keypoints if shared.random() < with_motion else 0
        c = self.config
        return self.windows.draw(c.batch_size // self.processes.count, K, self.model.normalization, rng, windows_per_task=c.windows_per_task)

    def rate(self) -> float:
        """Learning rate of the present step."""
        c = self.config
        warm = min(1.0, (self.step + 1) / max(1, c.warmup))
        return c.lr * warm * 0.5 * (1 + math.cos(math.pi * self.progress))

    def is_done(self) -> bool:
        """Advance `progress`, the share of the run that is over, by steps or by the clock; True at the end."""
        c = self.config
        by_clock = self.seconds / (60 * c.minutes) if c.minutes else 0.0
        self.progress = min(1.0, self.processes.from_first(max(self.step / c.steps, by_clock)))
        return self.progress >= 1.0

    def update(self, batch: Batch) -> dict[str, float]:
        """One optimiser step; returns the losses."""
        generator = torch.Generator().manual_seed((self.config.seed * 1_000_003 + self.step) * 64 + self.processes.rank)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.config.bf16):
            out = losses(self.model, self.head, batch, self.config.objective, generator)
        self.optimizer.zero_grad(set_to_none=True)
        out["total"].backward()
        self.processes.average_gradients(self.parameters)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.config.clip_norm)
        if not torch.isfinite(norm):
            raise FloatingPointError(f"gradient norm {norm.item()} at step {self.step}")
        self.optimizer.step()
        self.step += 1
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            state = self.model.state_dict()
            torch._foreach_lerp_([self.average[k] for k in state], list(state.values()), 1 - decay)
        return {k: v.item() for k, v in out.items()}

    def averaged(self) -> Uma:
        """A copy of the model with the averaged weights, for validation and shipping."""
        model = Uma(self.model.config, self.model.normalization)
        model.load_state_dict(self.average)
        return model.eval()

    def save(self, path: Path) -> None:
        """Write the training state atomically."""
        part = path.with_suffix(".part")
        torch.save(
            {
                "model": self.model.state_dict(),
                "head": self.head.state_dict(),
                "average": self.average,
                "optimizer": self.optimizer.state_dict(),
                "step": self.step,
                "seconds": self.seconds,
                "config": json.dumps(to_json(self.config)),
            },
            part,
        )
        os.replace(part, path)

    def load(self, path: Path) -> None:
        """Resume from `save`.

        Raises:
            ValueError: the state is of a run with another configuration.
        """
        state = torch.load(path, weights_only=True)
        stored, mine = (json.loads(v) for v in (state["config"], json.dumps(to_json(self.config))))
        free = {"threads", "save_every", "validate_every"}
        if differ := [k for k in mine if k not in free and mine[k] != stored.get(k)]:
            raise ValueError(f"{path} is of another run: {differ[0]} was {stored.get(differ[0])!r}, now {mine[differ[0]]!r}; give another --out")
        self.model.load_state_dict(state["model"])
        self.head.load_state_dict(state["head"])
        self.average = state["average"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.seconds = state["step"], state["seconds"]


def train(config: TrainConfig, console: Console | None = None) -> Path:
    """Run or resume a training run; returns the bundle's folder.

    Raises:
        EpisodeError: no usable data.
        ValueError: the folder holds a run with another configuration.
    """
    processes = Processes()
    if config.batch_size % (processes.count * config.windows_per_task):
        raise ValueError(f"batch_size {config.batch_size}: must be a multiple of {processes.count} processes x {config.windows_per_task} windows per task")
    console = console or Console(quiet=not processes.is_first)
    if config.threads:
        torch.set_num_threads(config.threads)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    paths = list_episodes(config.data)
    held = min(config.validation_episodes, len(paths) // 5 or 1)
    episodes = [load_episode(p) for p in paths]
    if len(episodes) < 2:
        raise ValueError(f"{config.data}: {len(episodes)} episode, at least 2 are needed (one is held out)")
    windows = Windows(episodes[:-held], sampling=config.sampling)
    validation = Windows(episodes[-held:], first_is_initial=1.0, sampling=replace(config.sampling, pinned=0.0, to_the_end=1.0))
    trainer = Trainer(config, windows, measure_normalization(episodes[:-held]), processes)
    state = out / "state.pt"
    if state.exists():
        trainer.load(state)
        console.print(f"resumed at step {trainer.step} of {config.steps}")
    parameters = sum(p.numel() for p in trainer.model.parameters())
    console.print(
        f"{len(episodes) - held} episodes, {len(windows)} frames; {held} episodes held out; {parameters / 1e6:.2f} M parameters; "
        f"{processes.count} process(es) of {torch.get_num_threads()} threads"
    )
    if processes.is_first:
        (out / "config.json").write_text(json.dumps(to_json(config), indent=2) + "\n")
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    began = time.monotonic() - trainer.seconds
    with (
        Progress(*columns, console=console) as progress,
        ThreadPoolExecutor(1) as pool,
        open(out / "log.jsonl" if processes.is_first else os.devnull, "a") as log,
    ):
        bar = progress.add_task("train", total=config.steps, completed=trainer.step, note="")
        ahead = pool.submit(trainer.draw, trainer.step)
        smooth: dict[str, float] = {}
        while not trainer.is_done():
            batch = ahead.result()
            ahead = pool.submit(trainer.draw, trainer.step + 1)
            values = trainer.update(batch)
            for k, v in values.items():
                if k != "motion" or batch.grid.motion.shape[2]:
                    smooth[k] = v if k not in smooth else 0.98 * smooth[k] + 0.02 * v
            trainer.seconds = time.monotonic() - began
            if trainer.step % 25 == 0:
                log.write(
                    json.dumps(
                        {"step": trainer.step, "seconds": round(trainer.seconds, 1), "lr": trainer.rate(), **{k: round(v, 5) for k, v in smooth.items()}}
                    )
                    + "\n"
                )
                log.flush()
            rate = trainer.step * config.batch_size / max(trainer.seconds, 1e-6)
            progress.update(bar, completed=trainer.step, note=f"La {smooth.get('action', 0):.3f} Lx {smooth.get('motion', 0):.3f} {rate:.0f}/s")
            if not processes.is_first:
                continue
            if trainer.step % config.save_every == 0:
                trainer.save(state)
            if trainer.step % config.validate_every == 0:
                report(trainer, validation, out, log, progress.console, len(episodes) - held)
        if processes.is_first and trainer.step:
            trainer.save(state)
            report(trainer, validation, out, log, progress.console, len(episodes) - held)
    processes.close()
    return out / "bundle"


def report(trainer: Trainer, validation: Windows, out: Path, log: TextIO, console: Console, episodes: int) -> None:
    """Validate the averaged weights, say and log the errors of every mode, and export the bundle."""
    errors = validate(trainer.averaged(), validation)
    log.write(json.dumps({"step": trainer.step, "validation": {k: asdict(v) for k, v in errors.items()}}) + "\n")
    log.flush()
    c, d = errors["control"], errors["dynamics"]
    console.print(
        f"step {trainer.step}: control {c.position_mm[0]:.1f}/{c.position_mm[1]:.1f}/{c.position_mm[2]:.1f} mm, {c.rotation_deg[0]:.1f} deg, "
        f"gripper {100 * c.gripper:.1f} %; joint {errors['joint'].position_mm[0]:.1f} mm, keypoints {errors['joint'].motion_mm:.1f} mm; "
        f"dynamics {d.motion_mm:.1f} mm (still {d.motion_still_mm:.1f}); inverse {errors['inverse'].position_mm[0]:.1f} mm"
    )
    export(trainer, out / "bundle", episodes, errors["control"].position_mm)


def changed_flags(config: object, default: object, prefix: str = "--") -> list[str]:
    """The command-line flags that make ``config`` from the defaults."""
    flags = []
    for f in fields(config):
        value, usual = getattr(config, f.name), getattr(default, f.name)
        name = prefix + f.name.replace("_", "-")
        if is_dataclass(value):
            flags += changed_flags(value, usual, name + ".")
        elif value != usual:
            flags.append(f"{name} {value}")
    return flags


def export(trainer: Trainer, path: Path, episodes: int, position_mm: tuple[float, float, float]) -> None:
    """Write the averaged weights as a bundle with its card."""
    c = trainer.config
    command = " ".join(["uma train", *changed_flags(c, TrainConfig())])
    if trainer.processes.count > 1:
        command = f"torchrun --standalone --nproc_per_node {trainer.processes.count} -m {command.replace(' ', '.cli ', 1)}"
    training = {
        "command": command,
        "config": to_json(c),
        "step": trainer.step,
        "samples": trainer.step * c.batch_size,
        "episodes": episodes,
        "seconds": round(trainer.seconds, 1),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processes": trainer.processes.count,
    }
    threads = trainer.processes.count * torch.get_num_threads()
    error = " / ".join(f"{v:.1f}" for v in position_mm)
    card = (
        f"# {c.preset}: a UMA checkpoint\n\nMade by `{command}`\n\n{trainer.step} steps of {c.batch_size} windows ({training['samples']} samples) "
        f"from {episodes} simulated episodes in {trainer.seconds / 60:.0f} minutes on {threads} CPU threads, seed {c.seed}, torch {torch.__version__}.\n\n"
        f"Held-out action position error at steps 0 / 7 / 15 of a chunk, control mode, one sample: {error} mm.\n\n"
        "Weights: Apache-2.0. For the simulated DROID station of this repository; it has seen no real image.\n"
    )
    save_bundle(path, trainer.averaged(), Contract(), training=training, card=card)
