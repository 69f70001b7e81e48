"""The mechanism proofs of the pushing world, on one small model trained here: what `uma mechanisms` does, with fewer
steps and scenes."""

import dataclasses

import numpy as np
import pytest
import torch
from rich.console import Console

from uma_train.studies import push_world as push
from uma_train.studies import small_model
from uma_train.studies.mechanisms import push_findings, train_push
from uma_train.studies.small_model import MODEL, MechanismsConfig
from uma_train.training.latent import retrieved

pytestmark = pytest.mark.timeout(1200)  # of a loaded machine; alone on a core the training takes about a minute


@pytest.fixture(scope="module")
def findings(tmp_path_factory):
    """Findings by (mechanism, what)."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    config = MechanismsConfig(out=str(tmp_path_factory.mktemp("mechanisms")), episodes=1400, push_steps=350)
    model = train_push(config, Console(quiet=True))
    out = push_findings(model, 200)
    torch.set_num_threads(threads)
    return out


@pytest.mark.parametrize("mechanism", ["joint", "separate", "inverse", "dynamics", "control", "task tokens"])
def test_the_mechanism_holds_on_fresh_scenes(findings, mechanism):
    mine = [f for f in findings if f.mechanism == mechanism]
    held = [f for f in mine if f.holds is not None]
    assert held and all(f.count >= 200 for f in mine)
    assert all(f.holds for f in held), "\n".join(
        f"{f.what}: {f.text()}, must be {f.limit}" for f in held if not f.holds
    )


def test_observation_leaves_the_side_open():
    points = MODEL.points.total
    left, right = (push.push_episode(7, points=points, habit=True, side=s) for s in (1, -1))
    for name in ("xyz", "rgb", "height"):
        assert np.array_equal(getattr(left, name), getattr(right, name))
    assert np.array_equal(left.pose[0], right.pose[0]) and np.array_equal(left.tracks[0], right.tracks[0])
    assert np.linalg.norm(left.tracks[-1] - right.tracks[-1], axis=-1).min() > 0.1
    sides = np.array([np.sign(push.push_episode(i, points=points, habit=True).meta["intent"][1]) for i in range(400)])
    assert abs((sides < 0).mean() - push.HABIT) < 0.06


def test_motion_is_bound_to_action():
    intent = push.Intent(forward=0.05, left=-0.1, up=0.04, turn=0.7, bow=0.03)
    hand = push.hand_path(intent)
    assert (
        np.allclose(hand[0], np.eye(4))
        and np.allclose(hand[-1, :3, 3], [0.05, -0.1, 0.04])
        and np.array_equal(hand[-1], hand[-2])
    )
    body = push.object_path(hand)
    gap = np.linalg.norm(body[:, :3, 3] - hand[:, :3, 3], axis=-1)
    assert gap.max() <= push.PLAY + 1e-9 and np.isclose(gap[-1], push.PLAY)  # it is dragged behind the hand
    assert np.allclose(push.object_path(np.repeat(np.eye(4)[None], 5, 0)), np.eye(4))
    e = push.intent_episode(3, points=MODEL.points.total, yaw=1.0, intent=intent)
    T = np.array(e.meta["T_cam_object"])
    assert np.allclose(push.carried(T, e.target_pose[:16].astype(float)), body[-1, :3, 3], atol=1e-5)
    shape = np.linalg.norm(e.tracks[:, :, None] - e.tracks[:, None], axis=-1)
    assert np.allclose(shape, shape[0], atol=1e-5)  # rigid
    travelled = (e.tracks[-1] - e.tracks[0]).mean(0) @ T[:3, :3]
    options = {"rear_rgb": push.OBJECT_RGB, "size_m": push.OBJECT_M}
    centre = push.draw_scene(
        np.random.default_rng([2, 3]), points=MODEL.points.total, yaw=1.0, **options
    ).keypoints.mean(0)
    assert np.allclose(travelled, body[-1, :3, 3] + body[-1, :3, :3] @ centre - centre, atol=1e-5)


def test_intents_to_the_left_are_held_out():
    rng = np.random.default_rng(0)
    angles = [np.arctan2(i.left, i.forward) for i in (push.draw_intent(rng) for _ in range(2000))]
    away = np.abs(np.angle(np.exp(1j * (np.array(angles) - np.pi / 2))))
    assert away.min() >= push.HELD_OUT_RAD and away.min() < push.HELD_OUT_RAD + 0.02
    assert abs(np.arctan2(push.HELD_OUT.left, push.HELD_OUT.forward) - np.pi / 2) < push.HELD_OUT_RAD


def test_retrieval_counts_what_is_nearest():
    g = torch.Generator().manual_seed(0)
    a = torch.randn(48, 32, generator=g)
    near = a + 0.01 * torch.randn(48, 32, generator=g)
    assert (
        retrieved(a, near, 24).all() and retrieved(a + 5.0, near + 5.0, 24).all()
    )  # what all have in common does not matter
    assert retrieved(a, torch.randn(48, 32, generator=g), 24).mean() < 0.2
    swapped = torch.arange(48)
    swapped[[0, 1]] = swapped[[1, 0]]
    assert retrieved(a, a[swapped], 24).tolist() == [False, False] + [True] * 46


def test_a_cut_run_goes_on(tmp_path, monkeypatch):
    config = MechanismsConfig(out=str(tmp_path), episodes=40, push_steps=4)
    quiet = Console(quiet=True)
    whole = train_push(dataclasses.replace(config, out=str(tmp_path / "whole")), quiet).state_dict()
    update, calls = small_model.Trainer.update, []

    def die(self, batches):
        if len(calls) == 2:
            self.save(tmp_path / "push" / "state.pt")
            raise KeyboardInterrupt
        calls.append(1)
        return update(self, batches)

    monkeypatch.setattr(small_model.Trainer, "update", die)
    with pytest.raises(KeyboardInterrupt):
        train_push(config, quiet)
    monkeypatch.undo()
    again = train_push(config, quiet).state_dict()
    assert all(torch.equal(a, b) for a, b in zip(whole.values(), again.values(), strict=True))
    with pytest.raises(ValueError, match="another run"):
        train_push(dataclasses.replace(config, lr=1e-4), quiet)


def test_questions_out_of_range_are_refused():
    with pytest.raises(ValueError, match="parts: 'pull', must be of push, intents"):
        MechanismsConfig(parts=("pull",))
    with pytest.raises(ValueError, match="samples 20: must be at least twice the 24 candidates"):
        MechanismsConfig(samples=20)
