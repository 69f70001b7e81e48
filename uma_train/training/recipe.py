"""How a system is trained: its network, its batches, its losses and its validation. `Trainer` does the rest."""

from __future__ import annotations

import importlib
from dataclasses import asdict, replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from uma.checkpoint.bundle import built
from uma.checkpoint.folder import read_bundle
from uma.model.contrastive import ProjectionHead
from uma.model.inputs import Normalization
from uma.model.uma import Uma
from uma.types import InputError
from uma_train.data.batch import Batch
from uma_train.data.mixtures import Mixture
from uma_train.training.config import TrainConfig
from uma_train.training.objectives import Objective, losses
from uma_train.training.validation import validate

RECIPES: dict[str, str] = {
    "uma": "uma_train.training.recipe:UmaRecipe",
    "coil": "uma_train.baselines.coil:CoilRecipe",
    "tokeniser": "uma_train.baselines.pixels.tokeniser:TokeniserRecipe",
    "uva": "uma_train.baselines.uva.system:UvaRecipe",
    "uwm": "uma_train.baselines.uwm.system:UwmRecipe",
    "latent_actions": "uma_train.baselines.motus.latent_recipe:LatentRecipe",
    "motus": "uma_train.baselines.motus.system:MotusRecipe",
    "point_flow": "uma_train.baselines.point_flow.recipe:FlowRecipe",
}
"""system -> 'module:class' of its `Recipe`; "tokeniser" and "latent_actions" serve pixel systems, and do not act."""


class Recipe(Protocol):
    """
    Attributes:
        model: the network that a bundle holds, with ``config``, a dataclass, and ``normalization``.
        head: modules that are trained beside it and not exported; may be empty.
    """

    model: nn.Module
    head: nn.Module

    def __init__(self, config: TrainConfig, norm: Normalization) -> None: ...

    def blocks(self) -> list[nn.Module]:
        """Return the modules that `TrainConfig.compile` compiles."""
        ...

    def trained(self) -> list[nn.Parameter]:
        """Return the parameters with a gradient."""
        ...

    def options(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draw the arguments ``keypoints``, ``history``, ... of `Windows.draw` for one step of all processes."""
        ...

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Return the losses of a micro-batch and their weighted sum ``total``; ``generator`` is on the CPU."""
        ...

    def copy(self) -> nn.Module:
        """Return another network of the same architecture."""
        ...

    def validate(self, model: nn.Module, held_out: Mixture, size: int) -> tuple[dict[str, Any], str]:
        """Return the errors of a network on ``size`` held-out windows as JSON values, and as one line for the card."""
        ...


def recipe_type(system: str) -> type[Recipe]:
    """Return the class of a system's recipe."""
    module, _, name = RECIPES[system].partition(":")
    kind: type[Recipe] = getattr(importlib.import_module(module), name)
    return kind


def recipe_of(config: TrainConfig, norm: Normalization) -> Recipe:
    """Build the recipe of `TrainConfig.system`."""
    return recipe_type(config.system)(config, norm)


def started(config: TrainConfig) -> Uma:
    """Load the model of `TrainConfig.init` and add requested features that it lacks.

    The output without instructions stays the same: features start at zero, and a language encoder is a part of its own.

    Raises:
        BundleError: no usable checkpoint.
        InputError: it is of another system.
    """
    stored = read_bundle(config.init)
    if stored.system != config.system:
        raise InputError(f"init {config.init}: of system '{stored.system}', must be of '{config.system}'")
    model = built(stored).model
    had = model.config
    requested = replace(
        had,
        orientation=had.orientation or config.model.orientation,
        heights=had.heights or config.model.heights,
        places=had.places or config.model.places,
        waypoints=had.waypoints or config.model.waypoints,
        ways=had.ways or config.model.ways,
        lines=had.lines or config.model.lines,
        follow=had.follow or config.model.follow,
        carry=had.carry or config.model.carry,
        context_layers=had.context_layers or config.model.context_layers,
        language=config.model.language
        if had.language.kind == "none"
        else replace(had.language, scene=had.language.scene or config.model.language.scene),
    )
    if requested == had:
        return model
    wider = Uma(requested, model.normalization)
    wider.load_state_dict({**wider.state_dict(), **model.state_dict()})
    return wider


def added(config: TrainConfig, model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters of a model that `TrainConfig.init` lacks."""
    had = read_bundle(config.init).weights()
    return [p for name, p in model.named_parameters() if name not in had]


def freeze(model: nn.Module, but: tuple[str, ...]) -> None:
    """Freeze all modules of a model except the named ones.

    Raises:
        InputError: a name is not that of a module with parameters.
    """
    known = {name: module for name, module in model.named_children() if any(True for _ in module.parameters())}
    if unknown := sorted(set(but) - set(known)):
        raise InputError(f"only: {', '.join(unknown)}, must be of {', '.join(sorted(known))}")
    model.requires_grad_(False)
    for name in but:
        known[name].requires_grad_(True)


class UmaRecipe:
    """UMA with its full objective (paper Eq. 4)."""

    model: Uma

    def __init__(self, config: TrainConfig, norm: Normalization):
        self.config = config
        self.objective: Objective = config.objective
        self.model = started(config) if config.init else Uma(config.model_config(), norm)
        self.head = ProjectionHead(self.model.config)
        if config.only:
            freeze(self.model, config.only)

    def blocks(self) -> list[nn.Module]:
        return [*self.model.blocks, *self.model.action_blocks, *self.model.motion_blocks]

    def trained(self) -> list[nn.Parameter]:
        head = self.head.parameters() if self.objective.contrastive_weight else ()
        return [*(p for p in self.model.parameters() if p.requires_grad), *head]

    def options(self, rng: np.random.Generator) -> dict[str, Any]:
        masks, config = self.objective.masks, self.model.config
        K = self.config.keypoints if rng.random() < masks.with_motion else 0
        history = config.history if rng.random() < masks.history else 0
        return {"keypoints": K, "history": history, "with_image": config.image.kind != "none"}

    def losses(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        out = losses(self.model, self.head, batch, self.objective, generator)
        if not batch.grid.motion.shape[2]:
            out.pop("motion")  # 0 without motion tokens
        return out

    def copy(self) -> Uma:
        return Uma(self.model.config, self.model.normalization)

    def validate(self, model: nn.Module, held_out: Mixture, size: int) -> tuple[dict[str, Any], str]:
        errors = validate(model, held_out, size=size)
        c, d, joint = errors["control"], errors["dynamics"], errors["joint"]
        start, middle, end = c.position_mm
        line = (
            f"control {start:.1f}/{middle:.1f}/{end:.1f} mm at steps 0/7/15, {c.rotation_deg[0]:.1f} deg, "
            f"gripper {100 * c.gripper:.1f} %; joint {joint.position_mm[0]:.1f} mm, keypoints {joint.motion_mm:.1f} "
            f"mm; dynamics {d.motion_mm:.1f} mm (still {d.motion_still_mm:.1f}); "
            f"inverse {errors['inverse'].position_mm[0]:.1f} mm"
        )
        return {k: asdict(v) for k, v in errors.items()}, line
