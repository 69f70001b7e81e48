"""How well keypoints that move rigidly with the closed hand are predicted, if the hand lags its commands by a pace.

    python bench/lag.py data/intents [--windows 128] [--checkpoint models/uma-small]

Windows are those of `uma eval --held-out 0`. The hand goes a share of the way to its command in each step. "Exact
choice" takes the better of this and rest for every keypoint of a window, by the truth.
"""

from __future__ import annotations

import argparse

import numpy as np
from rich.console import Console
from rich.table import Table

from uma.checkpoint.bundle import load_bundle
from uma.checkpoint.default import DEFAULT
from uma.geometry import se3
from uma.model.inputs import decode_actions
from uma_train.data.hindsight import ReferenceSampling
from uma_train.data.mixtures import open_all, parse_sources
from uma_train.training.carried import carried

PACES = (1.0, 0.85, 0.7, 0.5, 0.4)


def lagging(targets: np.ndarray, T: np.ndarray, pace: float) -> np.ndarray:
    """Return the ``(H, 4, 4)`` poses of a hand at ``T`` that goes ``pace`` of the way to each target."""
    out = []
    for target in targets:
        T = se3.interpolate(T, target, pace)
        out.append(T)
    return np.stack(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+")
    parser.add_argument("--windows", type=int, default=128)
    parser.add_argument("--checkpoint", default=DEFAULT)
    args = parser.parse_args()
    bundle = load_bundle(args.checkpoint)
    norm, sampling = bundle.model.normalization, ReferenceSampling(pinned=0.0, to_the_end=1.0)
    frame = bundle.contract.policy_frame
    windows = open_all(parse_sources(args.data), sampling=sampling, first_is_initial=1.0, frame=frame)
    batch = windows.draw(args.windows, 16, norm, np.random.default_rng(0))
    grid, scale = batch.grid, norm.local_scale
    truth = grid.motion.numpy() * scale
    counts = np.broadcast_to(grid.is_valid.numpy()[:, None], truth.shape[:3]).copy()
    for extra in (grid.is_tracked, None if batch.is_moving is None else batch.is_moving[:, None]):
        counts &= True if extra is None else extra.numpy()
    counts = counts[:, 1:]
    number = counts.sum(1)

    def mean(guess: np.ndarray) -> np.ndarray:
        """``(B, K)`` mean errors of the keypoints, mm."""
        error = 1e3 * np.linalg.norm(guess - truth[:, 1:], axis=-1) * counts
        return error.sum(1) / number.clip(1)

    rest = mean(truth[:, :1].repeat(truth.shape[1] - 1, 1))
    table = Table(
        title=f"{args.windows} windows, errors of keypoints in mm; at rest {np.average(rest, weights=number):.1f}"
    )
    for heading in ("pace", "with the hand", "exact choice"):
        table.add_column(heading, justify="right")
    for pace in PACES:
        hand = np.empty_like(truth[:, 1:])
        for b, T in enumerate(batch.T_cam_ee):
            targets, commands = decode_actions(grid.action[b, 1:].numpy(), T, norm)
            points, grip = truth[b, 0] + T[:3, 3], float(batch.ee.gripper[b])
            hand[b] = carried(points, T, grip, lagging(targets, T, pace), commands) - T[:3, 3]
        with_hand = mean(hand)
        best = np.minimum(with_hand, rest)
        table.add_row(str(pace), *(f"{np.average(e, weights=number):.1f}" for e in (with_hand, best)))
    Console().print(table)


if __name__ == "__main__":
    main()
