"""Invariants from the camera to the chunk for any weights, which no test of a single part covers.

`robustness/mutants` breaks each.
"""

import dataclasses

import numpy as np
import pytest
import torch
from scenes import scene

from uma.checkpoint.bundle import Contract, save_bundle
from uma.geometry import se3
from uma.model import flow
from uma.model.config import tiny
from uma.model.contrastive import ProjectionHead
from uma.model.inputs import ACTION_DIM, Normalization, decode_actions, encode_actions, point_set
from uma.model.masks import pattern
from uma.model.uma import Uma
from uma.policy import Policy
from uma.types import ActionChunk, ReferenceMotion
from uma_train.data.episode import METRE, Episode, quantize
from uma_train.data.hindsight import ReferenceSampling
from uma_train.data.windows import Windows
from uma_train.training.objectives import Objective, losses
from uma_train.training.views import ViewSampling

NORM = Normalization(
    point_center=(0.01, -0.02, 0.85),
    point_scale=0.25,
    position_scale=0.07,
    rotation_scale=0.3,
    step_scale=tuple(np.linspace(0.2, 1.5, 16)),
)


def scrambled() -> Uma:
    """A model whose zero-initialised parts are not zero."""
    torch.manual_seed(0)
    model = Uma(tiny(), NORM)
    with torch.no_grad():
        for p in model.parameters():
            if (p == 0).all():
                p.normal_(0, 0.1)
    return model.eval()


def episode(seed: int = 0, steps: int = 24) -> Episode:
    """The scene of a camera image whose points then travel with the hand; every second step has that image as its
    frame."""
    o = scene(seed)
    rng = np.random.default_rng(seed)
    frame = quantize(point_set(o, tiny().points))
    frames = np.arange(0, steps, 2, dtype=np.int32)
    travel = np.linspace(0, 1, steps + 1)[:, None] ** 2 * rng.uniform(-0.3, 0.3, 3)
    poses = np.repeat(o.T_cam_ee[None], steps + 1, 0)
    poses[:, :3, 3] += travel
    start = np.array([0.0, 0.02, 0.95]) + rng.normal(0, 0.03, (16, 3))
    return Episode(
        *(np.repeat(part[None], len(frames), 0) for part in frame),
        frame_step=frames,
        pose=poses[:-1].astype(np.float32),
        gripper=np.full(steps, o.gripper, np.float32),
        target_pose=poses[1:].astype(np.float32),
        target_gripper=np.full(steps, 1.0, np.float32),
        tracks=(start[None] + travel[:-1, None]).astype(np.float32),
        static=np.zeros((0, 3), np.float32),
        meta={},
    )


@pytest.mark.parametrize("method", flow.METHODS)
def test_given_tokens_are_clean_at_every_evaluation(method):
    g = torch.Generator().manual_seed(0)
    given, noise = (
        (torch.randn(2, 5, ACTION_DIM, generator=g), torch.randn(2, 5, 3, 3, generator=g)) for _ in range(2)
    )
    is_target = (torch.rand(2, 5, 1, generator=g) < 0.5, torch.rand(2, 5, 3, 1, generator=g) < 0.5)
    calls = []

    def velocity(state: flow.State, t: float) -> flow.State:
        calls.append(t)
        for value, truth, start, m in zip(state, given, noise, is_target, strict=True):
            m = m.expand_as(value)
            assert torch.equal(value[~m], truth[~m])
            assert not torch.equal(value[m], truth[m]) and (t > 0 or torch.equal(value[m], start[m]))
        return tuple(torch.ones_like(v) for v in state)

    flow.sample(velocity, noise, given, is_target, 3, method)
    assert len(calls) == (3 if method == "euler" else 6)


