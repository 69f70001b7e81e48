"""Windows of episodes as training batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from uma.control.grasp import grasp_steps
from uma.geometry import se3
from uma.geometry.camera import normalized_uv
from uma.model.batches import reference_batch
from uma.model.encoders import EndEffectorBatch, PointBatch
from uma.model.frame import PolicyFrame
from uma.model.heights import table
from uma.model.inputs import Normalization, ReferenceArrays, encode_actions, reference_arrays
from uma.model.uma import TokenGrid
from uma.types import HORIZON, ReferenceMotion
from uma_train.data.batch import Batch
from uma_train.data.clips import clip_images, frame_images
from uma_train.data.episode import METRE, Episode
from uma_train.data.events import is_key_window
from uma_train.data.hindsight import ReferenceSampling, draw_reference
from uma_train.data.rigid import frame_of, moved
from uma_train.data.store import Members, Store


@dataclass(frozen=True)
class Request:
    """Options of a batch beside its windows: the arguments of `Windows.draw` with the same names."""

    keypoints: int
    norm: Normalization
    windows_per_task: int = 1
    history: int = 0
    vary_keypoints: bool = False
    with_image: bool = False
    clip: tuple[int, ...] = ()


def task_seeds(rng: np.random.Generator, tasks: int, share: tuple[int, int]) -> tuple[np.ndarray, slice]:
    """Draw one seed per task of the whole batch, and the slice of tasks of ``share`` (rank, count).

    A task's seed determines all its randomness. So a batch is the same for one process or for several that draw parts.
    """
    rank, count = share
    return rng.integers(2**63, size=tasks), slice(tasks * rank // count, tasks * (rank + 1) // count)


@dataclass
class _Task:
    """The choices of one task.

    Attributes:
        episode, initial: episode, and frame of o_0.
        specified: episode and frame of the o_0 that the reference belongs to; a sibling's, or the same two.
        frames: frames of the windows.
        keypoints: ``(w, K)``, -1 = padding.
        reference: the drawn reference.
        anchor: ``(w, 3)`` origin without a robot, metres.
    """

    episode: int
    initial: int
    specified: tuple[int, int]
    frames: np.ndarray
    keypoints: np.ndarray
    reference: ReferenceArrays
    anchor: np.ndarray


class Windows:
    """A sampler of windows from episodes.

    Args:
        episodes: a list of episodes, or a store of them in memory or memory-mapped.
        first_is_initial: fraction of samples whose o_0 is the episode's first frame; the others start at a random
            earlier frame.
        sampling: distribution of the references.
        members: episodes of a store, by number. None = all.
        key_window_fraction: fraction of windows drawn among the key windows (`is_key_window`).
        frame: the policy frame of the batches, established once per task from its o_0.
        siblings: fraction of the tasks that are specified by another episode with the same instruction: by its o_0 and
            its reference. So c also carries what such episodes have in common.

    Attributes:
        episodes: the selected episodes.
        events: increasing numbers of the key windows' frames; empty without ``key_window_fraction``.
        image_size: ``(h, w)`` of the images of `draw`, or None. Set it if another source determines the size.
    """

    def __init__(
        self,
        episodes: Sequence[Episode] | Store,
        *,
        first_is_initial: float = 0.75,
        sampling: ReferenceSampling | None = None,
        members: Sequence[int] | np.ndarray | None = None,
        key_window_fraction: float = 0.0,
        frame: PolicyFrame | None = None,
        siblings: float = 0.0,
    ):
        self.store = episodes if isinstance(episodes, Store) else Store.of(episodes)
        self.first_is_initial = first_is_initial
        self.sampling = sampling or ReferenceSampling()
        self.episodes = Members(self.store, np.arange(len(self.store)) if members is None else np.asarray(members, int))
        self.counts = self.store.count["frames"][self.episodes.index]
        self.ends = np.cumsum(self.counts)
        self.starts = self.ends - self.counts
        self.image_size = self.store.image_size
        self.key_window_fraction = key_window_fraction
        self.frame = frame or PolicyFrame()
        self.siblings = siblings
        self._grasp_steps: dict[int, np.ndarray] = {}
        self.alike: dict[str, list[int]] = {}
        for e in self.episodes.index if siblings else ():
            self.alike.setdefault(self.store.metas[e]["text"], []).append(int(e))
        self.alike.pop("", None)
        self.events = (
            np.flatnonzero(np.concatenate([is_key_window(self.store, int(e)) for e in self.episodes.index]))
            if key_window_fraction
            else np.zeros(0, int)
        )

    def __len__(self) -> int:
        return int(self.ends[-1])

    def draw(
        self,
        size: int,
        keypoints: int,
        norm: Normalization,
        rng: np.random.Generator,
        frames: np.ndarray | None = None,
        windows_per_task: int = 1,
        *,
        history: int = 0,
        vary_keypoints: bool = False,
        with_image: bool = False,
        clip: tuple[int, ...] = (),
        share: tuple[int, int] = (0, 1),
    ) -> Batch:
        """Draw a batch of ``size`` windows with ``keypoints`` motion tokens per step, from the store, the arguments and
        ``rng`` only.

        Windows that share a task share its encoding, which is a large part of a window's cost.

        Args:
            frames: fixes the windows by frame number, 0 to ``len(self) - 1``; those of one task must be of one episode.
            history: past steps of the grid: measured poses and tracks, with the first step repeated before the
                episode's start. The current step has index ``history``, and the grid has ``history + 1 + HORIZON``
                steps.
            vary_keypoints: each window uses 1 to ``keypoints`` real keypoints and pads the rest. Otherwise only
                episodes with fewer tracks are padded.
            with_image: include images and the points' image coordinates. A frame without an image gets zeros.
            clip: steps relative to the current one whose images the batch includes; negative = past.
            share: (rank, count): return only the rank-th of ``count`` parts of the batch.

        Raises:
            EpisodeError: ``with_image`` or ``clip`` without any image.
        """
        w = windows_per_task
        request = Request(keypoints, norm, w, history, vary_keypoints, with_image, tuple(clip))
        groups = None if frames is None else np.asarray(frames).reshape(-1, w)
        seeds, part = task_seeds(rng, size // w if groups is None else len(groups), share)
        return self.draw_tasks(seeds[part], request, None if groups is None else groups[part])

    def draw_tasks(self, seeds: np.ndarray, request: Request, frames: np.ndarray | None = None) -> Batch:
        """Draw the tasks of some seeds (see `task_seeds`); ``frames`` ``(tasks, w)`` fixes their windows."""
        tasks = [
            self._choose(
                np.random.Generator(np.random.PCG64(int(seed))), request, None if frames is None else frames[i]
            )
            for i, seed in enumerate(seeds)
        ]
        return self._in_frame(self._gather(tasks, request), tasks, request.norm)

    def _in_frame(self, batch: Batch, tasks: list[_Task], norm: Normalization) -> Batch:
        """Map a batch from the camera frames of its episodes to the policy frame."""
        if self.frame.kind == "camera":
            return batch
        own = np.array([t.episode for t in tasks])
        given = np.array([t.specified[0] for t in tasks])
        T_given = T = self._frames(batch.initial_points, given)
        if (own != given).any():
            w = batch.windows_per_task
            first = PointBatch(batch.points.xyz[::w], batch.points.rgb[::w], batch.points.height[::w])
            T = np.where((own != given)[:, None, None], self._frames(first, own), T)
        return moved(batch, T[:, :3, :3], T[:, :3, 3], norm, specification=(T_given[:, :3, :3], T_given[:, :3, 3]))

    def _frames(self, points: PointBatch, episode: np.ndarray) -> np.ndarray:
        """Return ``(n, 4, 4)`` T_frame_cam of episodes ``(n,)`` from one cloud of each."""
        planes = table(points.xyz, points.height).numpy()
        metas = self.store.metas
        return np.stack([frame_of(self.frame, metas[e], plane) for e, plane in zip(episode, planes, strict=True)])

    def _choose(self, rng: np.random.Generator, request: Request, frames: np.ndarray | None) -> _Task:
        """Draw all random choices of one task."""
        store, w, slots = self.store, request.windows_per_task, request.keypoints
        if frames is not None:
            first = int(frames[0])
        elif len(self.events) and rng.random() < self.key_window_fraction:
            first = int(rng.choice(self.events))
        else:
            first = int(rng.integers(len(self)))
        member = int(np.searchsorted(self.ends, first, "right"))
        episode, begin, count = int(self.episodes.index[member]), int(self.starts[member]), int(self.counts[member])
        if frames is None:
            offsets = np.append(first - begin, self._others(rng, begin, count, w - 1))
        else:
            offsets = frames - begin
            if offsets.min() < 0 or offsets.max() >= count:
                raise ValueError(f"frames {frames.tolist()}: windows of one task must be of one episode")
        initial = 0 if rng.random() < self.first_is_initial else int(rng.integers(offsets.min() + 1))
        step = store.rows("frame_step", episode)
        start, now = int(step[initial]), step[offsets]
        K = int(store.count["keypoints"][episode])
        tracks, is_valid = self._tracks(episode)
        specified = (episode, initial)
        alike = self.alike.get(store.metas[episode]["text"], ())
        if len(alike) > 1 and rng.random() < self.siblings:
            specified = (int(rng.choice([e for e in alike if e != episode])), 0)
        reference = self._reference(*specified, rng)
        keypoints = np.full((w, slots), -1)
        if slots:
            # Keypoints unseen now or in the initial observation come last.
            order = (rng.random((w, K)) + ~is_valid[now] + ~is_valid[start]).argsort(1)[:, :slots]
            keypoints[:, : order.shape[1]] = order
            if request.vary_keypoints:
                keypoints[np.arange(slots) >= rng.integers(1, slots + 1, (w, 1))] = -1
        anchor = np.zeros((w, 3))
        if not store.has_robot[episode]:
            seen = np.where(is_valid[now].any(1, keepdims=True), is_valid[now], True)[..., None]
            anchor = (tracks[now] * seen).sum(1) / seen.sum(1)
        return _Task(episode, initial, specified, offsets, keypoints, reference_arrays(reference), anchor)

    def _tracks(self, episode: int) -> tuple[np.ndarray, np.ndarray]:
        """Return an episode's tracks ``(S, K, 3)``, and where they were seen ``(S, K)``."""
        K = int(self.store.count["keypoints"][episode])
        rows = self.store.rows
        return rows("tracks", episode).reshape(-1, K, 3), rows("track_valid", episode).reshape(-1, K)

    def _reference(self, episode: int, initial: int, rng: np.random.Generator) -> ReferenceMotion:
        """Draw a reference of the motion after the frame ``initial`` of an episode."""
        store, meta = self.store, self.store.metas[episode]
        tracks, is_valid = self._tracks(episode)
        extrinsics = meta.get("T_base_cam")
        return draw_reference(
            tracks,
            store.rows("static", episode),
            int(store.rows("frame_step", episode)[initial]),
            "camera",
            self.sampling,
            rng,
            is_valid,
            store.rows("track_moving", episode),
            store.rows("plan", episode).reshape(-1, tracks.shape[1], 3) if initial == 0 else None,
            None if extrinsics is None else np.array(extrinsics, np.float64),
            meta.get("intent", ""),
        )

    def _others(self, rng: np.random.Generator, begin: int, count: int, n: int) -> np.ndarray:
        """Draw ``(n,)`` frames of one episode, counted from its first frame number ``begin``."""
        anywhere = rng.integers(count, size=n)
        if not len(self.events):
            return anywhere
        low, high = np.searchsorted(self.events, (begin, begin + count))
        if low == high:
            return anywhere
        return np.where(
            rng.random(n) < self.key_window_fraction, self.events[rng.integers(low, high, size=n)] - begin, anywhere
        )

    def _gather(self, tasks: list[_Task], request: Request) -> Batch:
        """Gather the batch of the tasks' choices, without randomness."""
        store, w, norm, H, h = self.store, request.windows_per_task, request.norm, HORIZON, request.history
        task_episode = np.array([t.episode for t in tasks])
        episode = np.repeat(task_episode, w)
        initial, offset = np.array([t.initial for t in tasks]), np.concatenate([t.frames for t in tasks])
        specified = np.array([t.specified for t in tasks])
        start, now = store.take("frame_step", task_episode, initial), store.take("frame_step", episode, offset)
        last = store.count["steps"][episode] - 1

        def steps(begin: int, end: int) -> np.ndarray:
            return np.clip(now[:, None] + np.arange(begin, end + 1), 0, last[:, None])

        has_robot, has_actions = store.has_robot[episode], store.has_actions[episode]
        measured, gripper = (
            store.take("pose", episode, steps(-h, 0)).astype(np.float64),
            store.take("gripper", episode, steps(-h, 0)),
        )
        target, target_gripper = (
            store.take("target_pose", episode, steps(0, H - 1)).astype(np.float64),
            store.take("target_gripper", episode, steps(0, H - 1)),
        )
        T_cam_ee, present = measured[:, -1].copy(), gripper[:, -1] * has_robot
        T_cam_ee[~has_robot] = np.eye(4)
        T_cam_ee[~has_robot, :3, 3] = np.concatenate([t.anchor for t in tasks])[~has_robot]
        action = encode_actions(
            np.concatenate([measured, target], 1),
            np.concatenate([gripper, target_gripper], 1),
            T_cam_ee,
            norm,
            states=h + 1,
        )
        action[~has_robot] = 0.0
        action[~has_actions, h + 1 :] = 0.0
        carried, holds = self._carried(episode, np.repeat(start, w), now)
        ee = EndEffectorBatch(
            torch.from_numpy(T_cam_ee.astype(np.float32)),
            torch.from_numpy(present),
            torch.from_numpy(has_robot),
            torch.from_numpy(carried.astype(np.float32)),
            torch.from_numpy(holds),
        )

        keypoint = np.concatenate([t.keypoints for t in tasks])
        is_valid, k = keypoint >= 0, keypoint.clip(0)
        K = store.count["keypoints"][episode]
        p = T_cam_ee[:, :3, 3]
        row = steps(-h, H)[:, :, None] * K[:, None, None] + k[:, None]
        motion = (store.take("tracks", episode, row) - p[:, None, None]) / norm.local_scale * is_valid[:, None, :, None]
        identity = (
            (store.take("tracks", episode, np.repeat(start, w)[:, None] * K[:, None] + k) - p[:, None])
            / norm.local_scale
            * is_valid[..., None]
        )
        grid = TokenGrid(
            torch.from_numpy(action),
            torch.from_numpy(motion.astype(np.float32)),
            torch.from_numpy(identity.astype(np.float32)),
            torch.from_numpy(is_valid),
            torch.from_numpy(has_actions),
            torch.from_numpy(store.take("track_valid", episode, row) & is_valid[:, None]),
        )
        return Batch(
            self._points(episode, offset, request.with_image),
            ee,
            self._points(specified[:, 0], specified[:, 1], request.with_image),
            reference_batch([t.reference for t in tasks]),
            grid,
            T_cam_ee,
            w,
            tuple(store.metas[e]["text"] or None for e in task_episode),
            torch.from_numpy(store.take("track_moving", episode, k) & is_valid),
            clip_images(store, self.image_size, episode, now, request.clip) if request.clip else None,
        )

    def _carried(self, episode: np.ndarray, start: np.ndarray, now: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the hand's motion ``(B, 4, 4)`` since it holds something and since o_0, and whether it does ``(B,)``.

        Args:
            episode, start, now: ``(B,)`` episodes, and the steps of o_0 and of the window.
        """
        since = np.array([self._grasps(int(e))[s] for e, s in zip(episode, now, strict=True)])
        holds = since >= 0
        before = self.store.take("pose", episode, np.maximum(since, start)).astype(np.float64)
        motion = self.store.take("pose", episode, now).astype(np.float64) @ se3.invert(before)
        motion[~holds] = np.eye(4)
        return motion, holds

    def _grasps(self, episode: int) -> np.ndarray:
        if episode not in self._grasp_steps:
            gripper = self.store.rows("gripper", episode)
            steps = grasp_steps(gripper) if self.store.has_robot[episode] else np.full(len(gripper), -1)
            self._grasp_steps[episode] = steps.astype(np.int32)
        return self._grasp_steps[episode]

    def _points(self, episode: np.ndarray, frame: np.ndarray, with_image: bool) -> PointBatch:
        """Return the stored points of frames as float tensors, optionally with images and image coordinates."""
        xyz = self.store.take("xyz", episode, frame).astype(np.float32) * np.float32(METRE)
        rgb = self.store.take("rgb", episode, frame).astype(np.float32) / np.float32(255)
        height = self.store.take("height", episode, frame).astype(np.float32) * np.float32(METRE)
        points = [torch.from_numpy(v) for v in (xyz, rgb, height)]
        if not with_image:
            return PointBatch(*points)
        return PointBatch(
            *points,
            frame_images(self.store, self.image_size, episode, frame),
            torch.from_numpy(normalized_uv(xyz, self.store.intrinsics[episode])),
        )
