"""The training path on small data made here: format, hindsight references, parity with deployment, resuming."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from episodes import episode
from PIL import Image

from uma.checkpoint.bundle import load_bundle
from uma.model.config import ImageConfig, tiny
from uma.model.contrastive import ProjectionHead
from uma.model.inputs import Normalization, encode_actions
from uma.model.masks import MaskMix
from uma.model.uma import TokenGrid, Uma
from uma.types import InputError
from uma_train.data.episode import METRE, EpisodeError, load_episode, save_episode
from uma_train.data.hindsight import ReferenceSampling, draw_reference
from uma_train.data.windows import Windows, measure_normalization
from uma_train.evaluation.closed_loop import (
    BenchmarkConfig,
    EpisodeResult,
    _way_left,
    benchmark,
    failure_class,
    summarize,
)
from uma_train.training import trainer
from uma_train.training.config import ModelChoice, TrainConfig
from uma_train.training.loop import changed_flags, train
from uma_train.training.objectives import Objective, losses


def test_episodes_survive_the_disk(tmp_path):
    e = episode()
    save_episode(tmp_path / "a.npz", e)
    back = load_episode(tmp_path / "a.npz")
    for f in dataclasses.fields(e):
        a, b = getattr(e, f.name), getattr(back, f.name)
        assert a == b if f.name == "meta" else np.array_equal(a, b) and a.dtype == b.dtype, f.name
    assert not list(tmp_path.glob("*.part"))
    data = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "b.npz").write_bytes(data[: len(data) // 2])
    with pytest.raises(EpisodeError, match="b.npz"):
        load_episode(tmp_path / "b.npz")
    with pytest.raises(EpisodeError, match="gripper has 3 entries, must be 24"):
        dataclasses.replace(e, gripper=e.gripper[:3])


def test_hindsight_references_lie_on_the_track_and_in_order():
    e = episode()
    rng = np.random.default_rng(0)
    sizes = set()
    for _ in range(200):
        start = int(rng.integers(0, 20))
        motion = draw_reference(e.tracks, e.static, start, "cam", ReferenceSampling(noise_m=0.0), rng)
        moving = [w for w in motion.waypoints if len(w) > 1]
        sizes.add((len(motion.waypoints), len(moving[0])))
        for w in moving:
            d = np.linalg.norm(w[:, None, None] - e.tracks[start:], axis=-1)
            assert d.min((1, 2)).max() < 1e-6
            steps = d.min(2).argmin(1)
            assert (np.diff(steps) >= 0).all() and np.allclose(d[0, 0].min(), 0, atol=1e-6)
        assert all(
            np.isclose(np.linalg.norm(w - e.static, axis=-1).min(), 0, atol=1e-6)
            for w in motion.waypoints
            if len(w) == 1
        )
    assert len({n for n, _ in sizes}) >= 6 and {t for _, t in sizes} == {2, 3, 4, 5, 6}


def test_a_reference_never_has_more_keypoints_than_one_may_have():
    e = episode()
    full = ReferenceSampling(min_keypoints=15, max_keypoints=16, pinned=1.0)
    counts = {
        len(draw_reference(e.tracks, e.static, 0, "cam", full, np.random.default_rng(i)).waypoints) for i in range(20)
    }
    assert counts == {16}
    with pytest.raises(ValueError, match="sampling.min_keypoints 3, max_keypoints 17: must be 1 <= min <= max <= 16"):
        ReferenceSampling(max_keypoints=17)


def test_windows_hold_the_future_as_deployment_would_encode_it():
    episodes = [episode(i) for i in range(3)]
    norm = measure_normalization(episodes)
    windows = Windows(episodes, first_is_initial=1.0)
    assert len(windows) == 36
    batch = windows.draw(4, 5, norm, np.random.default_rng(0), np.array([0, 5, 12, 35]))
    assert (
        batch.grid.action.shape == (4, 17, 10)
        and batch.grid.motion.shape == (4, 17, 5, 3)
        and batch.points.xyz.shape[1] == tiny().points.total
    )
    e, s = episodes[0], 10  # frame 5 of the first episode
    steps = np.minimum(np.arange(s, s + 16), 23)
    expected = encode_actions(
        e.target_pose[steps].astype(np.float64), e.target_gripper[steps], e.pose[s].astype(np.float64), norm
    )
    assert np.allclose(batch.grid.action[1, 1:].numpy(), expected, atol=1e-5)
    assert np.allclose(batch.grid.action[1, 0, :9].numpy(), 0, atol=1e-5)
    assert np.allclose(batch.initial_points.xyz[1].numpy(), e.xyz[0] * METRE, atol=1e-6)
    x = batch.grid.motion[1].numpy() * norm.local_scale + e.pose[s, :3, 3]
    assert np.linalg.norm(x[0][:, None] - e.tracks[s][None], axis=-1).min(1).max() < 1e-4


def test_windows_may_share_a_task():
    episodes = [episode(i) for i in range(4)]
    windows = Windows(episodes, first_is_initial=0.5)
    batch = windows.draw(8, 2, measure_normalization(episodes), np.random.default_rng(3), windows_per_task=2)
    assert (
        batch.points.xyz.shape[0] == 8 and batch.initial_points.xyz.shape[0] == 4 == batch.reference.is_valid.shape[0]
    )
    clouds = [{tuple(frame[0]) for frame in e.xyz} for e in episodes]
    for i in range(4):  # both windows of a task are of the episode of its initial observation
        first = tuple(np.round(batch.initial_points.xyz[i, 0].numpy() / METRE).astype(int))
        own = next(c for c in clouds if first in c)
        assert all(tuple(np.round(batch.points.xyz[2 * i + j, 0].numpy() / METRE).astype(int)) in own for j in range(2))


@pytest.mark.parametrize(
    ("flags", "has"),
    [
        ("fma avx2", False),
        ("avx512f avx512_bf16 avx512_vnni", True),
        ("amx_bf16 amx_tile", True),
        ("asimd bf16 i8mm", True),
        ("avx512f", False),
    ],
)
def test_bfloat16_needs_a_processor_that_multiplies_in_it(monkeypatch, flags, has):
    monkeypatch.setattr("pathlib.Path.read_text", lambda self: f"flags\t\t: fpu {flags}\n")
    assert trainer.multiplies_bfloat16("cpu") is has and trainer.multiplies_bfloat16("cuda")


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_run_resumes_where_it_was_killed(tmp_path, optimizer):
    data = tmp_path / "data"
    data.mkdir()
    for i in range(5):
        save_episode(data / f"{i}.npz", episode(i))
    common = dict(
        data=(str(data),),
        preset="tiny",
        optimizer=optimizer,
        batch_size=8,
        micro_batch=8,
        steps=12,
        save_every=6,
        validate_every=12,
        validation_episodes=1,
        validation_windows=8,
        warmup=2,
        bf16=False,
        threads=1,
    )
    whole = train(TrainConfig(out=str(tmp_path / "whole"), **common))
    cut = TrainConfig(out=str(tmp_path / "cut"), **common)
    import uma_train.training.trainer as loop

    class Killed(Exception):
        pass

    save = loop.Trainer.save

    def save_and_die(self, path):
        save(self, path)
        if self.step == 6:
            raise Killed

    loop.Trainer.save = save_and_die
    try:
        with pytest.raises(Killed):
            train(cut)
    finally:
        loop.Trainer.save = save
    resumed = train(cut)
    a, b = load_bundle(whole), load_bundle(resumed)
    assert a.checkpoint_id == b.checkpoint_id
    assert all(torch.equal(x, y) for x, y in zip(a.model.state_dict().values(), b.model.state_dict().values()))
    rows = [json.loads(line) for line in (tmp_path / "whole" / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["validation"]["dynamics"]["motion_mm"] > 0
    with pytest.raises(ValueError, match="lr was 0.001, now 0.01"):
        train(dataclasses.replace(cut, lr=0.01))


def test_the_card_s_command_makes_the_same_configuration():
    import tyro

    config = TrainConfig(steps=7, lr=4e-4, objective=Objective(contrastive_weight=0.0, masks=MaskMix(control=0.7)))
    flags = changed_flags(config, TrainConfig())
    assert "--objective.masks.control 0.7" in flags and len(flags) == 4
    assert tyro.cli(TrainConfig, args=" ".join(flags).split()) == config


def test_no_data_is_a_clear_error(tmp_path):
    with pytest.raises(EpisodeError, match="no episode"):
        train(TrainConfig(data=(str(tmp_path),), out=str(tmp_path / "o")))


def test_benchmark_rows():
    results = [EpisodeResult("uma", i, "success" if i < 3 else "wrong_goal", True, 5.0 + i, "") for i in range(4)] + [
        EpisodeResult("hold_still", 0, "no_grasp", False, float("nan"), "")
    ]
    uma, still = summarize(results)
    assert (uma["success"], uma["episodes"], uma["wrong_goal"], uma["seconds"]) == (3, 4, 1, 6.0)
    assert (still["success"], still["no_grasp"]) == (0, 1)


def test_failure_near_the_goal_has_its_own_class():
    from uma_sim import experts
    from uma_sim.tasks import make_station

    station = make_station(1_000_000, render=False)
    left, expert = _way_left(station), experts.expert("insertion")
    assert left() == pytest.approx(1.0, abs=1e-6)
    for _ in range(100):
        station.act(*expert.act(station))
    assert station.task.outcome(station)[0] == "success" and left() < 0.1
    classes = [
        failure_class(*v)
        for v in (
            (False, False, "lies on the table", 0.1),
            (False, True, "lies on the table", 0.1),
            (True, True, "held", 0.1),
            (True, False, "leans on a holder", 0.1),
            (True, False, "lies on the table", 0.6),
        )
    ]
    assert classes == ["no_grasp", "wrong_grasp", "time_out", "imprecise", "lost"]


def test_empty_image_holds_the_arm_and_the_benchmark_goes_on(monkeypatch):
    from uma_train.evaluation import closed_loop as module

    asked = []

    def blind(o, n):
        asked.append(n)
        raise InputError("depth: 18 points over the table, at least 20 are needed")

    monkeypatch.setattr(module, "_actor", lambda *_: blind)
    result = module.run_episode(BenchmarkConfig(max_steps=12), "uma", 1_000_000)
    assert (result.outcome, result.grasped, asked) == ("no_grasp", False, [0, 1, 2])


@pytest.mark.parametrize(
    ("linger", "max_steps", "success", "seconds"),
    [(0, 60, True, 8 / 15), (8, 60, True, 16 / 15), (8, 12, False, None), (8, 8, True, 8 / 15)],
)
def test_a_success_ends_the_episode_once_it_has_lasted(monkeypatch, linger, max_steps, success, seconds):
    from uma_sim.tasks import insertion
    from uma_train.evaluation import closed_loop as module

    told = iter(["in_progress", "success", "in_progress", "success", "success", "success"])

    def blind(o, n):
        raise InputError("nothing to be seen")

    monkeypatch.setattr(
        insertion, "TASK", dataclasses.replace(insertion.TASK, outcome=lambda station: (next(told), "as told"))
    )
    monkeypatch.setattr(module, "_actor", lambda *_: blind)
    result = module.run_episode(BenchmarkConfig(linger=linger, max_steps=max_steps), "uma", 1_000_000)
    assert (result.outcome == "success") == success
    assert (
        math.isnan(result.seconds) if seconds is None else result.seconds == pytest.approx(seconds, abs=0.011)
    )  # a tick of the controller


def test_benchmark_leaves_films_and_a_contact_sheet(tmp_path):
    config = BenchmarkConfig(
        episodes=2, policies=("hold_still",), max_steps=4, workers=1, films=1, out=str(tmp_path / "b")
    )
    benchmark(config)
    assert {p.name for p in (tmp_path / "b").iterdir() if p.suffix in (".webp", ".png", ".jpg")} == {
        "hold_still_1000000.webp",
        "hold_still_1000000.png",
        "contact_sheet.jpg",
    }
    film, strip, whole = (
        Image.open(tmp_path / "b" / n)
        for n in ("hold_still_1000000.webp", "hold_still_1000000.png", "contact_sheet.jpg")
    )
    assert film.n_frames == 3 and film.size == (480, 270)
    assert strip.size == whole.size and np.asarray(whole).std() > 20  # something is to be seen


def test_image_features_need_an_image_of_every_frame(tmp_path):
    e = episode()
    for i in range(4):
        some = dataclasses.replace(e, images=np.zeros((1, 9, 16, 3), np.uint8), image_frame=np.zeros(1, np.int32))
        save_episode(tmp_path / f"{i}.npz", some)
    config = TrainConfig(
        data=(str(tmp_path),),
        out=str(tmp_path / "o"),
        preset="tiny",
        model=ModelChoice(image=ImageConfig(kind="small")),
    )
    with pytest.raises(ValueError, match="3 of 36 frames have an image; image features take all"):
        train(config)


def test_several_draws_are_the_mean_and_share_one_encoding():
    """What `control_draws` 3 makes of a batch is what the batch repeated three times would make, at one encoding of its
    points."""
    model = Uma(tiny(), Normalization())
    torch.manual_seed(0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.02 * torch.randn_like(p))
    windows, head = Windows([episode(i) for i in range(4)]), ProjectionHead(model.config)
    batch = windows.draw(4, 0, model.normalization, np.random.default_rng(0), windows_per_task=2)
    config = Objective(contrastive_weight=0.0, task_dropout=0.0, control_draws=3)
    calls = []
    model.observation_encoder.register_forward_hook(lambda module, given, out: calls.append(len(out)))
    out = losses(model, head, batch, config, torch.Generator().manual_seed(5))
    assert calls == [4]
    g = torch.Generator().manual_seed(5)
    torch.rand(4, generator=g)  # the task's dropout
    task = model.encode_task(batch.initial_points, batch.reference).repeat_interleave(2, 0)
    cache = model.prepare_context(batch.points, batch.ee, task)
    thrice = torch.arange(4).repeat_interleave(3)
    grid = TokenGrid(
        *(
            None if v is None else v[thrice]
            for v in (getattr(batch.grid, f.name) for f in dataclasses.fields(TokenGrid))
        )
    )
    expected = model.flow_losses(
        grid, config.masks.draw(12, 17, 0, g), [[(k[thrice], v[thrice]) for k, v in block] for block in cache], g
    )
    assert torch.allclose(out["action"], expected["action"], atol=1e-6) and out["action"] > 0.1
    with_motion = windows.draw(4, 2, model.normalization, np.random.default_rng(0), windows_per_task=2)
    once = [
        losses(
            model, head, with_motion, dataclasses.replace(config, control_draws=n), torch.Generator().manual_seed(5)
        )["total"]
        for n in (1, 3)
    ]
    assert once[0] == once[1], "with motion tokens the denoiser is what costs"
    with pytest.raises(ValueError, match="control_draws: 0, must be at least 1"):
        Objective(control_draws=0)
