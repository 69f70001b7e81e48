"""Bundles and the policy over them: strict loading, determinism, one path for training and deployment."""

import json
import shutil

import numpy as np
import pytest
import torch
from scenes import CAMERA, reference, scene

from uma.checkpoint.bundle import BundleError, Contract, load_bundle, save_bundle
from uma.geometry import se3
from uma.model.config import tiny
from uma.model.inputs import Normalization, decode_actions, encode_actions, point_set, reference_arrays
from uma.model.uma import Uma
from uma.policy import Policy
from uma.types import ActionChunk, InputError, Observation, ReferenceMotion


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    torch.manual_seed(0)
    model = Uma(tiny(), Normalization())
    with torch.no_grad():
        for p in model.parameters():
            if (p == 0).all():
                p.normal_(0, 0.05)
    path = tmp_path_factory.mktemp("models") / "tiny"
    save_bundle(path, model, Contract(), training={"seed": 0}, card="# tiny\n")
    return path


def test_bundle_round_trip(bundle):
    a, b = load_bundle(bundle), load_bundle(bundle)
    assert a.checkpoint_id == b.checkpoint_id and len(a.checkpoint_id) == 12
    assert a.model.config == tiny() and a.contract == Contract() and a.training == {"seed": 0}
    assert all(torch.equal(x, y) for x, y in zip(a.model.state_dict().values(), b.model.state_dict().values()))
    assert not any(f.suffix in (".pt", ".pkl", ".py") for f in bundle.iterdir())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: (p / "config.json").unlink(), "config.json is missing"),
        (
            lambda p: (p / "model.safetensors").write_bytes((p / "model.safetensors").read_bytes()[:-3] + b"abc"),
            "model.safetensors has hash",
        ),
        (lambda p: edit(p, lambda c: c.update(schema=9)), "schema 9, this version reads 1"),
        (lambda p: edit(p, lambda c: c["model"].update(colour="red")), "unknown key 'colour'"),
        (lambda p: edit(p, lambda c: c["model"].update(layers=3)), "Missing key"),
        (
            lambda p: edit(p, lambda c: c["contract"].update(horizon="16")),
            "config.contract.horizon: '16' is a str, must be a int",
        ),
    ],
)
def test_damaged_bundles_are_refused(bundle, tmp_path, damage, message):
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    damage(copy)
    with pytest.raises(BundleError, match=message):
        load_bundle(copy)


def edit(path, change):
    """Change config.json and keep the manifest honest about it."""
    import hashlib

    config = json.loads((path / "config.json").read_text())
    change(config)
    (path / "config.json").write_text(json.dumps(config))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["sha256"]["config.json"] = hashlib.sha256((path / "config.json").read_bytes()).hexdigest()
    (path / "manifest.json").write_text(json.dumps(manifest))


def test_answers_depend_on_seed_and_sequence_alone(bundle):
    a, b = Policy.load(bundle, seed=3), Policy.load(bundle, seed=3)
    o = scene()
    task_a, task_b = a.encode_task(o, reference()), b.encode_task(o, reference())
    assert torch.equal(task_a.tokens, task_b.tokens)
    a.predict(o, task_a, sequence=8)  # earlier queries do not matter
    first, again = a.predict(o, task_a, sequence=7).chunk, b.predict(o, task_b, sequence=7).chunk
    assert np.array_equal(first.poses, again.poses) and np.array_equal(first.gripper, again.gripper)
    assert not np.array_equal(first.poses, a.predict(o, task_a, sequence=9).chunk.poses)
    assert not np.array_equal(first.poses, Policy.load(bundle, seed=4).predict(o, task_a, sequence=7).chunk.poses)


def test_chunk_and_motion_have_the_contract_s_shape(bundle):
    policy = Policy.load(bundle)
    o = scene()
    task = policy.encode_task(o, reference(5))
    out = policy.predict(o, task, sequence=2, with_motion=True)
    assert (
        out.chunk.poses.shape == (16, 4, 4)
        and out.chunk.rate_hz == 15.0
        and out.chunk.stamp == 3.5
        and out.chunk.sequence == 2
    )
    assert out.chunk.frame == CAMERA.frame and out.chunk.ee_frame == "robotiq_2f85_tcp"
    assert out.motion.points.shape == (16, 5, 3) and np.isfinite(out.motion.reference_error_m)
    assert set(out.latency_ms) == {"points", "model", "total"}
    moved = policy.predict_motion(o, task, out.chunk)
    assert moved.points.shape == (16, 5, 3)


