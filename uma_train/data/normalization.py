"""The normalisation constants of a data set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from uma.geometry import se3
from uma.model.frame import PolicyFrame
from uma.model.heights import table
from uma.model.inputs import Normalization, encode_actions
from uma.types import HORIZON
from uma_train.data.episode import METRE, Episode
from uma_train.data.rigid import frame_of


def measure_normalization(
    episodes: Sequence[Episode], *, by_step: bool = False, most: int = 4000, frame: PolicyFrame | None = None
) -> Normalization:
    """Estimate the normalisation constants of a data set: means and standard deviations, isotropic in space.

    Args:
        frame: the policy frame of the constants; None = the camera's.
        by_step: also the spread of the actions at each step of a chunk (`Normalization.step_scale`).
        most: largest number of episodes, evenly selected.
    """
    chosen = [episodes[int(i)] for i in np.unique(np.linspace(0, len(episodes) - 1, min(len(episodes), most)).round())]
    clouds, turns = [], []
    for e in chosen:
        xyz = e.xyz[0].astype(np.float64) * METRE
        T = np.eye(4)
        if frame is not None and frame.kind != "camera":
            height = torch.from_numpy(e.height[0].astype(np.float64) * METRE)
            T = frame_of(frame, e.meta, table(torch.from_numpy(xyz)[None], height[None])[0].numpy())
        clouds.append(se3.apply(T, xyz))
        turns.append(T)
    points = np.concatenate(clouds)
    center = points.mean(0)
    raw, usual = Normalization(position_scale=1.0, rotation_scale=1.0), Normalization()
    actions = []
    for e, T in zip(chosen, turns, strict=True):
        for s in range(0, len(e.pose) if e.meta["has_actions"] else 0, 7):
            steps = np.minimum(np.arange(s, s + HORIZON), len(e.pose) - 1)
            actions.append(
                encode_actions(
                    T @ e.target_pose[steps].astype(np.float64),
                    e.target_gripper[steps],
                    T @ e.pose[s].astype(np.float64),
                    raw,
                )
            )
    position, rotation, by_steps = usual.position_scale, usual.rotation_scale, ()
    if actions:
        a = np.stack(actions)
        # Data without rotation or motion must not give a zero scale.
        position, rotation = (
            round(max(float(np.sqrt((part**2).mean())), 0.01), 4) for part in (a[..., :3], a[..., 3:9])
        )
        if by_step:
            spread = np.sqrt(
                ((a[..., :3] / position) ** 2).mean((0, 2)) / 2 + ((a[..., 3:9] / rotation) ** 2).mean((0, 2)) / 2
            )
            by_steps = tuple(round(max(float(s), 0.05), 4) for s in spread)
    return Normalization(
        tuple(float(c) for c in center.round(4)),
        round(max(float((points - center).std()), 0.01), 4),
        0.2,
        position,
        rotation,
        by_steps,
    )
