"""Demonstrations with stretches of a policy: the kept chunks, and the continuation by the expert."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("mujoco")

from uma.geometry import se3
from uma.types import HORIZON, InputError
from uma_sim.experts.base import STEP_M
from uma_sim.experts.interventions import ASIDE_M, ATTEMPT, ATTEMPTS, LENGTH, SOON, UP_M, WANDER, Interventions, wander
from uma_sim.rollout import OBSERVE_EVERY, run_demonstration
from uma_sim.scene import CAMERA_POSITION, CAMERA_TARGET, look_at
from uma_sim.tasks import make_station
from uma_train.data.draws import interventions
from uma_train.data.episode import load_episode
from uma_train.data.simulate import _job
from uma_train.data.simulate_config import SimulateConfig

TASK = "primitives/move"


def up(asked: list):
    """Return a policy for a fixed place above the scene, four actions per chunk. ``asked`` collects its query times."""

    def act(station, grip):
        asked.append(station.time)
        return [(se3.make_pose(np.diag([1.0, -1.0, -1.0]), np.array([0.45, 0.0, 0.45])), 0.0)] * 4

    return act


def test_expert_finishes_and_policy_chunks_are_dropped():
    asked: list = []
    run = run_demonstration(
        3,
        0.0,
        disturbance_probability=0.0,
        task=TASK,
        on_observation=lambda o: o.stamp,
        interventions=Interventions(up(asked), ((20, 41), (500, 510))),
    )
    assert run["success"] and run["interventions"] == [[20, 41]]
    steps = run["observation_step"]
    kept = [i for i in range(0, len(run["stamp"]), OBSERVE_EVERY) if i == 0 or i <= 20 - HORIZON or i >= 41]
    assert steps.tolist() == kept
    assert len(asked) == 6 and np.allclose(np.diff(asked), 4 / 15, atol=0.02)  # 21 steps, four of a chunk at a time
    # The arm went where the policy would, and the labels of that time lead back to the task.
    away, T = run["pose"][20:42, :3, 3], run["label_pose"][:, :3, 3]
    assert away[-1, 2] > 0.35
    assert np.linalg.norm(T - run["pose"][:, :3, 3], axis=-1).max() < STEP_M + 1e-6
    undisturbed = run_demonstration(3, 0.0, disturbance_probability=0.0, task=TASK)
    assert (
        undisturbed["interventions"] == []
        and np.array_equal(undisturbed["pose"][:21], run["pose"][:21])
        and len(undisturbed["stamp"]) < len(run["stamp"])
    )


def test_a_policy_that_sees_no_scene_holds_the_arm():
    def blind(station, grip):
        raise InputError("depth: 11 points above the table, at least 20 required")

    run = run_demonstration(
        3,
        0.0,
        disturbance_probability=0.0,
        task=TASK,
        on_observation=lambda o: None,
        interventions=Interventions(blind, ((20, 40),)),
    )
    still = run["pose"][25:40, :3, 3]
    assert run["success"] and np.linalg.norm(still - still[0], axis=-1).max() < 0.01


def test_stretches_leave_room_for_whole_chunks_of_the_expert():
    drawn = [Interventions.draw(np.random.default_rng(i), lambda station, grip: [], most=3) for i in range(300)]
    assert {len(d.stretches) for d in drawn} == {1, 2, 3}
    for d in drawn:
        before = -HORIZON
        for first, end in d.stretches:
            assert first - before > HORIZON and LENGTH[0] <= end - first <= LENGTH[1]
            before = end
        assert d.stretches[0][0] <= SOON[1] and d.steps == sum(d.covers(i) for i in range(600))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    import torch

    from uma.checkpoint.bundle import Contract, save_bundle
    from uma.model.config import tiny
    from uma.model.inputs import Normalization
    from uma.model.uma import Uma

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("models") / "tiny"
    save_bundle(path, Uma(tiny(), Normalization()), Contract(), training={"seed": 0}, card="# tiny\n")
    return path


@pytest.mark.slow
def test_checkpoint_acts_in_the_given_share_of_episodes(bundle, tmp_path):
    episodes = {}
    for name, changes in {"driven": {}, "again": {}, "not": {"policy_share": 0.0}}.items():
        config = SimulateConfig(
            task=TASK,
            out=str(tmp_path / name),
            preset="tiny",
            images="none",
            noise=0.0,
            disturbances=0.0,
            policy=str(bundle),
            camera="nominal",
            **{"policy_share": 1.0, **changes},
        )
        (tmp_path / name).mkdir()
        told = _job((config, 7))
        assert (told["result"], told["driver"]) == ("kept", "expert" if name == "not" else "policy")
        episodes[name] = load_episode(tmp_path / name / "0000007.npz")
    driven, again, left_alone = episodes.values()
    assert driven.meta["interventions"] and not left_alone.meta["interventions"]
    assert all(np.array_equal(getattr(driven, n), getattr(again, n)) for n in ("xyz", "pose", "target_pose", "tracks"))
    first = driven.meta["interventions"][0][0]
    assert not np.allclose(driven.pose[first + 4], left_alone.pose[first + 4], atol=1e-3) and np.allclose(
        driven.pose[:first], left_alone.pose[:first], atol=1e-6
    )
    T = se3.invert(look_at(CAMERA_POSITION, CAMERA_TARGET)) @ np.array(driven.meta["T_base_cam"])
    own = se3.invert(look_at(CAMERA_POSITION, CAMERA_TARGET)) @ make_station(7, TASK, render=False).T_base_cam
    assert 0 < np.linalg.norm(T[:3, 3]) < 0.03 < np.linalg.norm(own[:3, 3])


def test_checkpoint_may_act_for_whole_attempts():
    class Here:
        task = SimpleNamespace(plan_reference=lambda *_: None)
        observe = staticmethod(lambda: None)

    drawn = {}
    for attempts in (False, True):
        config = SimulateConfig(policy="x", policy_share=1.0, policy_attempts=attempts)
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(
                "uma_train.execution.driving.policy_of", lambda checkpoint: SimpleNamespace(encode_task=lambda *_: None)
            )
            drawn[attempts] = [interventions(config, seed, Here())[0].stretches for seed in range(100)]
    lengths = {
        attempts: [end - first for stretches in many for first, end in stretches] for attempts, many in drawn.items()
    }
    assert (
        min(lengths[True]) >= ATTEMPT[0]
        and ATTEMPT[1] >= max(lengths[True]) > LENGTH[1] >= max(lengths[False])
        and min(lengths[False]) < ATTEMPT[0]
    )
    assert {len(s) for s in drawn[True]} == set(range(1, ATTEMPTS + 1))


def test_lost_episode_counts_as_the_policys(bundle, tmp_path, monkeypatch):
    """An episode that could not start does not count."""
    import uma_train.data.simulate as module

    def blind(*_, **__):
        raise InputError("depth: 0 points above the table")

    config = SimulateConfig(
        task=TASK, out=str(tmp_path), preset="tiny", images="none", policy=str(bundle), policy_share=1.0
    )
    for where, driver in (
        ("uma_sim.rollout.run_demonstration", "policy"),
        (f"{module.__name__}.interventions", "expert"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(where, blind)
            told = _job((config, 5))
        assert (told["result"], told["driver"]) == ("no observation: depth: 0 points above the table", driver)


def test_expert_brings_a_wandering_hand_back(tmp_path):
    config = SimulateConfig(
        task="primitives/gather",
        out=str(tmp_path),
        preset="tiny",
        images="none",
        noise=0.0,
        disturbances=0.0,
        wander=1.0,
    )
    told = _job((config, 3))
    assert (told["result"], told["driver"]) == ("kept", "wander")
    e = load_episode(tmp_path / "0000003.npz")
    (first, end), *_ = e.meta["interventions"]  # a second one may be cut short by the end
    assert WANDER[0] <= end - first <= WANDER[1]
    away = np.concatenate([np.arange(first, end) for first, end in e.meta["interventions"]])
    assert not any(first - HORIZON < s < end for s in e.frame_step[1:] for first, end in e.meta["interventions"])
    # Away it does not follow the labels: after a step it is where these lead, within centimetres, elsewhere.
    off = np.linalg.norm(e.pose[1:, :3, 3] - e.target_pose[:-1, :3, 3], axis=-1)
    assert np.median(off[away[away < len(off)]]) > 2 * np.median(off)


def test_wandering_is_near_never_lower_in_small_steps():
    class Here:
        def ee_pose(self):
            return se3.make_pose(np.diag([1.0, -1.0, -1.0]), np.array([0.5, 0.0, 0.2]))

    act = wander(np.random.default_rng(0))
    ends = []
    for _ in range(200):
        plan = act(Here(), 1.0)
        T = np.array([Here().ee_pose(), *(T for T, _ in plan)])
        assert np.linalg.norm(np.diff(T[:, :3, 3], axis=0), axis=-1).max() < STEP_M + 1e-6 and {
            grip for _, grip in plan
        } == {1.0}
        ends.append(T[-1])
    ends = np.array(ends)
    assert (ends[:, 2, 3] >= 0.2 - 1e-9).all() and 0.06 < ends[:, 2, 3].max() - 0.2 <= UP_M + 1e-6
    assert np.allclose(ends[:, :2, 3].std(0), ASIDE_M, rtol=0.2) and np.allclose(ends[:, 2, 2], -1)


@pytest.mark.parametrize("name", ["policy_share", "wander"])
def test_a_share_beyond_all_is_refused(name):
    with pytest.raises(ValueError, match=f"{name}: 1.5, must be 0 to 1"):
        SimulateConfig(**{name: 1.5})