def test_a_prefix_comes_back_as_it_was_given(bundle):
    policy = Policy.load(bundle)
    o = scene()
    task = policy.encode_task(o, reference())
    running = policy.predict(o, task).chunk
    head = ActionChunk(running.poses[:3], running.gripper[:3], o.stamp, running.frame, running.ee_frame)
    chunk = policy.predict(o, task, sequence=1, prefix=head).chunk
    assert np.array_equal(chunk.poses[:3], head.poses) and chunk.num_committed == 3
    with pytest.raises(InputError, match="prefix: 16 actions"):
        policy.predict(o, task, prefix=running)


def test_step_scales_stretch_each_action_alone(bundle):
    """The denoiser works in normalised units: the same weights and noise give the same chunk, scaled step by step."""
    scales = np.linspace(0.2, 1.5, 16)
    plain, loaded = Policy.load(bundle), load_bundle(bundle)
    model = Uma(tiny(), Normalization(step_scale=tuple(scales)))
    model.load_state_dict(loaded.model.state_dict())
    save_bundle(bundle.parent / "by_step", model, Contract(), training={}, card="# tiny\n")
    stretched = Policy.load(bundle.parent / "by_step")
    observation = scene()
    chunks = [
        p.predict(observation, p.encode_task(observation, reference()), sequence=1).chunk for p in (plain, stretched)
    ]
    away = [c.poses[:, :3, 3] - observation.T_cam_ee[:3, 3] for c in chunks]
    assert np.abs(away[0]).max() > 1e-3 and np.allclose(away[1], scales[:, None] * away[0], atol=1e-6)
    assert np.allclose(chunks[0].gripper, chunks[1].gripper)


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda p, o: p.encode_task(o, reference().transformed(np.eye(4), "map")), "reference frame 'map'"),
        (
            lambda p, o: p.encode_task(
                Observation(o.rgb, np.full_like(o.depth, np.nan), CAMERA, o.T_cam_ee, 0.0), reference()
            ),
            "depth: 0 valid pixels",
        ),
        (
            lambda p, o: p.predict_motion(
                o, p.encode_task(o, reference()), ActionChunk(np.eye(4)[None], np.zeros(1), 0.0, CAMERA.frame, "x")
            ),
            "chunk: 1 actions, must be 16",
        ),
    ],
)
def test_bad_questions_are_refused(bundle, ask, message):
    with pytest.raises(InputError, match=message):
        ask(Policy.load(bundle), scene())


def test_actions_survive_encoding():
    rng = np.random.default_rng(0)
    from scipy.spatial.transform import Rotation

    poses = se3.make_pose(Rotation.random(16, rng).as_matrix(), rng.normal(0, 0.3, (16, 3)))
    T = se3.make_pose(Rotation.random(None, rng).as_matrix(), rng.normal(0, 0.3, 3))
    norm = Normalization()
    code = encode_actions(poses, np.linspace(0, 1, 16), T, norm)
    back, gripper = decode_actions(code, T, norm)
    assert np.allclose(back, poses, atol=1e-5) and np.allclose(gripper, np.linspace(0, 1, 16), atol=1e-6)
    still = encode_actions(T[None], np.zeros(1), T, norm)
    assert np.allclose(still[0, :9], 0, atol=1e-6)  # step 0 of the grid, "now", has no offset


def test_points_keep_the_object_and_drop_the_table():
    config = tiny().points
    points = point_set(scene(), config)
    assert points.xyz.shape == (config.total, 3) and points.height.min() > config.table_m
    red = points.rgb[:, 0] > 190
    assert red.mean() > 0.3
    again = point_set(scene(), config)
    assert np.array_equal(points.xyz, again.xyz)


def test_long_references_are_thinned_evenly_with_their_ends_kept():
    w = np.cumsum(np.ones((40, 3)) * 0.01, 0)
    arrays = reference_arrays(ReferenceMotion((w, w + 1, w[:1])), 64)
    assert arrays.is_valid.sum() == 21 + 21 + 1
    assert (
        np.allclose(arrays.position[0], w[0])
        and np.allclose(arrays.position[20], w[-1])
        and np.allclose(arrays.start[20], w[0])
    )