def test_cached_context_samples_as_a_fresh_one():
    model = scrambled()
    batch = Windows([episode(i) for i in range(2)]).draw(3, 2, NORM, np.random.default_rng(0))
    T, K = batch.grid.motion.shape[1:3]
    mask = pattern(3, T, K, action_target=True, motion_target=True)
    noise = (torch.randn(3, T, ACTION_DIM), torch.randn(3, T, K, 3))
    with torch.no_grad():
        task = model.encode_task(batch.initial_points, batch.reference)
        cache, other = (model.prepare_context(batch.points, batch.ee, c) for c in (task, torch.zeros_like(task)))

    def uncached(state: flow.State, t: float) -> flow.State:
        with torch.no_grad():
            fresh = model.prepare_context(batch.points, batch.ee, task)
            return model.velocity(state, batch.grid.identity, batch.grid.is_valid, mask, torch.full((3,), t), fresh)

    targets = (mask.action[..., None], mask.motion[..., None])
    for method in flow.METHODS:
        expected = flow.sample(uncached, noise, (batch.grid.action, batch.grid.motion), targets, 4, method)
        for _ in range(2):  # what was cached is not used up or altered
            found = model.sample(batch.grid, mask, cache, noise, 4, method)
            assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(expected, found, strict=True))
    assert not torch.allclose(found[0], model.sample(batch.grid, mask, other, noise, 4)[0], atol=1e-3)


def test_only_the_contrastive_term_sees_views(monkeypatch):
    model = scrambled()
    batch = Windows([episode(i) for i in range(4)]).draw(8, 2, NORM, np.random.default_rng(0), windows_per_task=2)
    copy = {
        name: v.clone()
        for part in (batch.points, batch.initial_points, batch.reference, batch.grid, batch.ee)
        for name, v in tensors(part)
    }
    seen, encoded = [], []
    prepare, encode = model.prepare_context, model.encode_task
    monkeypatch.setattr(
        model, "prepare_context", lambda points, ee, task: seen.append((points, ee, task)) or prepare(points, ee, task)
    )
    monkeypatch.setattr(
        model, "encode_task", lambda points, reference: encoded.append((points, reference)) or encode(points, reference)
    )
    views = ViewSampling(views=2, hard_negatives=1)
    plain = Objective(contrastive_weight=0.0, task_dropout=0.0)
    head = ProjectionHead(model.config)
    without = losses(model, head, batch, plain, torch.Generator().manual_seed(3))
    with_term = losses(
        model,
        head,
        batch,
        dataclasses.replace(plain, contrastive_weight=0.1, views=views),
        torch.Generator().manual_seed(3),
    )
    assert torch.equal(without["action"], with_term["action"]) and torch.equal(without["motion"], with_term["motion"])
    assert with_term["contrastive"] > 0 and len(seen) == 2 and len(encoded) == 1 + 4
    task = encode(batch.initial_points, batch.reference).repeat_interleave(2, 0)
    for points, ee, told in seen:
        assert (
            torch.equal(points.xyz, batch.points.xyz)
            and torch.equal(ee.pose, batch.ee.pose)
            and torch.equal(told, task)
        )
    moved = [p for p, _ in encoded[2:] if not torch.allclose(p.xyz, batch.initial_points.xyz, atol=1e-3)]
    assert len(moved) == 2  # the views; the hard negative is in the scene as it is
    for part in (batch.points, batch.initial_points, batch.reference, batch.grid, batch.ee):
        assert all(torch.equal(copy[name], v) for name, v in tensors(part))  # nothing was changed in place


