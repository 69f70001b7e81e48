"""The image tokeniser and the way of a pixel system from it to a bundle that acts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from bundles import bundle_of
from episodes import episode
from rich.console import Console
from scenes import reference, scene

from uma.checkpoint.bundle import BundleError, Contract, save_bundle
from uma.checkpoint.folder import read_bundle
from uma.model.config import tiny
from uma.policy.systems import load_system
from uma.types import InputError
from uma_train.baselines.pixels.diffusion import Schedule
from uma_train.baselines.pixels.tokeniser import Tokeniser, TokeniserConfig, frozen_tokeniser
from uma_train.data.clips import Layout
from uma_train.data.episode import save_episode
from uma_train.studies import pixel_world
from uma_train.studies.pixel_training import toy_tokeniser
from uma_train.training.choices import PixelChoice
from uma_train.training.config import TrainConfig
from uma_train.training.loop import train

LAYOUT = Layout(height=18, width=32)
CHOICE = PixelChoice(
    layout=LAYOUT,
    channels=(8, 8),
    latent=4,
    width=32,
    layers=1,
    heads=4,
    head_width=32,
    head_layers=1,
    inference_steps=2,
)


def run(folder, system: str, **pixels):
    data = folder / "data"
    if not data.exists():
        data.mkdir()
        rng = np.random.default_rng(0)
        for i in range(5):
            e = episode(i)
            images = rng.integers(0, 255, (len(e.xyz), 18, 32, 3), dtype=np.uint8)
            save_episode(
                data / f"{i}.npz", replace(e, images=images, image_frame=np.arange(len(images), dtype=np.int32))
            )
    options = {"init": pixels.pop("init", "")}
    return train(
        TrainConfig(
            data=(str(data),),
            system=system,
            preset="tiny",
            out=str(folder / f"{system}{len(list(folder.iterdir()))}"),
            pixels=replace(CHOICE, **pixels),
            steps=2,
            batch_size=4,
            validation_episodes=1,
            validation_windows=4,
            threads=1,
            tensorboard=False,
            **options,
        )
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("systems")


@pytest.fixture(scope="module")
def tokeniser(folder) -> str:
    return str(run(folder, "tokeniser"))


@pytest.mark.parametrize("system", ["uva", "uwm", "motus"])
def test_a_pixel_system_is_trained_saved_continued_and_acts(folder, tokeniser, system):
    bundle = run(folder, system, tokeniser=tokeniser)
    o = scene()
    policy = load_system(bundle, system=system, num_samples=2)
    chunk = policy.predict(o, policy.encode_task(o, reference()), sequence=3).chunk
    assert chunk.poses.shape == (16, 4, 4) and np.isfinite(chunk.poses).all()
    same = load_system(bundle, num_samples=2)
    assert np.array_equal(chunk.poses, same.predict(o, same.encode_task(o, reference()), sequence=3).chunk.poses)
    kept = frozen_tokeniser(tokeniser, LAYOUT).state_dict()
    assert all(torch.equal(v, policy.model.tokeniser.state_dict()[k]) for k, v in kept.items()), "frozen"
    again = run(folder, system, init=str(bundle))
    assert read_bundle(again).system == system
    assert all(torch.equal(v, load_system(again).model.tokeniser.state_dict()[k]) for k, v in kept.items())


def test_what_is_no_tokeniser_or_of_another_size_is_named(folder, tokeniser, tmp_path):
    with pytest.raises(InputError, match="pixels.tokeniser: empty, must be a bundle of"):
        run(folder, "uva")
    with pytest.raises(InputError, match="for images of 32 x 18, the system's have 80 x 45"):
        frozen_tokeniser(tokeniser, Layout())
    save_bundle(tmp_path / "uma", bundle_of(tiny()).model, Contract(), training={}, card="")
    with pytest.raises(BundleError, match="a checkpoint of 'uma', must be one of 'tokeniser'"):
        run(folder, "uva", tokeniser=str(tmp_path / "uma"))
    with pytest.raises(InputError, match="init .*: of system 'uma', must be of 'uwm'"):
        run(folder, "uwm", init=str(tmp_path / "uma"))
    with pytest.raises(InputError, match="pixels.video_only: True, must be False for UWM"):
        run(folder, "uwm", tokeniser=tokeniser, video_only=True)
    with pytest.raises(BundleError, match="system 'tokeniser', must be one of uma"):
        load_system(tokeniser)


@pytest.mark.parametrize(("height", "width"), [(16, 32), (45, 80), (9, 13)])
def test_any_image_size_is_padded_and_cut_back(height, width):
    config = TokeniserConfig(Layout(height=height, width=width), (8, 8, 8), 4)
    model, images = Tokeniser(config), torch.rand(2, 3, 3, height, width)
    latents = model.encode(images)
    assert latents.shape == (2, 3, config.tokens, 4) and model.decode(latents).shape == images.shape


def test_a_little_training_shows_the_block_where_it_is():
    model = toy_tokeniser(pixel_world.LAYOUT, 80, Console(quiet=True))
    batch = pixel_world.draw(np.random.default_rng(5), 32)
    latents = model.encode(batch.future[:, -1])
    assert 0.7 < float(latents.std()) < 1.4
    away = pixel_world.seen(model.decode(latents), batch.past[:, -1]) - pixel_world.acted(batch.action)
    assert np.abs(away).mean() < 1.0


def test_denoising_with_the_true_noise_returns_the_data():
    schedule = Schedule(100)
    x, noise = torch.randn(4, 6), torch.randn(4, 6)
    for t in (0, 1, 50, 99):
        noisy = schedule.noised(x, noise, torch.full((4,), t))
        assert t == 0 or torch.allclose(schedule.back(noisy, noise, t, 0), x, atol=2e-3)
    assert float(schedule.alpha(torch.tensor(0))) == 1.0 and float(schedule.alpha(torch.tensor(100))) == pytest.approx(
        1e-5
    )
    assert schedule.grid(4) == [100, 75, 50, 25, 0]


def test_samples_of_a_known_distribution_have_its_spread():
    """For data x ~ N(2, 0.5^2) the best predicted noise is known in closed form."""
    schedule, mean, spread = Schedule(100), 2.0, 0.5

    def predict(x, t):
        a = schedule.alpha(torch.tensor(t))
        return (x - a.sqrt() * mean) * (1 - a).sqrt() / (a * spread**2 + 1 - a)

    drawn = schedule.sample(predict, torch.randn(4000, 1, generator=torch.Generator().manual_seed(0)), 50)
    assert abs(float(drawn.mean()) - mean) < 0.05 and abs(float(drawn.std()) - spread) < 0.06
