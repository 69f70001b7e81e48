"""Every inference mode from the same weights (paper Eq. 5 to 7): control, joint, dynamics, inverse, planning, stored
prompts."""

import dataclasses

import numpy as np
import pytest
import torch
from scenes import CAMERA, reference, scene

from uma.checkpoint.bundle import Contract, save_bundle
from uma.checkpoint.prompt import Prompt, PromptError, load_prompt, save_prompt
from uma.geometry import polyline
from uma.model.config import tiny
from uma.model.inputs import Normalization
from uma.model.uma import Uma
from uma.policy import Policy
from uma.policy.planner import plan, reference_cost
from uma.policy.policy import History
from uma.types import InputError, KeypointState, MotionPrediction, ReferenceMotion


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A bundle whose zero-initialised parts are not zero, with and without a history."""
    out = tmp_path_factory.mktemp("models")
    for name, config in (("plain", tiny()), ("history", dataclasses.replace(tiny(), history=2))):
        torch.manual_seed(0)
        model = Uma(config, Normalization())
        with torch.no_grad():
            for p in model.parameters():
                if (p == 0).all():
                    p.normal_(0, 0.1)
        save_bundle(out / name, model, Contract(), training={}, card="# tiny\n")
    return out


@pytest.fixture(scope="module")
def policy(folder):
    return Policy.load(folder / "plain", num_samples=2, num_steps=3)


def test_dynamics_batch_equals_one_by_one(policy):
    o = scene()
    task = policy.encode_task(o, reference(4))
    chunks = policy.predict_candidates(o, task, 3)
    assert len({c.poses.tobytes() for c in chunks}) == 3
    motions = policy.predict_motions(o, task, chunks, sequence=5)
    for chunk, motion in zip(chunks, motions, strict=True):
        assert np.allclose(motion.points, policy.predict_motion(o, task, chunk, sequence=5).points, atol=1e-5)
    assert not np.allclose(motions[0].points, motions[1].points, atol=1e-4)


def test_given_keypoints_count_where_they_are_seen(folder, policy):
    o = scene()
    task = policy.encode_task(o, reference(3))
    chunk = policy.predict(o, task).chunk

    def moved(positions, visible, **options):
        return policy.predict_motion(
            o, task, chunk, keypoints=KeypointState(positions, np.array(visible)), **options
        ).points

    plain = policy.predict_motion(o, task, chunk).points
    here, there = task.keypoints, task.keypoints + [0.1, 0.0, 0.0]
    assert not np.allclose(moved(here, [True] * 3), plain, atol=1e-4)
    assert not np.allclose(moved(here, [True] * 3), moved(there, [True] * 3), atol=1e-4)
    assert np.allclose(moved(there * np.nan, [False] * 3), plain), "unseen ones are as if nothing tracked them"
    one = moved(there, [False, True, False])
    assert not np.allclose(one, plain, atol=1e-4) and not np.allclose(one, moved(there, [True] * 3), atol=1e-4)
    found = plan(policy, o, task, reference(3), num_candidates=3, keypoints=KeypointState(there, np.ones(3, bool)))
    blind = plan(policy, o, task, reference(3), num_candidates=3)
    assert not np.allclose(found.costs, blind.costs, atol=1e-4)
    with pytest.raises(
        InputError, match=r"keypoints: positions \(2, 3\) and is_visible \(2,\), must be \(3, 3\) and \(3,\)"
    ):
        moved(here[:2], [True] * 2)
    with pytest.raises(InputError, match="keypoints.positions: a visible value is not finite"):
        moved(here * np.nan, [True] * 3)
    joint = [
        policy.predict(o, task, with_motion=True, keypoints=k).motion.points
        for k in (None, KeypointState(there, np.ones(3, bool)))
    ]
    assert not np.allclose(*joint, atol=1e-4)


def test_given_keypoints_of_the_past_count(folder):
    policy, o = Policy.load(folder / "history", num_samples=1, num_steps=3), scene()
    task = policy.encode_task(o, reference(3))
    chunk = policy.predict(o, task).chunk
    past = [KeypointState(task.keypoints + [0.5 * i, 0, 0], np.ones(3, bool)) for i in range(2)]
    poses, now = np.repeat(o.T_cam_ee[None], 2, 0), KeypointState(task.keypoints, np.ones(3, bool))
    histories = [
        History(poses, np.zeros(2)),
        History(poses, np.zeros(2), tuple(past)),
        History(poses, np.zeros(2), tuple(past[::-1])),
    ]
    points = [policy.predict_motions(o, task, [chunk], keypoints=now, history=h)[0].points for h in histories]
    assert all(not np.allclose(points[i], points[j], atol=1e-5) for i, j in ((0, 1), (1, 2), (0, 2)))


def test_inverse_answers_the_motion(policy):
    o = scene()
    task = policy.encode_task(o, reference(2))
    still = np.repeat(task.keypoints[None], 17, 0)
    away = still + np.linspace(0, 0.1, 17)[:, None, None]
    a, b = policy.predict_actions(o, task, still), policy.predict_actions(o, task, away)
    assert a.poses.shape == (16, 4, 4) and not np.allclose(a.poses, b.poses, atol=1e-5)
    seen = np.ones((17, 2), bool)
    seen[5:, 1] = False
    blind = away.copy()
    blind[~seen] = np.nan
    c = policy.predict_actions(o, task, blind, is_visible=seen)
    assert np.isfinite(c.poses).all() and not np.allclose(c.poses, b.poses, atol=1e-5)
    with pytest.raises(InputError, match=r"is_visible: shape \(16, 2\), must be \(17, 2\)"):
        policy.predict_actions(o, task, away, is_visible=seen[1:])
    with pytest.raises(InputError, match=r"points: shape \(16, 2, 3\), must be finite and \(17, 2, 3\)"):
        policy.predict_actions(o, task, still[1:])


def test_recent_history_is_given_where_the_checkpoint_takes_it(folder, policy):
    o = scene()
    task = policy.encode_task(o, reference())
    past = History(np.repeat(o.T_cam_ee[None], 2, 0), np.zeros(2))
    with pytest.raises(InputError, match="history: 2 steps, this checkpoint accepts 0"):
        policy.predict(o, task, history=past)
    with_history = Policy.load(folder / "history", num_samples=1, num_steps=3)
    task = with_history.encode_task(o, reference())
    moved = History(past.poses + 0.05 * np.eye(4)[:, [3, 0, 1, 2]] * [[1], [1], [1], [0]], past.gripper)
    answers = [with_history.predict(o, task, history=h).chunk for h in (None, past, moved)]
    assert all(c.poses.shape == (16, 4, 4) for c in answers)
    assert len({c.poses.tobytes() for c in answers}) == 3


def test_heun_is_the_same_flow(folder):
    o = scene()
    chunks = []
    for steps, method in ((64, "euler"), (32, "heun")):
        p = Policy.load(folder / "plain", num_samples=1, num_steps=steps, method=method)
        chunks.append(p.predict(o, p.encode_task(o, reference())).chunk)
    assert np.abs(chunks[0].poses - chunks[1].poses).max() < 0.02
    with pytest.raises(InputError, match="method: 'rk4', must be one of"):
        Policy.load(folder / "plain", method="rk4")


# -- planning ----------------------------------------------------------------------------------------------------------


def test_remaining_distance_falls_along_the_path():
    path = np.array([[0, 0, 0], [0.1, 0, 0], [0.1, 0.2, 0]], float)
    assert polyline.remaining(path, path) == pytest.approx([0.3, 0.2, 0.0], abs=1e-9)
    assert polyline.remaining(np.array([0.05, 0.0, 0.0]), path) == pytest.approx(0.25, abs=2e-3)
    off = polyline.remaining(np.array([[0.05, 0.0, z] for z in (0.0, 0.01, 0.02, 0.04)]), path)
    assert (np.diff(off) > 0).all()
    across = polyline.remaining(np.array([0.05, 0.1, 0.0]), path)  # half-way along the crow's flight to the goal
    assert across > np.hypot(0.05, 0.1)
    assert polyline.remaining(np.array([[3.0, 4.0, 0.0]]), np.zeros((1, 3))) == pytest.approx([5.0])


def test_motion_cost_is_the_mean_over_keypoints():
    goal = ReferenceMotion((np.array([[0, 0, 1], [0.1, 0, 1]]), np.array([[0, 0.1, 1]])))
    points = np.zeros((16, 2, 3)) + [0, 0, 1]
    points[-1] = [[0.1, 0, 1], [0, 0.3, 1]]
    assert reference_cost(MotionPrediction(points, 0.0, CAMERA.frame), goal) == pytest.approx(0.1, abs=1e-6)
    with pytest.raises(InputError, match="keypoints: the prediction has 1, the reference 2"):
        reference_cost(MotionPrediction(points[:, :1], 0.0, CAMERA.frame), goal)
    with pytest.raises(InputError, match="reference frame"):
        reference_cost(MotionPrediction(points, 0.0, "map"), goal)


def test_plan_returns_the_cheapest_candidate(policy):
    o = scene()
    task = policy.encode_task(o, reference())
    found = plan(policy, o, task, reference(), num_candidates=6)
    assert found.costs.shape == (6,) and len(set(found.costs)) == 6
    drawn = policy.predict_candidates(o, task, 6)
    assert np.array_equal(found.chunk.poses, drawn[int(found.costs.argmin())].poses)
    assert reference_cost(found.motion, reference()) == pytest.approx(found.costs.min())
    with pytest.raises(InputError, match="candidates: 0, must be 1 to 256"):
        plan(policy, o, task, reference(), num_candidates=0)


# -- stored prompts ----------------------------------------------------------------------------------------------------


def test_a_prompt_is_a_task_of_few_kilobytes(policy, tmp_path):
    o = scene()
    task = policy.encode_task(o, reference())
    path = tmp_path / "fold.safetensors"
    save_prompt(path, Prompt(task.tokens, policy.checkpoint_id, "fold", {"demonstrations": 25}))
    assert path.stat().st_size < 8 << 10 and load_prompt(path).training == {"demonstrations": 25}
    loaded = policy.load_prompt(path)
    assert np.array_equal(policy.predict(o, loaded).chunk.poses, policy.predict(o, task).chunk.poses)
    assert policy.predict(o, loaded, with_motion=True).motion is None
    with pytest.raises(InputError, match="keypoints: 0, motion prediction needs a task"):
        policy.predict_motion(o, loaded, policy.predict(o, loaded).chunk)


def test_prompts_of_other_weights_and_damaged_ones_are_refused(policy, tmp_path):
    path = tmp_path / "p.safetensors"
    with pytest.raises(InputError, match="no such file"):
        policy.load_prompt(path)
    save_prompt(path, Prompt(torch.zeros(4, 32), "0123456789ab"))
    with pytest.raises(InputError, match="made for checkpoint 0123456789ab, this is"):
        policy.load_prompt(path)
    save_prompt(path, Prompt(torch.zeros(4, 16), policy.checkpoint_id))
    with pytest.raises(InputError, match=r"shape \(4, 16\), must be \(4, 32\)"):
        policy.load_prompt(path)
    save_prompt(path, Prompt(torch.full((4, 32), float("nan")), policy.checkpoint_id))
    with pytest.raises(PromptError, match="must be finite"):
        load_prompt(path)
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InputError, match="damaged"):
        policy.load_prompt(path)
    with pytest.raises(InputError, match="has no language encoder"):
        policy.encode_instruction("put it away")
