"""Motus's latent actions and its stages of training, at a small size."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from episodes import episode
from rich.console import Console
from scenes import reference, scene

from uma.checkpoint.folder import BundleError, read_bundle
from uma.model.inputs import Normalization
from uma.policy.systems import load_system
from uma.types import InputError
from uma_train.baselines.motus.flow import flow_fields
from uma_train.baselines.motus.latents import LatentActions, LatentConfig, chunk_of, increments
from uma_train.data.clips import Layout
from uma_train.data.episode import save_episode
from uma_train.studies import motus_latents, motus_training, motus_world
from uma_train.studies.findings import Finding
from uma_train.studies.motus_training import Pool
from uma_train.training.choices import MotusChoice, PixelChoice
from uma_train.training.config import TrainConfig
from uma_train.training.loop import train
from uma_train.training.recipe import recipe_of

LAYOUT = Layout(height=18, width=32)
PIXELS = PixelChoice(layout=LAYOUT, channels=(8, 8), latent=4, width=32, layers=1, heads=4, inference_steps=2)
MOTUS = MotusChoice(action_width=24, task_width=16, token=8)


def test_flow_is_the_displacement_in_pixels():
    clip = motus_world.draw(np.random.default_rng(0), 16)
    flow = clip.flow()
    assert flow.shape == (16, 4, 2, 16, 32)
    strongest = flow[:, :, 0].flatten(2).abs().amax(-1) * clip.side[:, None]
    pixels = 4.0 * clip.increments()[..., 0]
    assert np.corrcoef(strongest.flatten(), pixels.flatten())[0, 1] > 0.9
    assert not flow_fields(clip.images[:, :1].expand(-1, 3, -1, -1, -1)).any(), "equal images"
    assert flow[:, :, 0].square().mean() > 3 * flow[:, :, 1].square().mean(), "it moves along x"
    down = flow_fields(clip.images.transpose(-1, -2))
    assert torch.allclose(down[:, :, 1].transpose(-1, -2), flow[:, :, 0], atol=0.35), "x to the right, y down"


def test_a_chunk_is_the_sum_of_its_latent_actions():
    now, action = torch.randn(2, 10), torch.randn(2, 16, 10)
    codes = increments(action, now, 4)
    assert codes.shape == (2, 4, 10) and torch.allclose(codes[:, 0], action[:, 3] - now)
    chunk = chunk_of(codes, now, 4)
    assert torch.allclose(chunk[:, 3::4], action[:, 3::4], atol=1e-5)
    assert torch.allclose(chunk[:, 1] - chunk[:, 0], codes[:, 0] / 4, atol=1e-5)
    with pytest.raises(InputError, match="latents.stride: 5, must divide the 16 actions"):
        LatentConfig(stride=5)


@pytest.fixture(scope="module")
def learned() -> motus_training.Learned:
    """Latent actions of a short training; the others are untrained."""
    pools = [Pool.of(motus_world.draw(np.random.default_rng(s), n)) for s, n in ((1, 128), (2, 10))]
    torch.manual_seed(0)
    untrained = [LatentActions(motus_world.LATENTS).eval() for _ in range(2)]
    right = motus_training.train_latents(*pools, 240, Console(quiet=True), size=24)
    return motus_training.Learned(right, *untrained, pools[0], motus_training.demonstrations(0, 32))


def held(findings: list[Finding]) -> dict[str, bool]:
    return {f.what: f.holds for f in findings if f.holds is not None}


def test_a_latent_action_means_an_action(learned):
    found = held(motus_latents.meaning(learned, 64))
    assert len(found) == 6 and all(found.values()), found


def test_latent_actions_that_are_none_are_found(learned):
    found = held(motus_latents.meaning(replace(learned, right=learned.without, without=learned.right), 32))
    wrong = {what for what, holds in found.items() if not holds}
    assert wrong >= {
        "R2 of the true increments, by the latent action itself",
        "the same, lambda_a 0",
        "squared error of the flow, of that of the mean flow",
    }


def test_a_motion_in_a_static_clip_is_found(learned, monkeypatch):
    monkeypatch.setattr(motus_latents, "flow_fields", lambda images: 1.0 + flow_fields(images))
    assert motus_latents.still(learned.right, 16) > 0.1


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_labels_make_a_latent_action_an_action():
    learned = motus_training.learn(200, 0, 32, Console(quiet=True), clips=128, size=32)
    found = held(motus_latents.meaning(learned, 64))
    assert len(found) == 6 and all(found.values()), found
    for wrong in (learned.without, learned.shuffled):
        found = held(motus_latents.meaning(replace(learned, right=wrong), 64))
        assert not found["R2 of the true increments, by the latent action itself"]


def run(folder, system: str, out: str, pixels: dict | None = None, motus: dict | None = None, init: str = "") -> str:
    return str(
        train(
            TrainConfig(
                data=(str(folder / "data"),),
                system=system,
                preset="tiny",
                out=str(folder / out),
                pixels=replace(PIXELS, **(pixels or {})),
                motus=replace(MOTUS, **(motus or {})),
                steps=2,
                batch_size=4,
                validation_episodes=1,
                validation_windows=4,
                threads=1,
                tensorboard=False,
                init=init,
            )
        )
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("motus")
    (folder / "data").mkdir()
    rng = np.random.default_rng(0)
    for i in range(5):
        e = episode(i)
        images = rng.integers(0, 255, (len(e.xyz), 18, 32, 3), dtype=np.uint8)
        frames = np.arange(len(images), dtype=np.int32)
        save_episode(folder / f"data/{i}.npz", replace(e, images=images, image_frame=frames))
    return folder


def test_three_stages_make_a_policy(folder):
    tokeniser, latents = run(folder, "tokeniser", "tokeniser"), run(folder, "latent_actions", "latents")
    first = run(folder, "motus", "first", {"tokeniser": tokeniser}, {"stage": "video"})
    second = run(folder, "motus", "second", {}, {"stage": "latent", "latents": latents}, first)
    third = run(folder, "motus", "third", {}, {}, second)
    a, b, c = (load_system(bundle, system="motus", num_samples=2) for bundle in (first, second, third))
    for before, after in ((a, b), (b, c)):
        pairs = zip(before.model.of_expert("action"), after.model.of_expert("action"), strict=True)
        assert any(not torch.equal(p, q) for p, q in pairs)
    assert read_bundle(first).model == read_bundle(third).model, "a later stage keeps the sizes"
    o = scene()
    chunk = c.predict(o, c.encode_task(o, reference()), sequence=3).chunk
    assert chunk.poses.shape == (16, 4, 4) and np.isfinite(chunk.poses).all()
    for motus, words in (
        ({"stage": "latent"}, "motus.latents: empty, must be a bundle of `uma train --system latent_actions`"),
        ({"latents": latents}, "motus.latents: .*, must be empty in the stage 'action'"),
    ):
        with pytest.raises(InputError, match=words):
            run(folder, "motus", "bad", {}, motus, second)
    with pytest.raises(InputError, match="pixels.video_only: True, must be False for Motus"):
        run(folder, "motus", "bad", {"video_only": True}, {}, second)
    with pytest.raises(BundleError, match="a checkpoint of 'tokeniser', must be one of 'latent_actions'"):
        run(folder, "motus", "bad", {}, {"stage": "latent", "latents": tokeniser}, first)
    with pytest.raises(BundleError, match="system 'latent_actions', must be one of uma"):
        load_system(latents)


def test_the_first_stage_leaves_the_action_expert_alone(folder):
    tokeniser = run(folder, "tokeniser", "tokeniser")
    recipes = {
        stage: recipe_of(
            TrainConfig(
                system="motus",
                preset="tiny",
                pixels=replace(PIXELS, tokeniser=tokeniser),
                motus=replace(MOTUS, stage=stage),
            ),
            Normalization(),
        )
        for stage in ("video", "action")
    }
    for stage, recipe in recipes.items():
        chosen = {id(p) for p in recipe.trained()}
        action = {id(p) for p in recipe.model.of_expert("action")}
        assert chosen.isdisjoint(action) == (stage == "video") and len(chosen) > 10
        assert chosen >= {id(p) for p in recipe.model.of_expert("video")}


@pytest.mark.parametrize(
    ("change", "message"),
    [({"stride": 3}, "motus.stride: 3, must divide the 16 actions"), ({"patch": 9}, "motus.patch: 9, must be 1 to 8")],
)
def test_choices_out_of_range_are_named(change, message):
    with pytest.raises(InputError, match=message):
        MotusChoice(**change)
