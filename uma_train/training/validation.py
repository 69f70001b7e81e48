"""Open-loop errors on held-out windows, one row per inference mode, and what the task latent tells apart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from uma.checkpoint.bundle import load_bundle
from uma.checkpoint.default import DEFAULT
from uma.geometry import se3
from uma.model.inputs import Normalization, decode_actions
from uma.model.uma import Uma
from uma.policy.modes import MODES, Mode
from uma.policy.sampling import SamplerConfig
from uma_train.data.batch import Batch, Drawable
from uma_train.data.hindsight import ReferenceSampling
from uma_train.data.mixtures import open_all, open_sources, parse_sources
from uma_train.training.carried import carried
from uma_train.training.latent import latent_distances, retrieval


@dataclass(frozen=True)
class Row:
    """A row of the evaluation.

    Attributes:
        mode: target tokens and given tokens.
        other_actions: whether the given actions come from another window.
    """

    mode: Mode
    other_actions: bool = False


ROWS = {
    "control": Row(MODES["control"]),
    "joint": Row(MODES["joint"]),
    "joint, keypoints given": Row(MODES["joint"].giving(keypoints=True)),
    "dynamics": Row(MODES["dynamics"]),
    "dynamics, keypoints given": Row(MODES["dynamics"].giving(keypoints=True)),
    "dynamics, keypoints given, other actions": Row(MODES["dynamics"].giving(keypoints=True), other_actions=True),
    "inverse": Row(MODES["inverse"]),
}
NUM_STEPS = 8
"""Flow steps in an evaluation."""

SHOWN = (0, 7, 15)
"""Steps of a chunk at which action errors are reported."""


@dataclass(frozen=True)
class ModeErrors:
    """Errors of one mode; NaN where it predicts no actions, or no motion.

    Attributes:
        position_mm: action position error at steps 0, 7, 15, millimetres.
        rotation_deg: action rotation error at these steps, degrees.
        gripper: fraction of steps whose gripper is on the wrong side of one half.
        motion_mm: mean keypoint error, millimetres.
        motion_still_mm: the same error of static keypoints as a baseline.
        motion_rigid_mm: the same error of keypoints that move with the closed hand (`carried`) as a baseline.
        motion_mse_m2: squared error per coordinate over the first 10 steps, square metres (paper C.3, with 16 keypoints
            there).
        mean_position_mm, mean_rotation_deg: action errors over all steps.
    """

    position_mm: tuple[float, float, float]
    rotation_deg: tuple[float, float, float]
    gripper: float
    motion_mm: float
    motion_still_mm: float
    motion_rigid_mm: float
    motion_mse_m2: float
    mean_position_mm: float
    mean_rotation_deg: float


def mode_errors(
    model: Uma,
    batch: Batch,
    row: Row,
    *,
    num_steps: int = NUM_STEPS,
    seed: int = 0,
    method: str = SamplerConfig.method,
) -> ModeErrors:
    """Sample one chunk per window in the mode of ``row`` and compare it with the data.

    Errors cover windows with actions, and keypoints that were seen and move in their episode.
    """
    grid, mode = batch.grid, row.mode
    B, T, K, _ = grid.motion.shape
    if not mode.has_motion:
        K = 0
        grid = replace(
            grid,
            motion=grid.motion[:, :, :0],
            identity=grid.identity[:, :0],
            is_valid=grid.is_valid[:, :0],
            is_tracked=None if grid.is_tracked is None else grid.is_tracked[:, :, :0],
        )
    given = grid
    if row.other_actions:
        given = replace(grid, action=torch.cat([grid.action[:, :1], grid.action.roll(1, 0)[:, 1:]], 1))
    mask = mode.pattern(B, T, K, is_known=grid.is_tracked if mode.gives_keypoints else None)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        cache = model.prepare_context(batch.points, batch.ee, model.encode_task(batch.initial_points, batch.reference))
        noise = (
            torch.randn(B, T, grid.action.shape[-1], generator=generator),
            torch.randn(B, T, K, 3, generator=generator),
        )
        action, motion = (v.numpy() for v in model.sample(given, mask, cache, noise, num_steps, method))
    nan = float("nan")
    position, rotation, gripper = np.full(T - 1, nan), np.full(T - 1, nan), nan
    has_action = np.ones(B, bool) if grid.is_supervised_action is None else grid.is_supervised_action.numpy()
    if mode.is_target_action and has_action.any():
        position, rotation, gripper = _action_errors(model, batch, action, has_action)
    moved = still = rigid = mse = nan
    if mode.is_target_motion:
        moved, still, rigid, mse = motion_errors(model.normalization, batch, motion, has_action)
    at = list(SHOWN)
    return ModeErrors(
        tuple(position[at].tolist()),
        tuple(rotation[at].tolist()),
        gripper,
        moved,
        still,
        rigid,
        mse,
        float(position.mean()),
        float(rotation.mean()),
    )


def _action_errors(
    model: Uma, batch: Batch, action: np.ndarray, has_action: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return ``(H,)`` position errors in mm and rotation errors in degrees, and the fraction of wrong gripper steps."""
    p, r, g = [], [], []
    for b in np.flatnonzero(has_action):
        (poses, grip), (poses_t, grip_t) = (
            decode_actions(a[b, 1:], batch.T_cam_ee[b], model.normalization)
            for a in (action, batch.grid.action.numpy())
        )
        p.append(np.linalg.norm(poses[:, :3, 3] - poses_t[:, :3, 3], axis=-1))
        r.append(se3.rotation_angle(poses[:, :3, :3], poses_t[:, :3, :3]))
        g.append((grip > 0.5) != (grip_t > 0.5))
    return 1e3 * np.mean(p, 0), np.degrees(np.mean(r, 0)), float(np.mean(g))


