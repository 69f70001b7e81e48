"""One sampler: shapes, batches, precision, and one graph without a break (the stand-in for capture on a GPU)."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from bundles import CONFIGS, bundle_of
from scenes import reference, scene

from uma.geometry import se3
from uma.model.config import tiny
from uma.model.frame import nominal
from uma.policy import Policy
from uma.policy.modes import MODES
from uma.policy.query import Query, inputs
from uma.policy.sampler import Sampler, _pieces
from uma.policy.sampling import SamplerConfig
from uma.types import InputError


def asked(policy: Policy, K: int, *, observations: int = 1, candidates: int = 1):
    """Inputs of a query of so many observations and candidates, K keypoints."""
    queries = []
    for i in range(observations):
        o = scene(i, 0.05 * i)
        task = policy.encode_task(o, reference(max(K, 1)))
        chunks = tuple(policy.predict_candidates(o, task, candidates)) if candidates > 1 else ()
        mode = MODES["dynamics" if candidates > 1 else "joint" if K else "control"]
        queries.append(Query(policy.perceive(o), task, mode, chunks))
    g = torch.Generator().manual_seed(0)
    S = policy.config.num_samples
    noise = (torch.randn(S, 17, 10, generator=g), torch.randn(S, 17, K, 3, generator=g))
    return inputs(queries, policy.model.config, policy.model.normalization, noise)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "K", "candidates"),
    [("features", 0, 1), ("features", 3, 1), ("features", 3, 4), ("separate heads", 3, 1), ("dense", 3, 1)],
)
def test_the_whole_answer_is_one_graph_without_a_break(name, K, candidates):
    policy = Policy(bundle_of(CONFIGS[name]), num_samples=3, num_steps=2)
    given = asked(policy, K, candidates=candidates)
    sampler = Sampler(policy.model, policy.config)
    eager = sampler(given)
    torch._dynamo.reset()
    compiled = torch.compile(sampler.forward, fullgraph=True, dynamic=False, backend="aot_eager")
    with torch.no_grad():
        found = compiled(_pieces(given), sampler.table(policy.config.num_steps))
    for a, b in zip((eager.action, eager.motion, eager.all_actions), found[:3], strict=True):
        assert torch.allclose(a, b, atol=1e-5)


def preparing(policy: Policy) -> Policy:
    """A policy whose sampler prepares clouds itself, as it does on a GPU."""
    policy._sampler.prepares_images = True
    return policy


def test_clouds_prepared_by_the_sampler_give_the_same_answer():
    bundle = bundle_of(CONFIGS["features"])
    host, device = Policy(bundle, num_samples=3), preparing(Policy(bundle, num_samples=3))
    for seed in range(3):
        o = scene(seed)
        task = host.encode_task(o, reference())
        a, b = (p.predict(o, task, with_motion=True) for p in (host, device))
        other = host.predict(scene(seed + 10, 0.1), task)
        moved = np.abs(a.chunk.poses - other.chunk.poses).mean()
        assert np.abs(a.chunk.poses - b.chunk.poses).mean() < 0.3 * moved
        assert np.abs(a.motion.points - b.motion.points).mean() < 0.05
    blind = replace(o, depth=np.full_like(o.depth, np.nan))
    with pytest.raises(InputError, match="depth: 0 valid pixels"):
        device.predict(blind, task)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_prepared_places_are_exact_in_either_precision(precision):
    T_base_cam = se3.make_pose(se3.exp(np.array([0.3, -0.8, 0.2])), np.array([0.5, -0.5, 0.6]))
    bundle = bundle_of(CONFIGS["features"])
    bundle = replace(bundle, contract=replace(bundle.contract, policy_frame=nominal(np.eye(4))))
    policy = preparing(Policy(bundle, num_samples=1, precision=precision))
    o = replace(scene(), T_base_cam=T_base_cam)
    task = policy.encode_task(o, reference())
    policy.predict(o, task)
    noise = (torch.zeros(1, 17, 10), torch.zeros(1, 17, 0, 3))
    query = Query(policy.perceive(o), task, MODES["control"])
    given = inputs([query], policy.model.config, policy.model.normalization, noise).points
    sampler = policy._sampler
    with torch.no_grad(), sampler._autocast():
        points, _ = sampler._prepared(given)
    cloud = sampler._preparations[tuple(given.depth.shape)](given.depth, given.rgb, given.intrinsics, given.ee_position)
    expected = se3.apply(query.percept.T_frame_cam, cloud.xyz.double().numpy())
    assert np.abs(points.xyz[0].numpy() - expected).max() < 1e-5


@pytest.mark.slow
def test_answer_from_an_image_is_one_graph():
    policy = preparing(Policy(bundle_of(CONFIGS["features"]), num_samples=3, num_steps=2))
    o = scene()
    task = policy.encode_task(o, reference())
    policy.predict(o, task)
    g = torch.Generator().manual_seed(0)
    noise = (torch.randn(3, 17, 10, generator=g), torch.randn(3, 17, 0, 3, generator=g))
    given = inputs(
        [Query(policy.perceive(o), task, MODES["control"])], policy.model.config, policy.model.normalization, noise
    )
    sampler = policy._sampler
    torch._dynamo.reset()
    compiled = torch.compile(sampler.forward, fullgraph=True, dynamic=False, backend="eager")
    with torch.no_grad():
        found = compiled(_pieces(given), sampler.table(2))
    assert torch.allclose(sampler(given).action, found[0], atol=1e-5) and found[3][0] > 200


@pytest.mark.parametrize("K", [0, 3])
def test_a_batch_of_observations_answers_as_one_by_one(K):
    policy = Policy(bundle_of(CONFIGS["features"]), num_samples=3, num_steps=2)
    whole = asked(policy, K, observations=3)
    sampler = Sampler(policy.model, policy.config)
    together = sampler(whole)
    for i in range(3):
        pieces = {k: v if k.startswith("noise") else v[i : i + 1] for k, v in _pieces(whole).items()}
        alone = sampler.forward(pieces, sampler.table(2))
        assert torch.allclose(together.action[i], alone[0][0], atol=1e-5)
        assert torch.allclose(together.motion[i], alone[1][0], atol=1e-5)
    assert not torch.allclose(together.action[0], together.action[1], atol=1e-3)


def test_predict_batch_is_predict_for_each():
    policy = Policy(bundle_of(tiny()), num_samples=4, num_steps=2)
    seen = [scene(0), scene(1, 0.1)]
    tasks = [policy.encode_task(o, reference()) for o in seen]
    for chunk, o, task in zip(policy.predict_batch(seen, tasks, sequence=5), seen, tasks, strict=True):
        assert np.allclose(chunk.poses, policy.predict(o, task, sequence=5).chunk.poses, atol=1e-5)
    with pytest.raises(InputError, match="observations: 2 for 1 tasks"):
        policy.predict_batch(seen, tasks[:1])


def test_bfloat16_answers_within_its_tolerance():
    bundle = bundle_of(tiny())
    full, half = Policy(bundle, num_samples=2), Policy(bundle, num_samples=2, precision="bfloat16")
    o = scene()
    a, b = (p.predict(o, p.encode_task(o, reference())).chunk for p in (full, half))
    away = np.abs(a.poses[:, :3, 3] - b.poses[:, :3, 3])
    assert 0 < away.max() and np.median(away) < 0.01
    assert full.model.action_in.weight.dtype == torch.float32, "the bundle's own weights stay as they are"


def test_modulations_of_fixed_times_are_those_of_any_time():
    model = bundle_of(CONFIGS["features"]).model
    table = model.modulations(4)
    for i, t in enumerate((0.0, 0.25, 0.5, 0.75, 1.0)):
        time = model._time(torch.full((2,), t))
        for layer, modulation in zip([*model.blocks, model.final], table[i], strict=True):
            assert torch.allclose(layer.modulation(time)[:, :1], modulation, atol=1e-6)
    assert not torch.allclose(table[0][0], table[3][0], atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_steps": 0}, "num_steps: 0, must be 1 to 200"),
        ({"num_samples": 65}, "num_samples: 65, must be 1 to 64"),
        ({"device": "tpu"}, "device: 'tpu', must be one of"),
        ({"precision": "float16"}, "precision: 'float16', must be one of"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        SamplerConfig(**settings)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_gpu_that_is_not_there_is_named():
    with pytest.raises(InputError, match="device: 'cuda', no CUDA device available"):
        Policy(bundle_of(tiny()), device="cuda")
    assert Policy(bundle_of(tiny()), device="auto")._sampler.device.type == "cpu"
