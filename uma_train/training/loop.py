"""`uma train`: the loop around `Trainer`, with progress, logs, validation of every mode, and the final bundle."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from uma.checkpoint.contract import Contract
from uma.checkpoint.folder import read_bundle, write_bundle
from uma.checkpoint.typed import to_json
from uma.model.frame import PolicyFrame, nominal
from uma_train.data.mixtures import Mixture, open_sources, parse_sources
from uma_train.data.normalization import measure_normalization
from uma_train.training.config import TrainConfig
from uma_train.training.distributed import Processes
from uma_train.training.log import RunLog
from uma_train.training.trainer import Trainer


def policy_frame(config: TrainConfig) -> PolicyFrame:
    """Return the policy frame of a run, see `TrainConfig.policy_frame`."""
    start = read_bundle(config.init).contract.policy_frame if config.init else PolicyFrame()
    if config.policy_frame in ("auto", start.kind):
        return start
    if config.policy_frame == "camera_nominal":
        from uma_sim.scene import CAMERA_POSITION, CAMERA_TARGET, look_at

        return nominal(look_at(CAMERA_POSITION, CAMERA_TARGET))
    return PolicyFrame(config.policy_frame)


def train(config: TrainConfig, console: Console | None = None) -> Path:
    """Run or resume a training run. Return the bundle's folder.

    Raises:
        EpisodeError: no usable data.
        ValueError: the folder holds a run with another configuration, or the batch is not divisible among the
            processes.
    """
    device = config.device if config.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    processes = Processes(sharded=config.sharding == "shard", device=device)
    console = console or Console(quiet=not processes.is_first)
    if config.threads:
        torch.set_num_threads(config.threads)
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    sources = parse_sources(config.data)
    frame = policy_frame(config)
    training, validation = open_sources(
        sources,
        config.validation_episodes,
        sampling=config.sampling,
        transforms=config.transforms,
        first_is_initial=config.first_is_initial,
        key_window_fraction=config.key_window_fraction,
        frame=frame,
        siblings=config.siblings,
        without=config.without,
    )
    trainer = Trainer(
        config, training, measure_normalization(training.episodes, by_step=config.scale_by_step, frame=frame), processes
    )
    if trainer.recipe.options(np.random.default_rng(0)).get("with_image"):
        check_images(training)
    state = out / "state.pt"
    if state.exists():
        trainer.load(state)
        console.print(f"resumed at step {trainer.step} of {config.steps}")
    parameters = sum(p.numel() for p in trainer.model.parameters())
    console.print(
        f"{len(training.episodes)} episodes, {len(training)} frames; {len(validation.episodes)} episodes "
        f"held out; {parameters / 1e6:.2f} M parameters; "
        f"{processes.count} process(es) on {processes.device}, {torch.get_num_threads()} threads each, "
        f"{str(trainer.precision)[6:]}"
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
    log = RunLog(out, trainer.step, writes=processes.is_first, tensorboard=config.tensorboard)
    began = time.monotonic() - trainer.seconds
    at_start, since = trainer.step, time.monotonic()
    sums: dict[str, list[float]] = {}
    with Progress(*columns, console=console) as progress, ThreadPoolExecutor(1) as pool:
        bar = progress.add_task("train", total=config.steps, completed=trainer.step, note="")
        ahead = pool.submit(trainer.draw, trainer.step)
        while not trainer.is_done():
            batches = ahead.result()
            ahead = pool.submit(trainer.draw, trainer.step + 1)
            values = trainer.update(batches)
            for k, v in values.items():
                sums.setdefault(k, []).append(v)
            trainer.seconds = time.monotonic() - began
            rate = (trainer.step - at_start) * config.batch_size / max(time.monotonic() - since, 1e-6)
            if trainer.step % config.log_every == 0:
                means = {k: round(sum(v) / len(v), 6) for k, v in sums.items()}
                log.write(
                    trainer.step,
                    seconds=round(trainer.seconds, 1),
                    lr=trainer.rate(),
                    samples_per_second=round(rate, 1),
                    **means,
                )
                sums = {}
                progress.update(
                    bar, note=f"La {means.get('action', 0):.3f} Lx {means.get('motion', 0):.3f} {rate:.0f}/s"
                )
            progress.update(bar, completed=trainer.step)
            if trainer.step % config.save_every == 0:
                trainer.save(state)
            if trainer.step % config.validate_every == 0:
                report(trainer, validation, out, log, progress.console, len(training.episodes))
        trainer.save(state)
        if trainer.step % config.validate_every or not (out / "bundle").exists():
            report(trainer, validation, out, log, progress.console, len(training.episodes))
    log.close()
    processes.close()
    return out / "bundle"


def check_images(mixture: Mixture) -> None:
    """Raise ValueError if only some frames of a source have an image, because zero images would go unnoticed."""
    for windows in mixture.windows:
        images, frames = (int(windows.store.count[kind][windows.episodes.index].sum()) for kind in ("images", "frames"))
        if 0 < images < frames:
            raise ValueError(
                f"data: {images} of {frames} frames have an image; image features need all ('uma simulate "
                "--images all') or none per source"
            )


def report(trainer: Trainer, validation: Mixture, out: Path, log: RunLog, console: Console, episodes: int) -> None:
    """Validate the averaged weights, print and log the errors of every mode, and export the bundle.

    All processes must call it.
    """
    model = trainer.averaged()
    if not trainer.processes.is_first:
        return
    errors, line = trainer.recipe.validate(model, validation, trainer.config.validation_windows)
    log.write(trainer.step, validation=errors)
    console.print(f"step {trainer.step}: {line}")
    export(trainer, model, out / "bundle", episodes, line)


def changed_flags(config: object, default: object, prefix: str = "--") -> list[str]:
    """Return the command-line flags that turn the defaults into ``config``."""
    flags = []
    for f in fields(config):
        value, usual = getattr(config, f.name), getattr(default, f.name)
        name = prefix + f.name.replace("_", "-")
        if is_dataclass(value):
            flags += changed_flags(value, usual, name + ".")
        elif value != usual:
            if isinstance(value, bool):
                flags.append(name if value else f"{prefix}no-{f.name.replace('_', '-')}")
            else:
                flags.append(f"{name} {' '.join(map(str, value)) if isinstance(value, tuple) else value}")
    return flags


def export(trainer: Trainer, model: torch.nn.Module, path: Path, episodes: int, errors: str) -> None:
    """Write the averaged weights as a bundle with a model card that has the held-out ``errors``."""
    c = trainer.config
    command = " ".join(["uma train", *changed_flags(c, TrainConfig())])
    if trainer.processes.count > 1:
        command = (
            f"torchrun --standalone --nproc_per_node {trainer.processes.count} -m {command.replace(' ', '.cli ', 1)}"
        )
    threads = trainer.processes.count * torch.get_num_threads()
    training = {
        "command": command,
        "config": to_json(c),
        "step": trainer.step,
        "samples": trainer.step * c.batch_size,
        "episodes": episodes,
        "seconds": round(trainer.seconds, 1),
        "torch": torch.__version__,
        "precision": str(trainer.precision)[6:],
        "threads": torch.get_num_threads(),
        "processes": trainer.processes.count,
        "device": torch.cuda.get_device_name() if trainer.processes.device.type == "cuda" else "cpu",
    }
    where = (
        f"{threads} CPU threads" if training["device"] == "cpu" else f"{trainer.processes.count} {training['device']}"
    )
    card = (
        f"# {c.preset}: a checkpoint of {c.system}\n\nCommand: `{command}`\n\n{trainer.step} steps of {c.batch_size} "
        f"windows ({training['samples']} samples) "
        f"from {episodes} episodes in {trainer.seconds / 60:.0f} minutes on {where}, seed {c.seed}, torch "
        f"{torch.__version__}.\n\n"
        f"Held-out errors, one sample: {errors}.\n\n"
        "Weights: Apache-2.0. For the simulated DROID station of this repository; trained without real images.\n"
    )
    contract = Contract(policy_frame=policy_frame(trainer.config))
    write_bundle(path, c.system, model, contract, training=training, card=card)