def tensors(part: object):
    """(kind.field, tensor) of a dataclass of tensors."""
    return [
        (f"{id(part)}.{f.name}", v)
        for f in dataclasses.fields(part)
        if isinstance(v := getattr(part, f.name), torch.Tensor)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_a_chunk_and_a_reference_come_back_from_the_base_frame(seed):
    from scipy.spatial.transform import Rotation

    rng = np.random.default_rng(seed)
    T_base_cam, T_cam_ee = (
        se3.make_pose(Rotation.random(None, rng).as_matrix(), rng.normal(0, 0.5, 3)) for _ in range(2)
    )
    code = encode_actions(
        T_cam_ee @ se3.make_pose(Rotation.random(16, rng).as_matrix(), rng.normal(0, 0.1, (16, 3))),
        rng.random(16),
        T_cam_ee,
        NORM,
    )
    poses_cam, gripper = decode_actions(code, T_cam_ee, NORM)
    chunk = ActionChunk(poses_cam, gripper, 1.0, "camera", "tcp")
    base = chunk.transformed(T_base_cam, "base")
    back = base.transformed(se3.invert(T_base_cam), "camera")
    assert np.allclose(back.poses, poses_cam, atol=1e-9) and back.frame == "camera" and base.frame == "base"
    assert np.allclose(base.poses[3] @ [0, 0, 0.1, 1], T_base_cam @ (poses_cam[3] @ [0, 0, 0.1, 1]))
    assert np.allclose(encode_actions(back.poses, back.gripper, T_cam_ee, NORM), code, atol=1e-5)
    motion = ReferenceMotion(tuple(rng.normal(0, 0.3, (3, 4, 3))), frame="camera")
    returned = motion.transformed(T_base_cam, "base").transformed(se3.invert(T_base_cam), "camera")
    assert all(np.allclose(a, b, atol=1e-9) for a, b in zip(motion.waypoints, returned.waypoints, strict=True))


def test_motion_tokens_are_metres_in_the_camera_frame_again():
    e = episode()
    batch = Windows([e], first_is_initial=1.0).draw(1, 16, NORM, np.random.default_rng(0), np.array([4]))
    now = int(e.frame_step[4])
    steps = np.minimum(np.arange(now, now + 17), len(e.pose) - 1)
    points_cam = batch.grid.motion[0].numpy() * NORM.local_scale + e.pose[now, :3, 3]
    distance = np.linalg.norm(points_cam[:, :, None] - e.tracks[steps][:, None], axis=-1)  # (T, token, track)
    track = distance.sum(0).argmin(1)
    assert sorted(track) == list(range(16)) and distance[:, np.arange(16), track].max() < 1e-5
    identity = batch.grid.identity[0].numpy() * NORM.local_scale + e.pose[now, :3, 3]
    assert np.allclose(identity, e.tracks[0, track], atol=1e-5)


def test_training_window_equals_deployment_input(tmp_path, monkeypatch):
    e, o = episode(), scene()
    whole = ReferenceSampling(min_keypoints=4, max_keypoints=4, to_the_end=1.0, pinned=0.0)
    batch = Windows([e], first_is_initial=1.0, sampling=whole).draw(1, 4, NORM, np.random.default_rng(0), np.array([0]))
    model = scrambled()
    save_bundle(tmp_path / "b", model, Contract(), training={}, card="# tiny\n")
    policy = Policy.load(tmp_path / "b", num_samples=1, num_steps=2)
    seen: dict = {}

    def spy(name: str) -> None:
        function = getattr(policy.model, name)
        monkeypatch.setattr(policy.model, name, lambda *args: seen.update({name: args}) or function(*args))

    for name in ("encode_task", "prepare_context", "sample"):
        spy(name)
    # The reference of the window, as a message would contain it.
    r = batch.reference
    valid = r.is_valid[0].numpy()
    position, start, phase = (getattr(r, f)[0].numpy()[valid] for f in ("position", "start", "phase"))
    heads = np.flatnonzero(np.r_[True, (start[1:] != start[:-1]).any(1)])
    rows = np.split(np.arange(len(position)), heads[1:])
    task = policy.encode_task(o, ReferenceMotion(tuple(position[i] for i in rows), tuple(phase[i] for i in rows)))
    policy.predict(o, task, with_motion=True)

    points, reference = seen["encode_task"]
    assert (points.xyz - batch.initial_points.xyz).abs().max() <= METRE and torch.equal(
        points.rgb, batch.initial_points.rgb
    )
    assert (points.height - batch.initial_points.height).abs().max() <= METRE
    for f in ("position", "start", "phase"):
        assert torch.allclose(
            getattr(reference, f)[0][reference.is_valid[0]],
            torch.from_numpy({"position": position, "start": start, "phase": phase}[f]),
            atol=1e-6,
        )
    points, ee, _ = seen["prepare_context"]
    assert (points.xyz - batch.points.xyz).abs().max() <= METRE and torch.equal(points.rgb, batch.points.rgb)
    assert torch.allclose(ee.pose, batch.ee.pose, atol=1e-6) and torch.allclose(ee.gripper, batch.ee.gripper, atol=1e-6)
    grid, mask = seen["sample"][:2]
    assert torch.allclose(grid.action[0, 0], batch.grid.action[0, 0], atol=1e-5)  # now
    assert not mask.action[0, 0] and mask.action[0, 1:].all()
    # Keypoints go by where they were in the initial observation, in the same units: each of the reference's is one of
    # the episode's tracks.
    scale, p = NORM.local_scale, o.T_cam_ee[:3, 3]
    identity = grid.identity[0].numpy() * scale + p
    assert np.linalg.norm(identity[:, None] - e.tracks[0], axis=-1).min(1).max() < 0.02  # up to the reference's noise
    assert np.allclose(identity, position[heads], atol=1e-5)