def motion_errors(
    norm: Normalization, batch: Batch, motion: np.ndarray, has_action: np.ndarray
) -> tuple[float, float, float, float]:
    """Return mean errors of prediction, static keypoints and hand motion, mm; and the MSE of 10 steps, m^2."""
    grid, scale = batch.grid, norm.local_scale
    truth = grid.motion.numpy()
    counts = np.broadcast_to(grid.is_valid.numpy()[:, None], truth.shape[:3]).copy()
    if grid.is_tracked is not None:
        counts &= grid.is_tracked.numpy()
    if batch.is_moving is not None:
        counts &= batch.is_moving.numpy()[:, None]
    counts = counts[:, 1:]
    if not counts.any():
        return (float("nan"),) * 4
    hand = truth[:, :1].repeat(truth.shape[1] - 1, 1)
    for b in np.flatnonzero(has_action):
        T_ee = batch.T_cam_ee[b]
        targets, commands = decode_actions(grid.action[b, 1:].numpy(), T_ee, norm)
        points = truth[b, 0] * scale + T_ee[:3, 3]
        hand[b] = (carried(points, T_ee, float(batch.ee.gripper[b]), targets, commands) - T_ee[:3, 3]) / scale
    errors = [scale * (guess - truth[:, 1:]) for guess in (motion[:, 1:], truth[:, :1], hand)]
    moved, still, rigid = (1e3 * float(np.linalg.norm(e, axis=-1)[counts].mean()) for e in errors)
    return moved, still, rigid, float((errors[0][:, :10][counts[:, :10]] ** 2).mean())


def validate(
    model: Uma,
    windows: Drawable,
    *,
    keypoints: int = 6,
    size: int = 128,
    seed: int = 0,
    num_steps: int = NUM_STEPS,
    method: str = SamplerConfig.method,
    rows: Mapping[str, Row] = ROWS,
) -> dict[str, ModeErrors]:
    """Return the errors of every mode of ``rows`` on ``size`` windows, the same on every call."""
    batch = windows.draw(
        size, keypoints, model.normalization, np.random.default_rng(seed), with_image=model.config.image.kind != "none"
    )
    was_training = model.training
    model.eval()
    out = {
        name: mode_errors(model, batch, row, seed=seed, num_steps=num_steps, method=method)
        for name, row in rows.items()
    }
    model.train(was_training)
    return out


