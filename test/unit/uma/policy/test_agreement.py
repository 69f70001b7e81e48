"""Which sampled chunks are averaged (`uma.policy.agreement`)."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scenes import reference, scene

from uma.checkpoint.bundle import Bundle, Contract
from uma.model.config import tiny
from uma.model.inputs import Normalization
from uma.model.uma import Uma
from uma.policy import Policy
from uma.policy.agreement import closest, consensus
from uma.policy.modes import MODES
from uma.policy.query import Query, inputs
from uma.policy.sampler import Sampler
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


def densest(drawn: np.ndarray, count: int) -> np.ndarray:
    """The ``count`` rows around the row whose ``count`` nearest, itself among them, are nearest."""
    best, chosen = np.inf, None
    for row in drawn:
        distance = np.linalg.norm(drawn - row, axis=1)
        near = np.argsort(distance)[:count]
        if distance[near].sum() < best:
            best, chosen = distance[near].sum(), near
    return chosen


def test_the_policy_answers_with_the_mean_of_those_that_agree():
    model = Uma(tiny(), Normalization()).eval()
    policy = Policy(Bundle(model, Contract(), "tiny", {}), num_samples=6, consensus_fraction=0.5, num_steps=2)
    o = scene()
    task = policy.encode_task(o, reference())
    g = torch.Generator().manual_seed(0)
    noise = (torch.randn(6, 17, 10, generator=g), torch.randn(6, 17, 0, 3, generator=g))
    given = inputs([Query(policy.perceive(o), task, MODES["control"])], model.config, model.normalization, noise)
    drawn = Sampler(model, policy.config)(given)
    flat = drawn.all_actions[0, 0].flatten(1).numpy()
    kept = densest(flat, 3)
    assert len(set(kept.tolist())) == 3
    assert np.allclose(drawn.action[0, 0].flatten().numpy(), flat[kept].mean(0), atol=1e-6)
    assert not np.allclose(flat[kept].mean(0), flat.mean(0), atol=1e-3)
    whole = Sampler(model, replace(policy.config, consensus_fraction=1.0))(given)
    assert np.allclose(whole.action[0, 0].flatten().numpy(), flat.mean(0), atol=1e-6)
    with pytest.raises(InputError, match="consensus_fraction: 0, must be above 0 and at most 1"):
        Policy(policy.bundle, consensus_fraction=0)
