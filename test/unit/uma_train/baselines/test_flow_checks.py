"""The checks of the point flow: they hold for a rigid world and a whole network, and fail for broken ones."""

import pytest
import torch
from rich.console import Console

from uma_train.baselines.point_flow.network import FlowNetwork
from uma_train.data.normalization import measure_normalization
from uma_train.studies import flow_checks, push_world
from uma_train.studies.small_model import MODEL, MechanismsConfig


@pytest.fixture(scope="module")
def scenes() -> flow_checks.Scenes:
    """Scenes of a network with random weights everywhere, also where training starts from zero."""
    torch.manual_seed(0)
    episodes = [push_world.intent_episode(i, points=MODEL.points.total, yaw=0.8) for i in range(8)]
    model = FlowNetwork(flow_checks.CONFIG, measure_normalization(episodes)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.05 * torch.randn(p.shape))
    return flow_checks.Scenes(model, 12)


def rigid(network, scene, hand, points, is_key):
    """Everything moves with the hand."""
    turn = hand.poses[:, 1:, :3, :3] @ hand.poses[:, :1, :3, :3].transpose(-1, -2)
    away = points[:, None] - hand.poses[:, :1, None, :3, 3]
    return (turn @ away.transpose(-1, -2)).transpose(-1, -2) + hand.poses[:, 1:, None, :3, 3]


def resting(network, scene, hand, points, is_key):
    return points[:, None].expand(-1, hand.poses.shape[1] - 1, -1, -1)


def reversed_(network, scene, hand, points, is_key):
    return 2 * points[:, None] - rigid(network, scene, hand, points, is_key)


def failed(findings) -> list[str]:
    return [f.what for f in findings if f.holds is False]


def test_ten_steps_a_pass_of_the_gripper_s_points(scenes):
    assert not failed(flow_checks.chunks(scenes))


def test_steps_one_by_one_are_found(scenes, monkeypatch):
    whole = flow_checks.rollout

    def slow(network, scene, hand, points, is_key):
        network(scene, hand.window(0, network.config.steps), points, is_key)
        return whole(network, scene, hand, points, is_key)

    monkeypatch.setattr(flow_checks, "rollout", slow)
    assert failed(flow_checks.chunks(scenes)) == ["passes for 16 steps"]


def test_an_action_that_bypasses_the_points_is_found(scenes, monkeypatch):
    monkeypatch.setattr(flow_checks, "rollout", rigid)
    assert "the same, if the gripper's points do not show them" in failed(flow_checks.chunks(scenes))


def test_in_a_rigid_world_motion_follows_and_goals_are_reached(scenes, monkeypatch):
    monkeypatch.setattr(flow_checks, "rollout", rigid)
    assert not failed(flow_checks.dynamics(scenes))
    first, after, _ = flow_checks.reach(scenes)
    assert after.holds and after.value < 0.3 * first.value, "but for the play of the hand"


@pytest.mark.parametrize("broken", [resting, reversed_])
def test_dynamics_without_or_against_the_actions_are_found(scenes, monkeypatch, broken):
    monkeypatch.setattr(flow_checks, "rollout", broken)
    wrong = failed(flow_checks.dynamics(scenes))
    assert "error of keypoints, own actions" in wrong
    assert "error with the actions of another intent, of that with its own" in wrong
    assert "the object goes within 30 degrees of its true way" in wrong
    assert len(failed(flow_checks.reach(scenes))) == 2


def test_a_resting_hand_that_moves_things_is_found(scenes, monkeypatch):
    def drifting(network, scene, hand, points, is_key):
        return rigid(network, scene, hand, points, is_key) + 0.01

    monkeypatch.setattr(flow_checks, "rollout", drifting)
    assert "resting hand: largest mean motion, mm" in failed(flow_checks.dynamics(scenes))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_little_training_meets_every_check(tmp_path):
    config = MechanismsConfig(out=str(tmp_path), system="point_flow", system_steps=400, episodes=600)
    found = flow_checks.findings(flow_checks.train_flow(config, Console(quiet=True)), 48)
    assert not failed(found), [(f.what, f.text(), f.limit) for f in found]
