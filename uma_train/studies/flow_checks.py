"""What tells the point flow's mechanisms from their names, on the synthetic world of `push_world`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from uma.checkpoint.contract import Contract
from uma.checkpoint.folder import write_bundle
from uma.geometry import se3
from uma_train.baselines.point_flow.hand import HandMotion
from uma_train.baselines.point_flow.mppi import MppiConfig, improved
from uma_train.baselines.point_flow.network import FlowConfig, FlowNetwork, rollout
from uma_train.baselines.point_flow.recipe import flow_batch
from uma_train.data.batch import Batch
from uma_train.data.episode import Episode
from uma_train.data.normalization import measure_normalization
from uma_train.data.windows import Windows
from uma_train.studies import push_world as push
from uma_train.studies.findings import Finding, distance, number, share
from uma_train.studies.small_model import FRESH, KEYPOINTS, MODEL, MechanismsConfig, run_config
from uma_train.training.trainer import Trainer

CONFIG = FlowConfig(MODEL, width=48, layers=2, heads=4, steps=10)
SEARCH = MppiConfig(samples=64, iterations=12, rotation_rad=0.03, temperature_m=0.01)
"""A search from rest. It is warmer and turns less than the policy's, whose chunks start on the way to the goal: large
steps lead to motions that training never showed."""

YAW = 0.8
"""Largest turn of a scene, radians."""

NEAR_M = 0.02
"""Distance from the goal at which a search has reached it, metres: twice the play of the hand."""


def train_flow(config: MechanismsConfig, console: Console) -> FlowNetwork:
    """Train the small network on random intents, or resume.

    Raises:
        ValueError: the folder holds a run with another configuration.
    """
    folder = Path(config.out) / "point_flow"
    episodes = [push.intent_episode(seed, points=MODEL.points.total, yaw=YAW) for seed in range(config.episodes)]
    norm = measure_normalization(episodes)
    if not (folder / "start").exists():
        torch.manual_seed(config.seed)
        start = FlowNetwork(CONFIG, norm)
        card = "# point_flow: untrained\n"
        write_bundle(folder / "start", "point_flow", start, Contract(), training={"seed": config.seed}, card=card)
    trainer = Trainer(
        run_config(config, folder, config.system_steps, system="point_flow"),
        Windows(episodes),
        norm,
    )
    state = folder / "state.pt"
    if state.exists():
        trainer.load(state)
    with Progress(console=console) as progress:
        bar = progress.add_task("point flow", total=config.system_steps, completed=trainer.step)
        while not trainer.is_done():
            trainer.update(trainer.draw(trainer.step))
            progress.update(bar, completed=trainer.step)
            if trainer.step % 500 == 0 or trainer.step == config.system_steps:
                trainer.save(state)
    model = trainer.averaged()
    assert isinstance(model, FlowNetwork)
    return model


class Scenes:
    """Test scenes at their first step, with the motion of one intent each, and the same scenes under another intent.

    Attributes:
        hand, other: the hand's motion under both.
        tracks: ``(B, H + 1, K, 3)`` under the first, relative to the measured end effector, metres.
    """

    def __init__(self, model: FlowNetwork, count: int):
        rng = np.random.default_rng([FRESH, 9])
        wanted = [push.draw_intent(rng) for _ in range(count)]
        self.model = model
        self.episodes = self._drawn(wanted)
        self.batch, other = (self._batch(e) for e in (self.episodes, self._drawn([*wanted[1:], wanted[0]])))
        data = flow_batch(self.batch, model.normalization)
        self.hand, self.other, self.tracks = data.hand, flow_batch(other, model.normalization).hand, data.tracks
        with torch.no_grad():
            self.tokens = model.encode(self.batch.points, self.batch.ee.pose)

    def _drawn(self, intents: list[push.Intent]) -> list[Episode]:
        N = MODEL.points.total
        return [push.intent_episode(FRESH + i, points=N, yaw=YAW, intent=v) for i, v in enumerate(intents)]

    def _batch(self, episodes: list[Episode]) -> Batch:
        rng, norm = np.random.default_rng(0), self.model.normalization
        return Windows(episodes).draw(len(episodes), KEYPOINTS, norm, rng, np.arange(len(episodes)))

    @torch.no_grad()
    def moved(self, hand: HandMotion) -> Tensor:
        """Predict the places ``(B, H, K, 3)``, metres."""
        now = self.tracks[:, 0]
        return rollout(self.model, self.tokens, hand, now, torch.ones(now.shape[:2], dtype=torch.bool))

    def error(self, hand: HandMotion) -> np.ndarray:
        """Return the mean distance of predicted and true places ``(B,)``, metres."""
        return (self.moved(hand) - self.tracks[:, 1:]).norm(dim=-1).mean((1, 2)).numpy()


def resting(hand: HandMotion) -> HandMotion:
    """Return the motion of a hand that stays where it is."""
    return HandMotion(hand.poses[:, :1].expand_as(hand.poses), hand.gripper[:, :1].expand_as(hand.gripper))


def dynamics(scenes: Scenes) -> list[Finding]:
    """Predicted motion must follow the actions."""
    still = scenes.tracks[:, :1].expand_as(scenes.tracks[:, 1:])
    rest = distance("dynamics", "error of keypoints that rest", _apart(still, scenes.tracks[:, 1:]))
    own = distance("dynamics", "error of keypoints, own actions", scenes.error(scenes.hand), beats=rest)
    other = scenes.error(scenes.other)
    moved, truth = (v[:, -1].mean(1) - scenes.tracks[:, 0].mean(1) for v in (scenes.moved(scenes.hand), scenes.tracks))
    angle = torch.nn.functional.cosine_similarity(moved, truth, dim=-1).numpy()
    stays = scenes.moved(resting(scenes.hand)) - scenes.tracks[:, :1]
    return [
        rest,
        own,
        number("dynamics", "error with the actions of another intent, of that with its own",
               float(other.mean()) / (own.value / 1e3), count=len(other), above=2.0),
        share("dynamics", "the object goes within 30 degrees of its true way", angle > np.cos(np.pi / 6), at_least=0.9),
        number("dynamics", "resting hand: largest mean motion, mm", 1e3 * float(stays.norm(dim=-1).mean((1, 2)).max()),
               count=len(other), below=5.0),
    ]  # fmt: skip


def _apart(a: Tensor, b: Tensor) -> np.ndarray:
    return (a - b).norm(dim=-1).mean((1, 2)).numpy()


class StillPoints(HandMotion):
    """A hand whose points do not move, whatever its poses are."""

    def points(self) -> Tensor:
        moving = super().points()
        return moving[:, :, :1].expand_as(moving)

    def window(self, start: int, steps: int) -> HandMotion:
        part = super().window(start, steps)
        return StillPoints(part.poses, part.gripper)


def chunks(scenes: Scenes) -> list[Finding]:
    """Steps must come in passes of ten, and the action by the motion of the robot's own points alone."""
    passes: list[int] = []
    hook = scenes.model.register_forward_hook(lambda *_: passes.append(1))
    own = scenes.moved(scenes.hand)
    hook.remove()
    S, count = scenes.model.config.steps, len(own)
    other = scenes.moved(scenes.other)
    unshown = [scenes.moved(StillPoints(hand.poses, hand.gripper)) for hand in (scenes.hand, scenes.other)]
    change, none = (float((a - b)[:, :S].abs().max()) for a, b in ((own, other), unshown))
    return [
        number("chunks", "steps of a pass", S, exactly=10),
        number("chunks", f"passes for {own.shape[1]} steps", len(passes), exactly=2),
        number("own points", "largest change of a pass by other actions, m", change, count=count, above=0.02),
        number("own points", "the same, if the gripper's points do not show them", none, count=count, exactly=0),
    ]


