"""The point flow: what its dynamics depend on, its training, and its search for actions."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from episodes import episode
from rigid_episodes import episode as rigid_episode
from scenes import reference, scene

from uma.checkpoint.contract import Contract
from uma.checkpoint.folder import BundleError, read_bundle
from uma.geometry import se3
from uma.model.config import tiny
from uma.model.encoders import PointBatch
from uma.model.inputs import Normalization
from uma.model.percept import perceive
from uma.policy.query import Task
from uma.policy.systems import load_system
from uma.types import InputError, KeypointState
from uma_train.baselines.point_flow.hand import POINTS, STROKE, HandMotion, hand_points
from uma_train.baselines.point_flow.memory import Places
from uma_train.baselines.point_flow.mppi import MppiConfig, improved, offset, perturbations
from uma_train.baselines.point_flow.network import FlowConfig, FlowNetwork, rollout
from uma_train.baselines.point_flow.nominal import left, nominal
from uma_train.baselines.point_flow.policy import PointFlow
from uma_train.baselines.point_flow.recipe import FlowRecipe, flow_batch
from uma_train.data.episode import Episode, save_episode
from uma_train.data.windows import Windows
from uma_train.training.choices import FlowChoice
from uma_train.training.config import TrainConfig
from uma_train.training.loop import train

CONFIG = FlowConfig(tiny(), width=32, layers=2, heads=2)
QUICK = FlowChoice(width=32, layers=2, heads=2, static=8)


def network() -> FlowNetwork:
    """A network whose zero-initialised head is not zero."""
    torch.manual_seed(0)
    model = FlowNetwork(CONFIG, Normalization())
    with torch.no_grad():
        for linear in (model.weigh, model.gate, model.free):
            linear.weight.normal_(0, 0.3)
    return model.eval()


def cloud(B: int = 1) -> PointBatch:
    g = torch.Generator().manual_seed(1)
    N = tiny().points.total
    return PointBatch(
        torch.randn(B, N, 3, generator=g) * 0.1, torch.rand(B, N, 3, generator=g), torch.rand(B, N, generator=g) * 0.1
    )


def hand(step=(0.01, 0.0, 0.0), H: int = 16, N: int = 1) -> HandMotion:
    """A half closed hand at the origin that moves by ``step`` metres per step."""
    poses = torch.eye(4).repeat(N, H + 1, 1, 1)
    poses[:, :, :3, 3] = torch.arange(H + 1)[:, None] * torch.tensor(step)
    return HandMotion(poses, torch.full((N, H + 1), 0.5))


KEYS = torch.tensor([[[0.0, 0.01, 0.0], [0.02, 0.0, 0.01], [-0.1, 0.05, 0.0]]])
ALL = torch.ones(1, 3, dtype=torch.bool)


def test_the_hands_points_close_along_y_and_move_with_the_pose():
    open_, closed = hand_points(torch.tensor([0.0, 1.0]))
    assert open_.shape == (POINTS, 3) and (open_[:8, 1] - open_[8:16, 1]).allclose(torch.tensor(STROKE))
    assert not closed[:16, 1].any() and torch.equal(open_[16:], closed[16:]), "the palm does not move"
    flow = hand().points()
    assert flow.shape == (1, POINTS, 17, 3)
    assert (flow[:, :, 1:] - flow[:, :, :-1]).allclose(torch.tensor([0.01, 0.0, 0.0]), atol=1e-6)
    rest = hand().window(10, 10).points()
    assert torch.equal(rest[:, :, 0], flow[:, :, 10]) and torch.equal(rest[:, :, 6], rest[:, :, 10])


@torch.no_grad()
def test_nothing_changes_if_everything_moves_along():
    model, points = network(), cloud()
    by = torch.tensor([0.25, -0.5, 1.0])
    pose = torch.eye(4)[None].clone()
    here = model.encode(points, pose)
    pose[:, :3, 3] = by
    there = model.encode(replace(points, xyz=points.xyz + by), pose)
    assert torch.allclose(here, there, atol=1e-4)
    assert not torch.allclose(here, model.encode(points, pose), atol=1e-2), "the cloud alone"


def test_predictions_depend_on_the_hands_motion():
    model = network()
    moves = hand()
    moves.poses.requires_grad_()
    away = model(model.encode(cloud(), torch.eye(4)[None]), moves.window(0, 10), KEYS, ALL)
    away[:, 0].sum().backward()
    gradient = moves.poses.grad[0, :, :3, 3].abs().sum(-1)
    assert (gradient[1:11] > 0).all() and not gradient[11:].any()
    with torch.no_grad():
        scene_ = model.encode(cloud(), torch.eye(4)[None])
        other = model(scene_, hand((0.0, 0.01, 0.0)).window(0, 10), KEYS, ALL)
    assert (other - away).abs().max() > 1e-3


@torch.no_grad()
def test_points_permute_and_padding_does_not_count():
    model = network()
    tokens, moves = model.encode(cloud(), torch.eye(4)[None]), hand().window(0, 10)
    away = model(tokens, moves, KEYS, ALL)
    turned = model(tokens, moves, KEYS[:, [2, 0, 1]], ALL)
    assert torch.allclose(turned, away[:, [2, 0, 1]], atol=1e-6)
    padded = torch.cat([KEYS, torch.full((1, 2, 3), 0.3)], 1)
    keys = torch.tensor([[True, True, True, False, False]])
    assert torch.allclose(model(tokens, moves, padded, keys)[:, :3], away, atol=1e-6)
    seen = model(tokens, moves, padded, torch.ones_like(keys))[:, :3]
    assert not torch.allclose(seen, away, atol=1e-4), "as keypoints they count"


@torch.no_grad()
def test_the_second_pass_continues_the_first():
    model = network()
    tokens, moves = model.encode(cloud(), torch.eye(4)[None]), hand()
    whole = rollout(model, tokens, moves, KEYS, ALL)
    first = model(tokens, moves.window(0, 10), KEYS, ALL)
    assert whole.shape == (1, 16, 3, 3)
    assert torch.allclose(whole[:, :10], KEYS[:, None] + first.transpose(1, 2), atol=1e-6)
    rest = HandMotion(moves.poses[:, 10:], moves.gripper[:, 10:])
    assert torch.allclose(whole[:, 10:], rollout(model, tokens, rest, whole[:, 9], ALL), atol=1e-6)


def config(tmp_path, **changes) -> TrainConfig:
    usual = {
        "data": (str(tmp_path / "data"),),
        "system": "point_flow",
        "preset": "tiny",
        "flow": QUICK,
        "out": str(tmp_path / "out"),
        "steps": 100,
        "warmup": 5,
        "lr": 4e-3,
        "ema": 0.9,
        "batch_size": 16,
        "validation_episodes": 2,
        "validation_windows": 32,
        "threads": 1,
        "tensorboard": False,
    }
    return TrainConfig(**usual | changes)


def test_windows_without_actions_give_no_loss(tmp_path):
    norm = Normalization()
    recipe = FlowRecipe(config(tmp_path), norm)
    video = Windows([rigid_episode(0, robot=False, N=tiny().points.total)]).draw(4, 3, norm, np.random.default_rng(0))
    assert not flow_batch(video, norm).is_known.any()
    out = recipe.losses(video, torch.Generator().manual_seed(0))
    assert float(out["total"].detach()) == 0.0
    robot = Windows([episode(0)]).draw(4, 3, norm, np.random.default_rng(0))
    data = flow_batch(robot, norm)
    out = recipe.losses(robot, torch.Generator().manual_seed(0))
    assert float(out["keypoints"].detach()) > 0 and data.is_known.all()
    # In these episodes, the hand carries the points along a line.
    moved = data.hand.poses[:, 10, :3, 3] - data.hand.poses[:, 0, :3, 3]
    assert torch.allclose(data.tracks[:, 10, 0] - data.tracks[:, 0, 0], moved, atol=0.03)
    rows, points = data.static.nonzero().unbind(1)
    away = robot.points.xyz[rows, points] - robot.ee.pose[rows, :3, 3]
    assert len(rows) and (away.norm(dim=-1) > 0.15).all() and (robot.points.height[rows, points] < 0.05).all()


def grasped(seed: int) -> Episode:
    """A hand that approaches resting points, closes, and carries the near ones; four far points rest."""
    e = episode(seed)
    path, closes = e.pose[:, None, :3, 3], int(e.gripper.argmax())
    tracks = e.tracks - path + path[np.maximum(np.arange(len(path)), closes)]
    tracks[:, 12:] = tracks[:1, 12:] + 0.3
    return replace(e, tracks=tracks)


def test_a_trained_bundle_beats_rest_and_acts(tmp_path):
    (tmp_path / "data").mkdir()
    for i in range(10):
        save_episode(tmp_path / f"data/{i}.npz", grasped(i))
    bundle = train(config(tmp_path))
    stored = read_bundle(bundle)
    lines = (tmp_path / "out" / "log.jsonl").read_text().splitlines()
    errors = [json.loads(line)["validation"] for line in lines if "validation" in line][-1]["dynamics, keypoints given"]
    assert errors["motion_mm"] < 0.7 * errors["motion_still_mm"]
    assert errors["motion_mse_m2"] < 0.5 * errors["motion_still_mse_m2"]
    policy = load_system(bundle, system="point_flow", num_samples=1, num_steps=1)
    o = scene()
    task = policy.encode_task(o, reference())
    chunk = policy.predict(o, task).chunk
    motion = policy.predict_motion(o, task, chunk)
    assert motion.points.shape == (16, 3, 3) and np.isfinite(motion.points).all()
    again = policy.twin().predict_motions(o, task, [chunk, chunk])[1]
    assert np.allclose(motion.points, again.points, atol=1e-5), "alone, and among others"
    assert policy.predicts_motion and not policy.takes_instructions
    with pytest.raises(BundleError, match="width: 33, must be a multiple of the 2 heads"):
        PointFlow.of(replace(stored, model={**stored.model, "width": 33}))


# -- the search --


def rigid(self, percept, scene, poses, gripper, points):
    """The dynamics of a hand that holds all points."""
    by = poses @ se3.invert(percept.poses_cam(percept.T_frame_ee))
    return np.einsum("nhij,kj->nhki", by[..., :3, :3], points) + by[..., None, :3, 3]


def policy(**settings) -> PointFlow:
    return PointFlow(network(), Contract(), "made up", **({"num_samples": 8, "num_steps": 3} | settings))


def holding(stamp: float = 3.5):
    """A scene whose hand holds the keypoints of `reference`."""
    o = scene()
    return replace(o, T_cam_ee=se3.make_pose(np.diag([1.0, -1.0, -1.0]), [0.01, 0.02, 0.95]), gripper=0.6, stamp=stamp)


def turning():
    """A reference that turns the held points about the hand, which no translation follows."""
    r = reference()
    turn = se3.make_pose(se3.exp(np.array([0.0, 0.0, 0.6])), np.zeros(3))
    centre = np.mean([w[0] for w in r.waypoints], 0)
    spread = [centre + [0.05 * np.cos(2 * k), 0.05 * np.sin(2 * k), 0.0] for k in range(3)]
    return replace(
        r,
        waypoints=tuple(np.stack([p, centre + se3.apply(turn, p - centre) + [0.1, 0.0, 0.0]]) for p in spread),
        phase=(),
        is_valid=(),
    )


def test_the_search_moves_held_points_along_the_reference(monkeypatch):
    monkeypatch.setattr(PointFlow, "_moved", rigid)
    p, o, goal = policy(), holding(), turning()
    task = p.encode_task(o, goal)
    found = p.predict(o, task, with_motion=True)
    start = nominal(o.T_cam_ee, o.gripper, task.keypoints, goal, 16)
    assert start.stage == "carry" and (found.chunk.gripper == 1).all()
    percept = perceive(o, CONFIG.uma, Contract().policy_frame)
    ends = [rigid(p, percept, None, c[None], None, task.keypoints)[0, -1] for c in (start.poses, found.chunk.poses)]
    before, after = (float(left(e, goal)) for e in ends)
    now = float(left(task.keypoints, goal))
    assert after < 0.8 * before < before < now
    assert np.allclose(found.motion.points[-1], ends[1])


def test_equal_seeds_and_sequences_give_equal_chunks(monkeypatch):
    o, goal = holding(), turning()
    p = policy()
    task = p.encode_task(o, goal)
    first = p.predict(o, task, sequence=4).chunk.poses
    assert np.array_equal(first, p.predict(o, task, sequence=4).chunk.poses), "the same observation again"
    assert np.array_equal(first, policy().predict(o, task, sequence=4).chunk.poses)
    assert not np.array_equal(first, policy().predict(o, task, sequence=5).chunk.poses)
    assert not np.array_equal(first, policy(seed=1).predict(o, task, sequence=4).chunk.poses)
    drawn = [c.poses for c in p.predict_candidates(o, task, 3, sequence=1)]
    assert len(drawn) == 3 and not np.array_equal(drawn[0], drawn[1])
    assert np.array_equal(drawn, [c.poses for c in p.predict_candidates(o, task, 3, sequence=1)])


def test_the_search_never_returns_worse_than_its_starts():
    rng = np.random.default_rng(0)
    start = np.repeat(np.eye(4)[None], 16, 0)
    goal = np.array([0.05, 0.0, 0.02])
    cost = lambda poses: np.linalg.norm(poses[:, -1, :3, 3] - goal, axis=-1)  # noqa: E731
    found = improved([start], cost, MppiConfig(iterations=4), rng)
    assert cost(found[None])[0] < 0.3 * cost(start[None])[0]
    there = offset(start, np.tile([*goal, 0, 0, 0], (1, 16, 1)))[0]
    assert np.array_equal(improved([start, there], cost, MppiConfig(), rng), there)
    drawn = perturbations(500, 16, MppiConfig(), rng)
    assert drawn[:, -1, :3].std() == pytest.approx(0.02, rel=0.1)
    assert np.abs(np.diff(drawn, 2, axis=1)).max() < np.abs(drawn).max(), "smooth"


def test_stages_of_a_task():
    pose, goal = np.eye(4), reference()
    starts = np.stack([w[0] for w in goal.waypoints])
    reach = nominal(pose, 0.0, starts, goal, 40)
    assert reach.stage == "reach" and not reach.gripper.any()
    assert np.allclose(reach.poses[-1, :3, 3], starts.mean(0)) and np.allclose(reach.poses[:, :3, :3], np.eye(3))
    assert np.linalg.norm(np.diff(reach.poses[:, :3, 3], axis=0), axis=-1).max() < 0.0301
    pose[:3, 3] = starts.mean(0) + [0.0, 0.0, 0.015]
    assert nominal(pose, 0.0, starts, goal, 16).gripper.all(), "within 2 cm"
    carry = nominal(pose, 0.6, starts, goal, 16)
    ends = np.stack([w[-1] for w in goal.waypoints])
    assert carry.stage == "carry" and np.allclose(carry.poses[-1, :3, 3] - pose[:3, 3], (ends - starts).mean(0))
    done = nominal(pose, 0.6, ends, goal, 16)
    assert done.stage == "done" and not done.gripper.any() and np.allclose(done.poses, pose)
    pinned = replace(goal, waypoints=tuple(w[:1] for w in goal.waypoints), phase=(), is_valid=())
    assert nominal(pose, 0.6, starts + [0.1, 0, 0], pinned, 16).stage != "done"


def test_untracked_keypoints_move_with_the_closed_hand():
    o = holding()
    task = policy().encode_task(o, reference())
    places, by = Places(), np.array([0.05, 0.0, 0.0])
    assert np.array_equal(places.at(o, task), task.keypoints)
    T = o.T_cam_ee.copy()
    T[:3, 3] += by
    later = replace(o, T_cam_ee=T, stamp=o.stamp + 0.5)
    for _ in range(2):
        assert np.allclose(places.at(later, task), task.keypoints + by)
    open_ = replace(later, T_cam_ee=o.T_cam_ee, gripper=0.0, stamp=o.stamp + 1.0)
    assert np.allclose(places.at(open_, task), task.keypoints + by)
    seen = KeypointState(np.zeros((3, 3)), np.array([True, False, False]))
    assert np.allclose(places.at(open_, task, seen)[:2], [np.zeros(3), task.keypoints[1] + by])
    assert np.array_equal(places.at(o, task), task.keypoints), "time went back"


def test_refusals_name_field_value_and_limit():
    p, o = policy(), scene()
    task = p.encode_task(o, reference())
    chunk = p.predict(o, task).chunk
    short = replace(chunk, poses=chunk.poses[:5], gripper=chunk.gripper[:5])
    refused = "checkpoint made up is of system 'point_flow', which has no such mode"
    for ask, words in (
        (lambda: p.predict(o, task, prefix=short), f"prefix of 5 actions: {refused}"),
        (lambda: p.encode_instruction("lift"), f"instruction 'lift': {refused}"),
        (lambda: p.load_prompt("a"), f"prompt a: {refused}"),
        (lambda: p.predict_candidates(o, task, 0), "candidates: 0, must be 1 to 256"),
        (lambda: p.predict_motion(o, task, short), "chunk: 5 actions, must be 16"),
        (lambda: p.predict_motion(o, task, replace(chunk, frame="x")), "chunk frame 'x': must be the camera's"),
        (lambda: p.predict(o, task.zeroed()), "task: without a reference, must be encoded by this system"),
        (lambda: p.encode_task(o, replace(reference(), frame="x")), "reference frame 'x': must be the camera's"),
        (lambda: p.predict_motion(o, Task(task.tokens, task.keypoints[:0], task.goals[:0]), chunk), "keypoints: 0"),
        (lambda: p.predict(o, task, keypoints=KeypointState(np.zeros((2, 3)), np.ones(2, bool))), "keypoints"),
        (lambda: FlowChoice(width=130), "flow.width: 130, must be a multiple of the 4 heads"),
        (lambda: FlowChoice(steps=0), "flow.steps: 0, must be 1 to 64"),
        (lambda: MppiConfig(samples=1), "samples: 1, must be 2 to 4096"),
    ):
        with pytest.raises(InputError, match=words):
            ask()
