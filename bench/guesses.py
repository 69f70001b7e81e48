"""How near the guesses of `uma.model.follow`, and the policy's chunks, are to recorded actions while an object is held.

    python bench/guesses.py data/carry data/tilt [--checkpoint models/uma-small] [--windows 384] [--json FILE]

References are the episodes' plans, from their first frame. Errors are of the last action of a window of 16. Windows are
divided by how far that action moves or turns the hand. The policy's chunk is the mean of 4 samples.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table
from scipy.spatial.transform import Rotation

from uma.checkpoint.bundle import load_bundle
from uma.checkpoint.default import DEFAULT
from uma.model.inputs import ACTION_DIM, decode_actions
from uma.model.uma import Uma
from uma.policy.modes import MODES
from uma.types import InputError
from uma_train.data.batch import Batch
from uma_train.data.hindsight import ReferenceSampling
from uma_train.data.mixtures import open_all, parse_sources

SAMPLING = ReferenceSampling(
    min_keypoints=4, pinned=0.0, at_rest=0.75, at_corners=0.6, planned=1.0, to_the_end=1.0, human=0.0
)
AT_ONCE, SAMPLES, STEPS = 48, 4, 2
BANDS = {"way (mm)": (0, 10, 40, 100, 500), "turn (degrees)": (0, 5, 15, 30, 90)}


def motions(actions: np.ndarray, batch: Batch, model: Uma) -> np.ndarray:
    """Return the ``(B, 6)`` way in mm and turn in degrees of the hand to the last of ``(B, H, 10)`` actions."""
    out = []
    for T_ee, chunk in zip(batch.T_cam_ee, actions, strict=True):
        poses, _ = decode_actions(chunk, T_ee, model.normalization)
        turn = Rotation.from_matrix(poses[-1, :3, :3] @ T_ee[:3, :3].T).as_rotvec()
        out.append(np.concatenate([1e3 * (poses[-1, :3, 3] - T_ee[:3, 3]), np.degrees(turn)]))
    return np.array(out)


@torch.no_grad()
def compare(model: Uma, batch: Batch, seed: int) -> np.ndarray:
    """Return ``(held windows, 3, 6)`` motions: recorded, guessed and predicted."""
    B, T, _, _ = batch.grid.motion.shape
    task = model.encode_task(batch.initial_points, batch.reference)
    cache = model.prepare_context(batch.points, batch.ee, task)
    none = batch.grid.motion[:, :, :0]
    grid = replace(batch.grid, motion=none, identity=none[:, 0], is_valid=batch.grid.is_valid[:, :0], is_tracked=None)
    mask, drawn = MODES["control"].pattern(B, T, 0, is_known=None), []
    for n in range(SAMPLES):
        noise = torch.randn(B, T, ACTION_DIM, generator=torch.Generator().manual_seed(SAMPLES * seed + n))
        drawn.append(model.sample(grid, mask, cache, (noise, none), STEPS, "euler")[0][:, 1:])
    assert cache.follow is not None
    guess = torch.cat([cache.follow.action[:, 1:], torch.ones(B, T - 1, 1)], -1)
    three = (batch.grid.action[:, 1:], guess, torch.stack(drawn).mean(0))
    held = batch.ee.holds.numpy() if batch.ee.holds is not None else np.zeros(B, bool)
    return np.stack([motions(a.numpy(), batch, model) for a in three], 1)[held]


def rows(found: np.ndarray) -> list[dict]:
    """Return one row per band: mean recorded size, and the share along it and the error of guess and prediction."""
    out = []
    for (name, bands), part in zip(BANDS.items(), (slice(0, 3), slice(3, 6)), strict=True):
        true, guess, predicted = (found[:, i, part] for i in range(3))
        size = np.linalg.norm(true, axis=1)
        for low, high in zip(bands, bands[1:], strict=False):
            k = (size >= low) & (size < high)
            row = {"band": f"{name} {low} to {high}", "windows": int(k.sum()), "recorded": float(size[k].mean())}
            for word, other in (("guess", guess), ("policy", predicted)):
                row[f"{word}, along it"] = float(((other * true).sum(1)[k] / size[k].clip(1e-6)).mean())
                row[f"{word}, median error"] = float(np.median(np.linalg.norm((other - true)[k], axis=1)))
            out.append(row)
    return out


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    p.add_argument("data", nargs="+", help="folders of episodes")
    p.add_argument("--checkpoint", default=DEFAULT)
    p.add_argument("--windows", type=int, default=384, help="of each folder")
    p.add_argument("--json", default="")
    args = p.parse_args()
    bundle = load_bundle(args.checkpoint)
    if not isinstance(bundle.model, Uma) or bundle.model.follow is None:
        raise InputError(f"checkpoint {args.checkpoint}: without follow, must have it")
    torch.set_num_threads(1)
    found = []
    for folder in args.data:
        frame = bundle.contract.policy_frame
        windows = open_all(parse_sources((folder,)), sampling=SAMPLING, first_is_initial=1.0, frame=frame)
        for seed in track(range(args.windows // AT_ONCE), folder):
            batch = windows.draw(AT_ONCE, 1, bundle.model.normalization, np.random.default_rng(seed))
            found.append(compare(bundle.model, batch, seed))
    table, lines = Table(), rows(np.concatenate(found))
    for name in lines[0]:
        table.add_column(name)
    for line in lines:
        table.add_row(*(f"{v:.1f}" if isinstance(v, float) else str(v) for v in line.values()))
    Console().print(table)
    if args.json:
        Path(args.json).write_text(json.dumps(lines, indent=1))


if __name__ == "__main__":
    main()
