"""The checkpoints of a comparison: trained on equal terms, or stored ones that are checked for equal terms."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from uma.checkpoint.contract import Contract
from uma.checkpoint.folder import BundleError, read_bundle, write_bundle
from uma.checkpoint.typed import to_json
from uma.model.inputs import Normalization
from uma.policy.systems import System, load_system
from uma.types import InputError
from uma_train.baselines.pixels.recipe import PixelRecipe
from uma_train.evaluation.apart import train_apart
from uma_train.evaluation.compare.config import CompareConfig
from uma_train.evaluation.compare.files import plain
from uma_train.evaluation.compare.sizes import Size, check_sizes, matched, size_in, size_of
from uma_train.training.config import TrainConfig
from uma_train.training.recipe import recipe_of, recipe_type

EQUAL = ("step", "batch_size", "data", "seed")
"""What must be equal in the training records of all systems."""


@dataclass(frozen=True)
class Candidate:
    """A system's checkpoint.

    Attributes:
        bundle: its folder.
        training: configuration of its run in this comparison; None for a stored checkpoint.
    """

    system: str
    bundle: Path
    training: TrainConfig | None

    def load(self) -> System:
        """Load the checkpoint on one thread."""
        return load_system(self.bundle, system=self.system, threads=1)


def candidates(config: CompareConfig, console: Console) -> list[Candidate]:
    """Plan every system's run, check the sizes, and then train the tokeniser if a system needs one.

    Raises:
        InputError: the parameter counts differ too much, or a stored checkpoint is of another system.
    """
    trained = [name for name in config.systems if name not in config.stored]
    if config.train.pixels.tokeniser or not any(map(_sees_images, trained)):
        return _planned(config, config.train, console)
    with TemporaryDirectory() as folder:  # sizes do not depend on weights
        untrained = recipe_of(replace(config.train, system="tokeniser"), Normalization()).model
        write_bundle(folder, "tokeniser", untrained, Contract(), training={}, card="")
        planned = _planned(config, _with_tokeniser(config.train, folder), console)
    path = _tokeniser(config, console)
    return [c if c.training is None else replace(c, training=_with_tokeniser(c.training, path)) for c in planned]


def _planned(config: CompareConfig, base: TrainConfig, console: Console) -> list[Candidate]:
    """Return the candidates, trained ones with ``base`` and a matched size. Raises `InputError` for unequal sizes."""
    out, sizes = [], {}
    for name in config.systems:
        if name in config.stored:
            candidate = Candidate(name, Path(config.stored[name]), None)
            sizes[name] = size_of(candidate.load().model)  # type: ignore[attr-defined]
        else:
            run = replace(base, system=name, out=str(Path(config.out) / name))  # type: ignore[arg-type]
            if config.match and sizes:
                run = matched(run, next(iter(sizes.values())).trained, config.tolerance)
            candidate, sizes[name] = Candidate(name, Path(run.out) / "bundle", run), size_in(run)
        out.append(candidate)
    check_sizes(sizes, config.tolerance)
    console.print("trained parameters: " + ", ".join(f"{n} {s.trained / 1e6:.3f} M" for n, s in sizes.items()))
    return out


def _with_tokeniser(run: TrainConfig, path: str) -> TrainConfig:
    return replace(run, pixels=replace(run.pixels, tokeniser=path))


def _sees_images(system: str) -> bool:
    return issubclass(recipe_type(system), PixelRecipe)


def _tokeniser(config: CompareConfig, console: Console) -> str:
    """Train the shared image tokeniser, or resume it. Return its bundle."""
    run = replace(
        config.train,
        system="tokeniser",
        steps=config.tokeniser_steps or config.train.steps,
        out=str(Path(config.out) / "tokeniser"),
    )
    candidate = Candidate("tokeniser", Path(run.out) / "bundle", run)
    if not is_trained(candidate):
        console.rule("tokeniser")
        train_apart(run, config.processes)
    return str(candidate.bundle)


def is_trained(candidate: Candidate) -> bool:
    """Return whether a run of this comparison has its final bundle."""
    run = candidate.training
    try:
        done = read_bundle(candidate.bundle).training
    except BundleError:
        return False
    return run is None or done.get("step") == run.steps and done.get("config") == plain(to_json(run))


def record(candidate: Candidate) -> dict[str, Any]:
    """Return what the results say about a checkpoint: parameters and training."""
    stored = read_bundle(candidate.bundle)
    size: Size = size_of(candidate.load().model)  # type: ignore[attr-defined]
    training = stored.training
    run = training.get("config", {})
    return {
        "system": candidate.system,
        "checkpoint": str(candidate.bundle),
        "checkpoint_id": stored.checkpoint_id,
        "parameters": size.trained,
        "frozen": size.frozen,
        "step": training.get("step"),
        "episodes": training.get("episodes"),
        "seconds": training.get("seconds"),
        "device": training.get("device"),
        **{name: run.get(name) for name in ("batch_size", "data", "seed", "preset", "without")},
    }


def differences(records: list[dict[str, Any]], accepted: bool) -> list[str]:
    """Return where the training records differ from the first one's.

    Raises:
        InputError: there is a difference and none is ``accepted``.
    """
    first = records[0]
    found = [
        f"{r['system']}: {name} {r[name]}, {first['system']}'s is {first[name]}"
        for r in records[1:]
        for name in EQUAL
        if r[name] != first[name]
    ]
    if found and not accepted:
        raise InputError(f"checkpoint {'; '.join(found)}; must be equal, or use --unequal")
    return found
