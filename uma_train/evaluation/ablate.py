"""`uma ablate`: the paper's design ablation (4.5, Fig. 6) with equal data, steps and seeds, as one table."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from uma.checkpoint.bundle import load_bundle
from uma.model.summary import PARTS, parameter_counts
from uma_train.evaluation.apart import train_apart
from uma_train.evaluation.benchmark_config import BenchmarkConfig
from uma_train.evaluation.closed_loop import benchmark
from uma_train.evaluation.paired import paired
from uma_train.training.config import TrainConfig
from uma_train.training.validation import EvalConfig, evaluate


def _objective(config: TrainConfig, **changes) -> TrainConfig:
    return replace(config, objective=replace(config.objective, **changes))


def _model(config: TrainConfig, **changes) -> TrainConfig:
    return replace(config, model=replace(config.model, **changes))


def _masks(config: TrainConfig, **changes) -> TrainConfig:
    return _objective(config, masks=replace(config.objective.masks, **changes))


VARIANTS: dict[str, tuple[Callable[[TrainConfig], TrainConfig], str]] = {
    "uma": (lambda c: c, "as configured"),
    "action_only": (
        lambda c: _masks(c, control=1.0, joint=0.0, dynamics=0.0, inverse=0.0, random=0.0),
        "no motion tokens in training",
    ),
    "separate_heads": (
        lambda c: _model(c, separate_layers=c.model_config().layers // 2),
        "half of the layers are two separate decoders",
    ),
    "dense_attention": (lambda c: _model(c, block_layout="dense"), "one attention over all tokens, equal parameters"),
    "no_contrastive": (lambda c: _objective(c, contrastive_weight=0.0), "lambda_c = 0"),
    "no_action_noise": (lambda c: c, "on demonstrations without execution noise and disturbances"),
}
"""name -> (function that changes a configuration, description)."""


@dataclass(frozen=True)
class AblateConfig:
    """Configuration of one ablation.

    Attributes:
        train: shared by all variants; ``out`` is ignored.
        variants: of `VARIANTS`.
        clean_data: as ``train.data``, with episodes from ``uma simulate --noise 0 --disturbances 0``, for the variant
            "no_action_noise".
        tasks: closed-loop tasks.
        processes: of each training run.
        episodes, first_seed: closed-loop scenes per variant and task; 0 episodes = open-loop errors only.
        out: folder; a run with the same configuration resumes there.
    """

    train: TrainConfig = TrainConfig(steps=1500)
    variants: tuple[str, ...] = ("uma", "action_only", "separate_heads", "dense_attention", "no_contrastive")
    clean_data: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ("insertion",)
    processes: int = 1
    episodes: int = 50
    first_seed: int = 1_000_000
    out: str = "runs/ablation"

    def __post_init__(self) -> None:
        if unknown := set(self.variants) - set(VARIANTS):
            raise ValueError(f"variants: {sorted(unknown)[0]!r}, must be of {tuple(VARIANTS)}")
        if "no_action_noise" in self.variants and not self.clean_data:
            raise ValueError(
                "clean_data: empty, must be folders of episodes without execution noise and disturbances, for the "
                "variant no_action_noise"
            )

    def training(self, name: str) -> TrainConfig:
        """Return the training configuration of a variant."""
        train = replace(VARIANTS[name][0](self.train), out=str(Path(self.out) / name))
        return replace(train, data=self.clean_data) if name == "no_action_noise" else train


def _errors(config: EvalConfig, checkpoint_id: str, console: Console) -> dict:
    """Return the errors of `evaluate`, or those stored by an interrupted run."""
    stored = Path(config.out)
    if stored.exists() and (found := json.loads(stored.read_text())).get("checkpoint_id") == checkpoint_id:
        return found
    return evaluate(config, console)


def ablate(config: AblateConfig, console: Console | None = None) -> list[dict]:
    """Train and evaluate every variant, print the table and write ``result.json``.

    The table counts scenes with a better or worse outcome than the first variant's (see `uma_train.evaluation.paired`).

    Returns:
        The rows of the table.

    Raises:
        ValueError: the folder holds another ablation, or a training run failed.
    """
    console = console or Console()
    out = Path(config.out)
    rows = []
    for name in config.variants:
        train = config.training(name)
        bundle = out / name / "bundle"
        console.rule(f"{name}: {VARIANTS[name][1]}")
        train_apart(train, config.processes)
        loaded = load_bundle(bundle)
        errors = _errors(
            EvalConfig(str(bundle), config.train.data, train.validation_episodes, out=str(out / name / "eval.json")),
            loaded.checkpoint_id,
            console,
        )
        row = {
            "variant": name,
            "parameters": sum(parameter_counts(loaded.model.config)[part] for part in PARTS),
            "steps": loaded.training["step"],
            "seconds": loaded.training["seconds"],
            "errors": errors["modes"],
            "retrieval": errors["retrieval"],
        }
        if config.episodes:
            row["closed_loop"] = {}
            for task in config.tasks:
                folder = task.replace("/", "_")
                judge = BenchmarkConfig(
                    task=task,
                    checkpoint=str(bundle),
                    episodes=config.episodes,
                    first_seed=config.first_seed,
                    policies=("uma",),
                    streamed_ms=0.0,
                    out=str(out / name / folder),
                )
                found, other = benchmark(judge, console)[0], paired(out / config.variants[0] / folder, judge.out)
                row["closed_loop"][task] = {**found, **asdict(other), "sign_test": other.chance}
        rows.append(row)
    (out / "result.json").write_text(json.dumps({"config": asdict(config), "rows": rows}, indent=2, default=str) + "\n")
    table = Table(title=f"{config.train.batch_size} windows per step, seed {config.train.seed}")
    for heading in (
        "variant",
        "parameters",
        "steps",
        "minutes",
        "control (mm)",
        "joint (mm)",
        "dynamics (mm)",
        "task retrieval",
        *(
            f"{task}: success, 95 %, grasp; better, worse, sign test"
            for task in (config.tasks if config.episodes else ())
        ),
    ):
        table.add_column(heading, justify="left" if heading == "variant" else "right")
    for r in rows:
        e = r["errors"]
        closed = (
            f"{b['success']}/{b['episodes']}, {100 * b['low']:.0f} to {100 * b['high']:.0f} %, {b['grasp']}; "
            f"{b['better']}, {b['worse']}, {b['sign_test']:.2f}"
            for b in r.get("closed_loop", {}).values()
        )
        table.add_row(
            r["variant"],
            f"{r['parameters'] / 1e6:.2f} M",
            str(r["steps"]),
            f"{r['seconds'] / 60:.1f}",
            f"{e['control']['mean_position_mm']:.1f}",
            f"{e['joint']['mean_position_mm']:.1f}",
            f"{e['dynamics']['motion_mm']:.1f}",
            f"{100 * r['retrieval']:.0f} %",
            *closed,
        )
    (console if console.width >= 150 else Console(width=150)).print(table)
    return rows