def carried(T: np.ndarray, poses: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return where `push_world`'s physics bring places ``(K, 3)`` of the object under hand poses ``(H, 4, 4)``.

    All is in the camera frame, metres. ``T`` is the object's first pose, which is also the hand's.
    """
    hand = np.concatenate([np.eye(4)[None], se3.invert(T) @ poses])
    return se3.apply(T @ push.object_path(hand)[-1], se3.apply(se3.invert(T), places))


def reach(scenes: Scenes) -> list[Finding]:
    """A search over the dynamics must bring the keypoints' centre to its goal, by the world's own physics."""
    before, after = [], []
    for i, episode in enumerate(scenes.episodes):
        T, pose, places = np.array(episode.meta["T_cam_object"]), scenes.batch.T_cam_ee[i], scenes.tracks[i, 0]
        target = scenes.tracks[i, -1].mean(0)

        @torch.no_grad()
        def cost(
            poses: np.ndarray, i: int = i, pose: np.ndarray = pose, places: Tensor = places, target: Tensor = target
        ) -> np.ndarray:
            n = len(poses)
            placed = np.concatenate([np.repeat(pose[None, None], n, 0), poses], 1)
            placed[..., :3, 3] -= pose[:3, 3]
            hand = HandMotion(torch.from_numpy(placed.astype(np.float32)), scenes.hand.gripper[i].expand(n, -1))
            keys = torch.ones(n, len(places), dtype=torch.bool)
            moved = rollout(scenes.model, scenes.tokens[i : i + 1], hand, places.expand(n, -1, -1), keys)
            return (moved[:, -1].mean(1) - target).norm(dim=-1).numpy()

        start = np.repeat(pose[None], scenes.tracks.shape[1] - 1, 0)
        found = improved([start], cost, SEARCH, np.random.default_rng([7, i]))
        for poses, out in ((start, before), (found, after)):
            end = carried(T, poses, places.numpy() + pose[:3, 3]).mean(0)
            out.append(np.linalg.norm(end - pose[:3, 3] - target.numpy()))
    first = distance("MPPI", "distance of the keypoints' centre from the goal, hand at rest", np.array(before))
    return [
        first,
        distance("MPPI", "the same after the chunk of a search from rest", np.array(after), beats=first),
        share("MPPI", f"within {100 * NEAR_M:.0f} cm of the goal", np.array(after) < NEAR_M, at_least=0.8),
    ]


def findings(model: FlowNetwork, count: int) -> list[Finding]:
    """Measure every check on ``count`` test scenes, and the search on a quarter of them."""
    scenes = Scenes(model.eval(), count)
    return [*chunks(scenes), *dynamics(scenes), *reach(Scenes(model, max(8, count // 4)))]
