"""Episodes on disk, windows and sources, on small data made here."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from rigid_episodes import CAMERA, NORM, episode, same, tensors

from uma.geometry.camera import normalized_uv, project
from uma.model.config import tiny
from uma.model.inputs import Normalization, decode_actions, encode_actions
from uma.model.uma import Uma
from uma.types import HORIZON
from uma_train.data.episode import (
    DTYPES,
    EpisodeError,
    load_episode,
    moving_points,
    save_episode,
)
from uma_train.data.hindsight import ReferenceSampling, draw_reference
from uma_train.data.mixtures import Mixture, Source, kind_of, open_sources, parse_sources
from uma_train.data.normalization import measure_normalization
from uma_train.data.store import Store
from uma_train.data.windows import Windows

# ---- the format ------------------------------------------------------------------------------------------------------


def test_every_field_survives_the_disk(tmp_path):
    valid = np.random.default_rng(1).random((24, 16)) < 0.8
    plan = np.random.default_rng(2).normal(size=(13, 16, 3)).astype(np.float32)
    for i, e in enumerate((episode(shots=3, track_valid=valid), episode(1, plan=plan), episode(2, robot=False))):
        save_episode(tmp_path / f"{i}.npz", e)
        assert same(load_episode(tmp_path / f"{i}.npz"), e)
    assert load_episode(tmp_path / "0.npz").camera == CAMERA
    assert not load_episode(tmp_path / "2.npz").meta["has_actions"]


def test_a_file_from_before_there_were_plans_has_none(tmp_path):
    save_episode(tmp_path / "0.npz", episode(plan=np.ones((2, 16, 3), np.float32)))
    with np.load(tmp_path / "0.npz") as z:
        np.savez(tmp_path / "1.npz", **{name: z[name] for name in z.files if name != "plan"})
    assert len(load_episode(tmp_path / "0.npz").plan) == 2 and load_episode(tmp_path / "1.npz").plan.shape == (0, 16, 3)


@pytest.mark.parametrize("meta, names, words", [({}, DTYPES, "None"), ({"format": 4}, DTYPES, "4")])
def test_another_format_is_refused(tmp_path, meta, names, words):
    _write(tmp_path / "a.npz", meta, names)
    with pytest.raises(EpisodeError, match=f"a.npz: format: {words}, must be 2 or 3"):
        load_episode(tmp_path / "a.npz")


def test_a_missing_field_is_named(tmp_path):
    _write(tmp_path / "a.npz", {"format": 2}, [name for name in DTYPES if name != "track_valid"])
    with pytest.raises(EpisodeError, match="a.npz.*track_valid"):
        load_episode(tmp_path / "a.npz")


def test_a_file_of_version_2_is_read_and_has_no_joints(tmp_path):
    _write(tmp_path / "2.npz", {"format": 2}, [name for name in DTYPES if name != "joints"])
    old = load_episode(tmp_path / "2.npz")
    assert old.joints.shape == (len(old.pose), 7) and np.isnan(old.joints).all() and old.meta["format"] == 3
    save_episode(tmp_path / "3.npz", dataclasses.replace(old, joints=np.full((len(old.pose), 7), 0.5, np.float32)))
    assert (load_episode(tmp_path / "3.npz").joints == 0.5).all()


def _write(path, meta: dict, names) -> None:
    e = episode()
    packed = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez(path, meta=packed, **{n: getattr(e, n) for n in names})


def test_pickles_are_never_read(tmp_path):
    np.savez(tmp_path / "a.npz", meta=np.array([{"format": 2}], dtype=object))
    with pytest.raises(EpisodeError, match="a.npz"):
        load_episode(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"track_valid": np.ones((24, 3), bool)}, "track_valid is bool"),
        ({"tracks": np.full((24, 16, 3), np.nan, np.float32)}, "tracks holds a value that is not finite"),
        ({"pose": np.zeros((24, 4, 4))}, "pose is float64"),
        ({"plan": np.zeros((3, 12, 3), np.float32)}, "plan is float32"),
        ({"plan": np.full((3, 16, 3), np.inf, np.float32)}, "plan holds a value that is not finite"),
        ({"images": np.zeros((2, 4, 4, 3), np.uint8), "image_frame": np.array([1, 1], np.int32)}, "image_frame"),
        ({"images": np.zeros((2, 4, 4, 3), np.uint8), "image_frame": np.array([1, 12], np.int32)}, "within 0 to 11"),
        ({"meta": {"has_robot": False}}, "has_actions without has_robot"),
    ],
)
def test_fields_that_do_not_fit_are_named(change, message):
    with pytest.raises(EpisodeError, match=message):
        episode(**change)


def test_what_moves_is_found_where_it_was_seen():
    tracks = np.zeros((5, 4, 3), np.float32)
    tracks[:, 1, 0] = np.linspace(0, 0.02, 5)  # moves
    tracks[:, 2, 0] = np.linspace(0, 0.009, 5)  # less than a centimetre
    tracks[4, 3, 0] = 1.0  # jumps where it was not seen
    valid = np.ones((5, 4), bool)
    valid[4, 3] = False
    assert moving_points(tracks, valid).tolist() == [False, True, False, False]


# ---- windows ---------------------------------------------------------------------------------------------------------


def test_references_come_from_the_plan_where_there_is_one():
    def plan(x: float) -> np.ndarray:
        """Points that rise at an ``x`` that is far from anything recorded."""
        return np.broadcast_to(
            np.stack([np.full(5, x), np.zeros(5), np.linspace(0, 1, 5)], -1)[:, None], (5, 16, 3)
        ).astype(np.float32)

    store = Store.of([episode(0, plan=plan(3.0)), episode(1), episode(2, plan=plan(4.0))])
    frames = np.tile(np.arange(1, 37, 3), 4)
    for first_is_initial in (1.0, 0.0):
        windows = Windows(
            store, sampling=ReferenceSampling(planned=1.0, noise_m=0.0, pinned=0.0), first_is_initial=first_is_initial
        )
        x = windows.draw(48, 0, NORM, np.random.default_rng(0), frames=frames).reference.position[:, 0, 0].numpy()
        of = frames // 12
        assert (x[of == 1] < 2).all()
        for e, planned in ((0, 3.0), (2, 4.0)):
            mine = x[of == e]
            assert np.isin(mine[mine > 2], [planned]).all()
            assert (mine > 2).all() if first_is_initial else 0 < np.mean(mine > 2) < 0.6, (
                "what begins later has no plan"
            )


def test_the_parts_of_a_batch_are_the_batch():
    made = [episode(i) for i in range(6)]
    sources = Mixture([Windows(made[:3]), Windows(made[3:])], [1.0, 2.0])
    for windows in (Windows(made), sources):
        whole = windows.draw(16, 4, NORM, np.random.default_rng(5), windows_per_task=2, vary_keypoints=True)
        parts = [
            windows.draw(16, 4, NORM, np.random.default_rng(5), windows_per_task=2, vary_keypoints=True, share=(r, 4))
            for r in range(4)
        ]
        for name, (value, *shares) in ((n[0][0], [v for _, v in n]) for n in zip(tensors(whole), *map(tensors, parts))):
            if value is not None and not name.startswith(
                "reference"
            ):  # references are padded to the longest of their part
                assert torch.equal(value, torch.cat(shares)), name
        rows = [r for p in parts for r in p.reference.position[p.reference.is_valid]]
        assert torch.equal(whole.reference.position[whole.reference.is_valid], torch.stack(rows))


def test_history_is_measured_and_the_future_commanded():
    e = episode(3)
    windows = Windows([e], first_is_initial=1.0)
    frames = np.array([0, 1, 6, 11])
    batch = windows.draw(4, 16, NORM, np.random.default_rng(0), frames, history=4)
    now_only = windows.draw(4, 16, NORM, np.random.default_rng(0), frames)
    assert batch.grid.action.shape == (4, 5 + HORIZON, 10) and batch.grid.motion.shape == (4, 5 + HORIZON, 16, 3)
    assert torch.equal(batch.grid.action[:, 4:], now_only.grid.action) and torch.equal(
        batch.grid.motion[:, 4:], now_only.grid.motion
    )
    for b, f in enumerate(frames):
        s = 2 * f
        steps = np.clip(np.arange(s - 4, s + 1), 0, None)
        poses, grip = decode_actions(batch.grid.action[b, :5].numpy(), batch.T_cam_ee[b], NORM, states=5)
        assert np.allclose(poses, e.pose[steps], atol=1e-5) and np.allclose(grip, e.gripper[steps], atol=1e-6)
        poses, grip = decode_actions(batch.grid.action[b, 5:].numpy(), batch.T_cam_ee[b], NORM)
        assert np.allclose(poses, e.target_pose[np.minimum(np.arange(s, s + HORIZON), 23)], atol=1e-5)
        x = batch.grid.motion[b].numpy() * NORM.local_scale + batch.T_cam_ee[b, :3, 3]
        start = batch.grid.identity[b].numpy() * NORM.local_scale + batch.T_cam_ee[b, :3, 3]
        k = np.linalg.norm(start[:, None] - e.tracks[0][None], axis=-1).argmin(1)
        assert sorted(k) == list(range(16))
        assert np.allclose(x, e.tracks[np.clip(np.arange(s - 4, s + HORIZON + 1), 0, 23)][:, k], atol=1e-5)


def test_keypoints_vary_and_padding_is_flagged():
    windows = Windows([episode(i, K=10) for i in range(3)])
    batch = windows.draw(256, 16, NORM, np.random.default_rng(0), vary_keypoints=True)
    count = batch.grid.is_valid.sum(1)
    assert set(count.tolist()) == set(range(1, 11))  # the tracks are ten
    assert batch.grid.motion.shape[2] == 16 and (batch.grid.motion.abs().sum((1, 3)) > 0).eq(batch.grid.is_valid).all()
    assert (batch.grid.identity[~batch.grid.is_valid] == 0).all() and not batch.grid.is_tracked.permute(0, 2, 1)[
        ~batch.grid.is_valid
    ].any()
    assert (windows.draw(8, 16, NORM, np.random.default_rng(0)).grid.is_valid.sum(1) == 10).all()
    assert windows.draw(8, 0, NORM, np.random.default_rng(0)).grid.motion.shape == (8, 17, 0, 3)


def test_seen_keypoints_come_first_and_unseen_steps_are_flagged():
    valid = np.ones((24, 16), bool)
    valid[:, 8:] = False  # never seen
    valid[10:, 0] = False  # lost in the middle
    e = episode(K=16, track_valid=valid)
    windows = Windows([e], first_is_initial=1.0)
    batch = windows.draw(32, 7, NORM, np.random.default_rng(0), np.full(32, 2))
    start = batch.grid.identity.numpy() * NORM.local_scale + batch.T_cam_ee[:, None, :3, 3]
    k = np.linalg.norm(start[:, :, None] - e.tracks[0], axis=-1).argmin(-1)
    assert k.max() < 8
    steps = np.minimum(np.arange(4, 4 + 17), 23)
    for b in range(32):
        assert np.array_equal(batch.grid.is_tracked[b].numpy(), valid[steps][:, k[b]])
    rng = np.random.default_rng(7)
    for _ in range(50):  # references hold no waypoint that was not seen
        r = draw_reference(
            e.tracks, e.static, 0, "cam", ReferenceSampling(noise_m=0.0, pinned=0.0), rng, e.track_valid, e.track_moving
        )
        for w, v in zip(r.waypoints, r.is_valid, strict=True):
            d = np.linalg.norm(w[:, None, None] - e.tracks, axis=-1)
            at = [np.unravel_index(x.argmin(), x.shape) for x in d[v]]
            assert v.any() and all(valid[s, k] for s, k in at)


def test_a_source_without_a_robot_supervises_motion_alone():
    robot, video = episode(0), episode(1, robot=False)
    batch = Windows([robot, video]).draw(4, 3, NORM, np.random.default_rng(0), np.array([2, 3, 14, 15]), history=2)
    assert batch.grid.is_supervised_action.tolist() == batch.ee.is_known.tolist() == [True, True, False, False]
    assert (
        (batch.grid.action[2:] == 0).all()
        and (batch.grid.action[:2].abs().sum((1, 2)) > 0).all()
        and (batch.ee.gripper[2:] == 0).all()
    )
    for b, s in ((2, 4), (3, 6)):
        assert np.allclose(batch.T_cam_ee[b, :3, :3], np.eye(3)) and np.allclose(
            batch.T_cam_ee[b, :3, 3], video.tracks[s].mean(0), atol=1e-5
        )
        x = batch.grid.motion[b].numpy() * NORM.local_scale + batch.T_cam_ee[b, :3, 3]
        assert np.linalg.norm(x[2][:, None] - video.tracks[s], axis=-1).min(1).max() < 1e-5
    assert batch.text == ("push 0", "push 0", "push 1", "push 1")
    # A robot whose actions are not known: its state is, past steps are, and no commanded action stands in the grid.
    quiet = dataclasses.replace(robot, meta=robot.meta | {"has_actions": False})
    b = Windows([quiet]).draw(2, 0, NORM, np.random.default_rng(0), np.array([4, 5]), history=2)
    assert (
        b.ee.is_known.all()
        and not b.grid.is_supervised_action.any()
        and (b.grid.action[:, 3:] == 0).all()
        and (b.grid.action[:, :2] != 0).any()
    )


def test_images_come_with_the_places_of_the_points():
    e = episode(0, shots=5)
    batch = Windows([e], first_is_initial=1.0).draw(
        2, 0, NORM, np.random.default_rng(0), np.array([3, 9]), with_image=True
    )
    assert np.array_equal((batch.points.image[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8), e.images[3])
    assert (batch.points.image[1] == 0).all()  # frame 9 has none
    assert (batch.initial_points.image * 255).round().to(torch.uint8)[0, 0, 0, 0] == e.images[0, 0, 0, 0]
    uv = project(batch.points.xyz.numpy(), CAMERA)
    assert np.allclose(batch.points.normalized_uv.numpy(), (uv + 0.5) / [64, 36] * 2 - 1, atol=1e-4)
    # The outermost pixel centres lie half a pixel within the edges, at every resolution.
    corner = np.array([[[(0 - CAMERA.cx) / CAMERA.fx, (35 - CAMERA.cy) / CAMERA.fy, 1.0]]])
    intrinsics = np.array([[40.0, 40.0, 31.5, 17.5, 64, 36]])
    assert np.allclose(normalized_uv(corner, intrinsics), [[[1 / 64 - 1, 1 - 1 / 36]]])
    assert (normalized_uv(corner, intrinsics * np.nan) == 0).all()
    with pytest.raises(EpisodeError, match="no episode has an image"):
        Windows([episode(0)]).draw(2, 0, NORM, np.random.default_rng(0), with_image=True)


def test_windows_of_one_task_are_of_one_episode():
    windows = Windows([episode(0), episode(1)])
    with pytest.raises(ValueError, match="one episode"):
        windows.draw(2, 0, NORM, np.random.default_rng(0), np.array([3, 14]), windows_per_task=2)


def test_normalization_leaves_sources_without_actions_out():
    made = [episode(i) for i in range(3)]
    video = episode(9, robot=False)
    own, both = measure_normalization(made), measure_normalization([*made, video])
    assert (own.position_scale, own.rotation_scale) == (
        both.position_scale,
        both.rotation_scale,
    ) and own.point_center != both.point_center
    assert measure_normalization([video]).position_scale == Normalization().position_scale
    assert measure_normalization(Store.of(made)) == own


def test_step_scaled_actions_spread_alike_at_every_step():
    """So that the first, which are executed, are not a small part of what is denoised."""
    made = [episode(i) for i in range(3)]
    whole, by_step = measure_normalization(made), measure_normalization(made, by_step=True)
    assert not whole.step_scale and dataclasses.replace(by_step, step_scale=()) == whole

    def spread(norm):
        windows = [(e, t, np.minimum(np.arange(t, t + HORIZON), 23)) for e in made for t in range(0, 24, 7)]
        code = np.stack(
            [
                encode_actions(e.target_pose[s].astype(float), e.target_gripper[s], e.pose[t].astype(float), norm)
                for e, t, s in windows
            ]
        )
        return np.sqrt((code[..., :3] ** 2).mean((0, 2)) / 2 + (code[..., 3:9] ** 2).mean((0, 2)) / 2)

    assert spread(whole)[-1] > 3 * spread(whole)[0]
    assert np.allclose(spread(by_step), 1, atol=0.01)
    with pytest.raises(ValueError, match="normalization.step_scale: 3 values, must be none or 16"):
        Uma(tiny(), dataclasses.replace(whole, step_scale=(1.0, 2.0, 3.0)))
    with pytest.raises(ValueError, match="step_scale: 0.0, must be 1e-06 to"):
        Normalization(step_scale=(0.0,) * HORIZON)


# ---- sources ---------------------------------------------------------------------------------------------------------


def test_sources_are_parsed():
    assert parse_sources(("data/a", "data/b=0.5")) == (Source("data/a", 1.0), Source("data/b", 0.5))
    for words, message in (
        (("a=x",), "FOLDER=WEIGHT"),
        (("a=0",), "weight > 0"),
        (("a", "./a=2"), "twice"),
        ((), "at least one"),
        (("a=nan",), "weight > 0"),
    ):
        with pytest.raises(ValueError, match=message):
            parse_sources(words)


def test_sources_come_by_weight_and_each_keeps_its_own():
    robot, video = [episode(i, shots=2) for i in range(3)], [episode(i, S=60, robot=False) for i in range(10, 13)]
    mixture = Mixture([Windows(robot), Windows(video)], [1.0, 3.0])
    assert len(mixture) == 3 * 12 + 3 * 30 and len(mixture.episodes) == 6 and mixture.episodes[3].meta["seed"] == 10
    batch = mixture.draw(800, 3, NORM, np.random.default_rng(0), windows_per_task=2, with_image=True)
    share = batch.ee.is_known.float().mean().item()
    assert 0.19 < share < 0.31, share  # 400 tasks at 1/4: three standard deviations
    of = np.array([int(t.split()[1]) < 10 for t in batch.text])
    assert np.array_equal(np.repeat(of, 2), batch.ee.is_known.numpy()) and np.array_equal(
        np.repeat(of, 2), batch.grid.is_supervised_action.numpy()
    )
    assert (batch.points.image[~batch.ee.is_known] == 0).all() and (
        batch.initial_points.image.amax((1, 2, 3)) > 0
    ).any()
    # A task's windows, initial cloud and reference stay together through the mixing.
    clouds = {e.meta["seed"]: {tuple(frame[0]) for frame in e.xyz} for e in robot + video}
    for i in range(0, 400, 23):
        own = clouds[int(batch.text[i].split()[1])]
        for cloud in (batch.initial_points.xyz[i, 0], batch.points.xyz[2 * i, 0], batch.points.xyz[2 * i + 1, 0]):
            assert tuple(np.round(cloud.numpy() / 1e-4).astype(int)) in own
    fixed = mixture.draw(2, 0, NORM, np.random.default_rng(0), np.array([0, 36]))
    assert torch.equal(
        fixed.points.xyz[1], Windows(video).draw(1, 0, NORM, np.random.default_rng(0), np.array([0])).points.xyz[0]
    )


def test_sources_that_do_not_fit_are_refused():
    with pytest.raises(EpisodeError, match="sources differ"):
        Mixture([Windows([episode(0, N=48)]), Windows([episode(0, N=50)])])


def test_kinds_of_sources_can_be_left_out_of_training(tmp_path):
    metas = {
        "sim": {"source": "uma_sim", "has_robot": True},
        "robot": {"source": "droid", "has_robot": True},
        "human": {"source": "uma_sim", "has_robot": False, "has_actions": False},
    }
    for name, changes in metas.items():
        (tmp_path / name).mkdir()
        for i in range(4):
            e = episode(i)
            save_episode(tmp_path / name / f"{i}.npz", dataclasses.replace(e, meta=e.meta | changes))
    sources = parse_sources([f"{tmp_path / name}={weight}" for name, weight in zip(metas, "123")])
    for name in metas:
        training, validation = open_sources(sources, 1, without=(name,))
        assert {kind_of(e.meta) for e in training.episodes} == set(metas) - {name}
        assert {kind_of(e.meta) for e in validation.episodes} == set(metas), "the same windows are evaluated"
        np.testing.assert_allclose(training.probability.sum(), 1.0)
        assert len(training.probability) == 2 and len(validation.probability) == 3
    with pytest.raises(EpisodeError, match="all are of the kinds left out"):
        open_sources(sources, 1, without=("sim", "robot", "human"))
    with pytest.raises(EpisodeError, match="without robot: no source is of this kind, must be of human, sim"):
        open_sources([s for s in sources if not s.folder.endswith("robot")], 1, without=("robot",))
    save_episode(tmp_path / "sim/9.npz", load_episode(tmp_path / "human/0.npz"))
    with pytest.raises(EpisodeError, match="sim: episodes of the kinds human, sim"):
        open_sources(sources, 1, without=("robot",))


def test_the_last_episodes_of_every_source_are_held_out(tmp_path):
    for name, first in (("a", 0), ("b", 20)):
        (tmp_path / name).mkdir()
        for i in range(first, first + 6):
            save_episode(tmp_path / name / f"{i:03d}.npz", episode(i))
    training, validation = open_sources(parse_sources((str(tmp_path / "a"), str(tmp_path / "b"))), 4)
    assert [e.meta["seed"] for e in validation.episodes] == [5, 25]  # a fifth of six
    assert [e.meta["seed"] for e in training.episodes] == [*range(5), *range(20, 25)]
    assert isinstance(training.windows[0].store.shards[0]["xyz"].base, np.memmap)
    seen = {t for t in training.draw(400, 0, NORM, np.random.default_rng(0)).text}
    assert "push 5" not in seen and "push 25" not in seen and len(seen) == 10
