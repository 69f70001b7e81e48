"""Which sampled chunks are averaged (`uma.policy.agreement`)."""

import numpy as np
import pytest
import torch
from scenes import reference, scene

from uma.checkpoint.bundle import Bundle, Contract
from uma.model.config import tiny
from uma.model.inputs import Normalization, decode_actions
from uma.model.uma import Uma
from uma.policy import Policy
from uma.policy.agreement import closest, consensus
from uma.types import InputError


def test_of_two_groups_the_closer_one_is_kept():
    rng = np.random.default_rng(0)
    push, rise = rng.normal(1.0, 0.01, (4, 160)), rng.normal(-1.0, 0.05, (4, 160))
    samples = torch.from_numpy(np.concatenate([rise[:2], push, rise[2:]]))
    kept = closest(samples, 4)
    assert sorted(kept.tolist()) == [2, 3, 4, 5]
    assert samples.mean(0).abs().max() < 0.1, "the mean of all does neither"
    assert torch.allclose(consensus(samples, kept), torch.from_numpy(push.mean(0)))
    both = closest(torch.stack([samples, samples.flip(0)]), 4)
    assert sorted(both[1].tolist()) == [2, 3, 4, 5] and torch.equal(both[0], kept), "a batch is as one by one"


def test_one_is_the_nearest_to_all_and_all_are_all():
    samples = torch.tensor([0.0, 0.1, 0.2, 0.3, 5.0])[:, None]
    assert closest(samples, 1).tolist() == [2]
    assert sorted(closest(samples, 5).tolist()) == [0, 1, 2, 3, 4]
    for count in (0, 6):
        with pytest.raises(ValueError, match=f"count: {count}, must be 1 to 5"):
            closest(samples, count)


def test_the_policy_answers_with_the_mean_of_those_that_agree(monkeypatch):
    """Of six sampled chunks three are near 0.5, two near -0.5 and one is an outlier, in the model's units."""
    model = Uma(tiny(), Normalization()).eval()
    levels = np.array([0.50, -0.50, 0.51, 0.52, -0.51, 3.0], np.float32)
    rng = np.random.default_rng(0)
    shape = rng.normal(1.0, 0.1, (17, 10)).astype(np.float32)
    chunks = torch.from_numpy(levels[:, None, None] * shape)
    monkeypatch.setattr(model, "sample", lambda grid, *_: (chunks.clone(), grid.motion))
    o = scene()
    for fraction, level in ((0.5, 0.51), (1.0, levels.mean())):
        policy = Policy(Bundle(model, Contract(), "tiny", {}), num_samples=6, consensus_fraction=fraction)
        chunk = policy.predict(o, policy.encode_task(o, reference())).chunk
        poses, gripper = decode_actions(level * shape[1:], o.T_cam_ee, model.normalization)
        assert np.allclose(chunk.poses, poses, atol=1e-5) and np.allclose(chunk.gripper, gripper, atol=1e-5)


def test_a_fraction_of_none_is_refused():
    bundle = Bundle(Uma(tiny(), Normalization()).eval(), Contract(), "tiny", {})
    with pytest.raises(InputError, match="consensus_fraction: 0, must be above 0 and at most 1"):
        Policy(bundle, consensus_fraction=0)