@dataclass(frozen=True)
class EvalConfig:
    """Configuration of `uma eval`: errors on held-out episodes.

    Attributes:
        checkpoint: bundle.
        data: folders of episodes.
        held_out: number of last episodes of each folder, which training held out as well; 0 = all.
        windows: drawn from them.
        keypoints: motion tokens per step (paper C.3: 16).
        num_steps, method: of the flow.
        seed: of windows and noise.
        out: JSON file, or empty.
    """

    checkpoint: str = DEFAULT
    data: tuple[str, ...] = ("data/insertion",)
    held_out: int = 24
    windows: int = 256
    keypoints: int = 16
    num_steps: int = NUM_STEPS
    method: str = SamplerConfig.method
    seed: int = 0
    out: str = ""


def evaluate(config: EvalConfig, console: Console | None = None) -> dict:
    """Print and return the errors of every mode and the retrieval accuracy.

    Raises:
        EpisodeError, BundleError: no usable data or checkpoint.
    """
    console = console or Console()
    bundle = load_bundle(config.checkpoint)
    sampling = ReferenceSampling(pinned=0.0, to_the_end=1.0)
    sources = parse_sources(config.data)
    frame = bundle.contract.policy_frame
    if config.held_out:
        windows = open_sources(sources, config.held_out, frame=frame)[1]
    else:
        windows = open_all(sources, sampling=sampling, first_is_initial=1.0, frame=frame)
    errors = validate(
        bundle.model,
        windows,
        keypoints=config.keypoints,
        size=config.windows,
        seed=config.seed,
        num_steps=config.num_steps,
        method=config.method,
    )
    size = min(64, len(windows.episodes))
    found = retrieval(bundle.model, windows, size=size, seed=config.seed)
    table = Table(
        title=f"{config.windows} windows of {len(windows.episodes)} episodes, checkpoint {bundle.checkpoint_id}, "
        f"{config.num_steps} {config.method} steps, seed {config.seed}"
    )
    for heading in (
        "mode",
        "position (cm) at 0 / 7 / 15",
        "mean",
        "rotation (deg) at 0 / 7 / 15",
        "mean",
        "gripper wrong",
        "keypoints (mm)",
        "if static",
        "if moving with the hand",
        "MSE, 10 steps (m^2)",
    ):
        table.add_column(heading, justify="left" if heading == "mode" else "right")
    for mode, e in errors.items():

        def show(value: float, text: str) -> str:
            return "" if np.isnan(value) else text

        table.add_row(
            mode,
            show(e.mean_position_mm, " / ".join(f"{v / 10:.2f}" for v in e.position_mm)),
            show(e.mean_position_mm, f"{e.mean_position_mm / 10:.2f}"),
            show(e.mean_rotation_deg, " / ".join(f"{v:.1f}" for v in e.rotation_deg)),
            show(e.mean_rotation_deg, f"{e.mean_rotation_deg:.1f}"),
            show(e.gripper, f"{100 * e.gripper:.1f} %"),
            show(e.motion_mm, f"{e.motion_mm:.1f}"),
            show(e.motion_mm, f"{e.motion_still_mm:.1f}"),
            show(e.motion_mm, f"{e.motion_rigid_mm:.1f}"),
            show(e.motion_mse_m2, f"{e.motion_mse_m2:.5f}"),
        )
    Console(width=190).print(table) if console.width < 190 else console.print(table)
    console.print(
        f"task retrieval by its latent in a moved scene: {100 * found:.0f} % of {size} (chance {100 / size:.1f} %)"
    )
    distances = latent_distances(bundle.model, windows, size=size, seed=config.seed)
    console.print(str(distances))
    result = {
        "config": asdict(config),
        "checkpoint_id": bundle.checkpoint_id,
        "modes": {k: asdict(v) for k, v in errors.items()},
        "retrieval": found,
        "retrieval_of": size,
        "latent": asdict(distances),
    }
    if config.out:
        Path(config.out).parent.mkdir(parents=True, exist_ok=True)
        Path(config.out).write_text(json.dumps(result, indent=2) + "\n")
    return result
