"""Open-loop errors of any system on the same held-out windows: control, dynamics, inverse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from uma.checkpoint.contract import Contract
from uma.model.inputs import Normalization
from uma.model.uma import Uma
from uma.types import InputError
from uma_train.baselines.coil import Coil
from uma_train.baselines.pixels.inputs import PixelBatch, pixel_batch
from uma_train.baselines.pixels.model import PixelModel
from uma_train.baselines.pixels.recipe import action_errors
from uma_train.baselines.point_flow.network import FlowNetwork
from uma_train.baselines.point_flow.recipe import dynamics_errors
from uma_train.data.batch import Batch
from uma_train.data.mixtures import Mixture, open_sources, parse_sources
from uma_train.training.config import TrainConfig
from uma_train.training.validation import NUM_STEPS, ROWS, ModeErrors, mode_errors

KEYPOINTS = 16
"""Keypoints of a window, as in the paper (C.3)."""

Errors = dict[str, Any]
"""mode -> its errors as JSON values; None for a mode that the system lacks."""


def held_out(config: TrainConfig, contract: Contract) -> Mixture:
    """Return the held-out windows of a training run, in the policy frame of a checkpoint."""
    return open_sources(parse_sources(config.data), config.validation_episodes, frame=contract.policy_frame)[1]


def open_loop(policy: Any, windows: Mixture, size: int, seed: int = 0) -> Errors:
    """Measure a system on ``size`` windows. Equal seeds and data give equal windows for all systems.

    Modes: ``control``, ``dynamics`` with given actions and present keypoints, ``dynamics_alone`` without the keypoints,
    ``pixels`` with given actions, and ``inverse``. Motion errors count keypoints that are seen at the start and move.

    Raises:
        InputError: no errors are defined for the system's network.
    """
    model = policy.model.cpu()
    if isinstance(model, Uma):
        return _uma_errors(model, windows, size, seed, isinstance(policy, Coil))
    if isinstance(model, PixelModel):
        return _pixel_errors(model, windows, size, seed)
    if isinstance(model, FlowNetwork):
        batch = _drawn(windows, size, seed, model.normalization, keypoints=KEYPOINTS)
        return _errors(dynamics=dynamics_errors(model, batch))
    raise InputError(f"network {type(model).__name__}: open-loop errors are defined for Uma, PixelModel, FlowNetwork")


def _errors(**found: Any) -> Errors:
    return dict.fromkeys(("control", "dynamics", "dynamics_alone", "pixels", "inverse")) | found


def _drawn(windows: Mixture, size: int, seed: int, norm: Normalization, **options: Any) -> Batch:
    return windows.draw(size, norm=norm, rng=np.random.default_rng(seed), **options)


def _uma_errors(model: Uma, windows: Mixture, size: int, seed: int, acts_alone: bool) -> Errors:
    with_image = model.config.image.kind != "none"
    batch = _drawn(windows, size, seed, model.normalization, keypoints=KEYPOINTS, with_image=with_image)
    rows = {"control": "control"}
    if not acts_alone:
        rows |= {
            "dynamics": "dynamics, keypoints given",
            "dynamics_alone": "dynamics",
            "inverse": "inverse",
        }
    batch = _counted(batch)
    found = {name: _as_json(mode_errors(model, batch, ROWS[row], seed=seed)) for name, row in rows.items()}
    return _errors(**found)


def _counted(batch: Batch) -> Batch:
    """Count only keypoints that are seen at the start, as for the point flow."""
    if batch.grid.is_tracked is None:
        return batch
    seen = batch.grid.is_tracked[:, 0]
    return replace(batch, is_moving=seen if batch.is_moving is None else seen & batch.is_moving)


def _as_json(errors: ModeErrors) -> dict[str, Any]:
    motion = ("motion_mm", "motion_still_mm", "motion_rigid_mm", "motion_mse_m2")
    action = ("mean_position_mm", "position_mm", "rotation_deg", "gripper")
    names = motion if np.isnan(errors.mean_position_mm) else action
    return {name: getattr(errors, name) for name in names}


@torch.no_grad()
def _pixel_errors(model: PixelModel, windows: Mixture, size: int, seed: int) -> Errors:
    layout = model.layout
    batch = _drawn(windows, size, seed, model.normalization, keypoints=0, history=layout.history, clip=layout.steps)
    inputs = pixel_batch(batch, layout, model.encode_task(batch.initial_points, batch.reference))
    found = {"control": _actions(model, model.act(inputs, NUM_STEPS, 1, _noise(seed))[:, 0], inputs, batch)}
    try:
        found["pixels"] = image_errors(model, inputs, seed)
    except InputError:
        pass  # no forward mode
    try:
        found["inverse"] = _actions(model, model.infer(inputs, NUM_STEPS, _noise(seed)), inputs, batch)
    except InputError:
        pass  # no inverse mode
    return _errors(**found)


def _noise(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _actions(model: PixelModel, drawn: Tensor, inputs: PixelBatch, batch: Batch) -> dict[str, Any]:
    return action_errors(drawn, inputs, batch, model.normalization)


def image_errors(model: PixelModel, inputs: PixelBatch, seed: int) -> dict[str, float]:
    """Return mean squared errors of future images under given actions, over images with a record and with actions.

    ``latent_mse`` and ``pixel_mse`` are of the prediction, ``..._still`` of the present image in its place,
    ``..._other`` of the prediction under the actions of another window. ``pixel_mse_tokeniser`` is of the true images
    through the tokeniser: the least that the system can reach.
    """
    counts = inputs.is_seen & inputs.has_action[:, None]
    truth = model.tokeniser.encode(inputs.future)
    still = inputs.past[:, -1:].expand_as(inputs.future)
    drawn = model.foresee(inputs, NUM_STEPS, _noise(seed))
    other = model.foresee(replace(inputs, action=inputs.action.roll(1, 0)), NUM_STEPS, _noise(seed))

    def error(guess: Tensor, wanted: Tensor) -> float:
        return float((guess - wanted).square().flatten(2).mean(-1)[counts].mean())

    def shown(latents: Tensor) -> Tensor:
        return model.tokeniser.decode(latents).clamp(0, 1)

    return {
        "latent_mse": error(drawn, truth),
        "latent_mse_still": error(model.tokeniser.encode(still), truth),
        "latent_mse_other": error(other, truth),
        "pixel_mse": error(shown(drawn), inputs.future),
        "pixel_mse_still": error(still, inputs.future),
        "pixel_mse_other": error(shown(other), inputs.future),
        "pixel_mse_tokeniser": error(shown(truth), inputs.future),
        "images": float(counts.sum()),
    }
