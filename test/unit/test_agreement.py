"""Which sampled chunks are averaged (`uma.policy.agreement`)."""

import numpy as np
import pytest
from scenes import reference, scene

from uma.checkpoint.bundle import Bundle, Contract
from uma.model.config import tiny
from uma.model.inputs import Normalization, decode_actions
from uma.model.uma import Uma
from uma.policy import Policy
from uma.policy.agreement import closest
from uma.types import InputError


def test_of_two_groups_the_closer_one_is_kept_and_nothing_of_the_other():
    rng = np.random.default_rng(0)
    push, rise = rng.normal(1.0, 0.01, (4, 16, 10)), rng.normal(-1.0, 0.05, (4, 16, 10))
    samples = np.concatenate([rise[:2], push, rise[2:]])
    assert sorted(closest(samples, 4)) == [2, 3, 4, 5]
    assert np.abs(samples.mean(0)).max() < 0.1  # their mean does neither


def test_one_is_the_nearest_to_all_and_all_are_all():
    samples = np.array([0.0, 0.1, 0.2, 0.3, 5.0])[:, None]
    assert closest(samples, 1).tolist() == [2]
    assert sorted(closest(samples, 5)) == [0, 1, 2, 3, 4]
    for count in (0, 6):
        with pytest.raises(ValueError, match=f"count: {count}, must be 1 to 5"):
            closest(samples, count)


def test_the_policy_answers_with_the_mean_of_those_that_agree():
    policy = Policy(Bundle(Uma(tiny(), Normalization()).eval(), Contract(), "tiny", {}), num_samples=6, agreeing=0.5, num_steps=2)
    o = scene()
    task = policy.encode_task(o, reference())
    drawn, _, _ = policy._run(o, task, 3, 0, action_target=True, motion_target=True)
    kept = closest(drawn[0], 3)
    poses, _ = decode_actions(drawn[0][kept].mean(0), o.T_cam_ee, policy.model.normalization)
    assert np.allclose(policy.predict(o, task, sequence=3).chunk.poses, poses)
    policy.agreeing = 1.0
    assert not np.allclose(policy.predict(o, task, sequence=3).chunk.poses, poses)
    with pytest.raises(InputError, match="agreeing: 0, must be more than 0 and at most 1"):
        Policy(policy.bundle, agreeing=0)
