"""The training subcommands of `uma`: configuration by tyro, one-line errors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any


def _run(config_type: type, function: Callable[[Any], Any], args: list[str] | None, prog: str) -> int:
    import tyro

    try:
        config = tyro.cli(config_type, args=sys.argv[1:] if args is None else args, prog=prog)
        function(config)
    except (ValueError, FileNotFoundError) as e:
        print(f"{prog}: {e}", file=sys.stderr)
        return 2
    except SystemExit as e:  # tyro has printed an error or the help
        return int(e.code or 0)
    except KeyboardInterrupt:
        print(f"{prog}: interrupted; the same command resumes", file=sys.stderr)
        return 130
    return 0


def train(args: list[str] | None = None) -> int:
    """``uma train``"""
    from uma_train.training.config import TrainConfig
    from uma_train.training.loop import train as run

    return _run(TrainConfig, run, args, "uma train")


def adapt(args: list[str] | None = None) -> int:
    """``uma adapt``"""
    from uma_train.training.prompts import AdaptConfig, adapt_prompt

    return _run(AdaptConfig, adapt_prompt, args, "uma adapt")


def evaluate(args: list[str] | None = None) -> int:
    """``uma eval``"""
    from uma_train.training.validation import EvalConfig
    from uma_train.training.validation import evaluate as run

    return _run(EvalConfig, run, args, "uma eval")


def ablate(args: list[str] | None = None) -> int:
    """``uma ablate``"""
    from uma_train.evaluation.ablate import AblateConfig
    from uma_train.evaluation.ablate import ablate as run

    return _run(AblateConfig, run, args, "uma ablate")


def compare(args: list[str] | None = None) -> int:
    """``uma compare``"""
    from uma_train.evaluation.compare.command import compare as run
    from uma_train.evaluation.compare.config import CompareConfig

    return _run(CompareConfig, run, args, "uma compare")


def mechanisms(args: list[str] | None = None) -> int:
    """``uma mechanisms``"""
    from uma_train.studies.mechanisms import mechanisms as run
    from uma_train.studies.small_model import MechanismsConfig

    return _run(MechanismsConfig, run, args, "uma mechanisms")


def simulate(args: list[str] | None = None) -> int:
    """``uma simulate``"""
    from uma_train.data.simulate import simulate as run
    from uma_train.data.simulate_config import SimulateConfig

    return _run(SimulateConfig, run, args, "uma simulate")


def pack(args: list[str] | None = None) -> int:
    """``uma pack FOLDER``"""
    from pathlib import Path

    from uma.settings import from_words
    from uma_train.data.shards import PackOptions, open_shards
    from uma_train.data.shards import pack as run

    options = from_words(PackOptions, sys.argv[1:] if args is None else args, "uma pack")
    folder = Path(options.folder)
    out = Path(options.out) if options.out else folder / "packed"
    try:
        changed = run(folder, out)
        store = open_shards(out)
    except (ValueError, FileNotFoundError) as e:
        print(f"uma pack: {e}", file=sys.stderr)
        return 2
    size = sum(array.nbytes for shard in store.shards for array in shard.values())
    print(
        f"{out}: {len(store)} episodes, {len(store.shards)} shards, {size / 2**20:.0f} "
        f"MiB{'' if changed else '; nothing to do'}"
    )
    return 0


def benchmark(args: list[str] | None = None) -> int:
    """``uma benchmark``"""
    from uma_train.evaluation.benchmark_config import BenchmarkConfig
    from uma_train.evaluation.closed_loop import benchmark as run

    return _run(BenchmarkConfig, run, args, "uma benchmark")


def sweep(args: list[str] | None = None) -> int:
    """``uma sweep``"""
    from uma_train.evaluation.sweep import SweepConfig
    from uma_train.evaluation.sweep import sweep as run

    return _run(SweepConfig, run, args, "uma sweep")
