"""Windows of episodes as training batches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from uma.model.encoders import EndEffectorBatch, PointBatch, ReferenceBatch
from uma.model.inputs import Normalization, encode_actions
from uma.model.uma import TokenGrid
from uma.policy.tensors import ee_batch, reference_batch
from uma.types import HORIZON
from uma_train.data.episode import METRE, Episode
from uma_train.data.reference import ReferenceSampling, draw_reference_arrays


@dataclass(frozen=True)
class Batch:
    """Inputs of one training step: o_t, o_0 with its reference, and the token grid (``K`` may be 0).

    ``initial_points``, ``reference`` and ``text`` (None where there is none) have one entry per task; ``windows_per_task`` consecutive
    rows of the others belong to it.
    """

    points: PointBatch
    ee: EndEffectorBatch
    initial_points: PointBatch
    reference: ReferenceBatch
    grid: TokenGrid
    T_cam_ee: np.ndarray
    windows_per_task: int = 1
    text: tuple[str | None, ...] | None = None


class Windows:
    """All frames of a list of episodes in memory, from which batches are drawn.

    Args:
        first_is_initial: share of samples whose o_0 is the episode's first frame; the others start at a random earlier one.
    """

    def __init__(self, episodes: list[Episode], *, first_is_initial: float = 0.75, sampling: ReferenceSampling | None = None):
        self.episodes, self.first_is_initial = episodes, first_is_initial
        self.sampling = sampling or ReferenceSampling()
        counts = [len(e.frame_step) for e in episodes]
        self.starts = np.concatenate([[0], np.cumsum(counts)])[:-1]
        self.owner = np.repeat(np.arange(len(episodes)), counts)
        self.counts = np.array(counts)
        self.xyz = np.concatenate([e.xyz for e in episodes])
        self.rgb = np.concatenate([e.rgb for e in episodes])
        self.height = np.concatenate([e.height for e in episodes])

    def __len__(self) -> int:
        return len(self.owner)

    def point_batch(self, frames: np.ndarray) -> PointBatch:
        """The stored points of frames as float tensors."""
        return PointBatch(torch.from_numpy(self.xyz[frames].astype(np.float32) * METRE), torch.from_numpy(self.rgb[frames].astype(np.float32) / 255.0),
                          torch.from_numpy(self.height[frames].astype(np.float32) * METRE))

    def draw(
        self, size: int, keypoints: int, norm: Normalization, rng: np.random.Generator, frames: np.ndarray | None = None, windows_per_task: int = 1
    ) -> Batch:
        """A batch of ``size`` windows with ``keypoints`` motion tokens a step; ``frames`` fixes the windows.

        Windows that share a task share its encoding, which costs as much as everything else about a window without motion tokens.
        """
        if frames is None:
            frames = rng.integers(0, len(self), size // windows_per_task)
            owner = self.owner[frames]
            more = self.starts[owner] + (rng.random((windows_per_task - 1, len(frames))) * self.counts[owner]).astype(int)
            frames = np.concatenate([frames[None], more]).T.reshape(-1)
        H = HORIZON
        initial, references, poses, grippers, targets, target_grippers, motions, identities = ([] for _ in range(8))
        for i, f in enumerate(frames):
            e = self.episodes[self.owner[f]]
            begin = self.starts[self.owner[f]]
            offset = int(f - begin)
            if i % windows_per_task == 0:
                earliest = int(frames[i : i + windows_per_task].min() - begin)
                first = 0 if rng.random() < self.first_is_initial else int(rng.integers(0, earliest + 1))
                s0 = int(e.frame_step[first])
                initial.append(begin + first)
                references.append(draw_reference_arrays(e.tracks, e.static, s0, self.sampling, rng))
            s = int(e.frame_step[offset])
            steps = np.minimum(np.arange(s, s + H + 1), len(e.pose) - 1)
            poses.append(e.pose[s])
            grippers.append(e.gripper[s])
            targets.append(e.target_pose[steps[:H]])
            target_grippers.append(e.target_gripper[steps[:H]])
            if keypoints:
                k = rng.choice(e.tracks.shape[1], keypoints, replace=False)
                motions.append(e.tracks[steps][:, k])
                identities.append(e.tracks[s0, k])
        T_cam_ee = np.stack(poses).astype(np.float64)
        gripper = np.array(grippers)
        now = encode_actions(T_cam_ee[:, None], gripper[:, None], T_cam_ee, norm)
        action = np.concatenate([now, encode_actions(np.stack(targets), np.stack(target_grippers), T_cam_ee, norm)], 1)
        p = T_cam_ee[:, :3, 3]
        if keypoints:
            motion = ((np.stack(motions) - p[:, None, None]) / norm.local_scale).astype(np.float32)
            identity = ((np.stack(identities) - p[:, None]) / norm.local_scale).astype(np.float32)
        else:
            motion, identity = np.zeros((len(frames), H + 1, 0, 3), np.float32), np.zeros((len(frames), 0, 3), np.float32)
        grid = TokenGrid(torch.from_numpy(action), torch.from_numpy(motion), torch.from_numpy(identity), torch.ones(len(frames), keypoints, dtype=torch.bool))
        initial_points = self.point_batch(np.array(initial))
        return Batch(self.point_batch(frames), ee_batch(T_cam_ee, gripper), initial_points, reference_batch(references), grid, T_cam_ee, windows_per_task)


def measure_normalization(episodes: list[Episode]) -> Normalization:
    """Normalisation constants of a data set: means and standard deviations, isotropic in space."""
    points = np.concatenate([e.xyz[0] for e in episodes]).astype(np.float64) * METRE
    center = points.mean(0)
    raw = Normalization(position_scale=1.0, rotation_scale=1.0)
    actions = []
    for e in episodes:
        for s in range(0, len(e.pose), 7):
            steps = np.minimum(np.arange(s, s + HORIZON), len(e.pose) - 1)
            actions.append(encode_actions(e.target_pose[steps].astype(np.float64), e.target_gripper[steps], e.pose[s].astype(np.float64), raw))
    a = np.concatenate(actions)
    position, rotation = (float(np.sqrt((part**2).mean())) for part in (a[:, :3], a[:, 3:9]))
    # Data that never turns, or never moves, must not make a scale of zero.
    return Normalization(tuple(float(c) for c in center.round(4)), round(max(float((points - center).std()), 0.01), 4), 0.2,
                         round(max(position, 0.01), 4), round(max(rotation, 0.01), 4))
