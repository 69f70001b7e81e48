"""What the pixel systems share: images of a batch, memory, the toy world, and the way from training to a chunk."""

import dataclasses
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from episodes import episode
from scenes import reference, scene
from torch import nn

from uma.checkpoint.folder import BundleError, read_bundle
from uma.model.config import ModelConfig, tiny
from uma.model.inputs import Normalization
from uma.policy.systems import SYSTEMS, load_system
from uma.types import InputError
from uma_train.baselines.pixels.inputs import pixel_batch, resized
from uma_train.baselines.pixels.memory import Memory, Seen
from uma_train.baselines.pixels.model import PixelModel
from uma_train.baselines.pixels.policy import PixelPolicy
from uma_train.baselines.pixels.recipe import PixelRecipe
from uma_train.data.clips import Layout
from uma_train.data.episode import save_episode
from uma_train.data.windows import Windows
from uma_train.studies import pixel_world
from uma_train.training.config import TrainConfig
from uma_train.training.loop import train
from uma_train.training.recipe import RECIPES

LAYOUT = Layout(height=9, width=16, past=3, future=2, every=2)


def filmed(seed: int):
    """An episode with an image of every frame, whose brightness is the frame's number."""
    e = episode(seed)
    images = np.broadcast_to(np.arange(len(e.xyz), dtype=np.uint8)[:, None, None, None], (len(e.xyz), 18, 32, 3))
    return dataclasses.replace(e, images=images.copy(), image_frame=np.arange(len(e.xyz), dtype=np.int32))


@dataclass(frozen=True)
class LinearConfig:
    layout: Layout = LAYOUT
    uma: ModelConfig = tiny()


class Linear(PixelModel):
    """The smallest system: actions are a linear function of the last image's mean, the state and the task."""

    def __init__(self, config, norm):
        super().__init__(config, norm)
        self.out = nn.Linear(3 * config.layout.past + 10 + config.uma.width, 160)

    def mean(self, b):
        x = torch.cat([b.past.mean((3, 4)).flatten(1), b.state[:, -1], b.task.mean(1)], 1)
        return self.out(x).view(-1, 16, 10)

    def losses(self, batch, generator):
        error = (self.mean(batch) - batch.action).square().mean((1, 2)) * batch.has_action
        return {"action": error.mean(), "total": 2 * error.mean()}

    def act(self, batch, num_steps, samples, generator):
        noise = torch.randn(len(batch.past), samples, 16, 10, generator=generator)
        return self.mean(batch)[:, None] + 0.01 * noise


class LinearPolicy(PixelPolicy):
    system, network, settings_type = "linear", Linear, LinearConfig


class LinearRecipe(PixelRecipe):
    """Without a tokeniser."""

    network = Linear

    def __init__(self, config, norm):
        self.config, self.norm, self.head = config, norm, nn.Module()
        self.model = self.build()

    def build(self):
        return Linear(LinearConfig(), self.norm)


@pytest.fixture
def linear(monkeypatch):
    """A system of the name coil for the configuration, in the tables of this test alone."""
    monkeypatch.setitem(RECIPES, "coil", f"{__name__}:LinearRecipe")
    monkeypatch.setitem(SYSTEMS, "coil", f"{__name__}:LinearPolicy")


def test_a_batch_has_the_images_and_states_of_its_steps():
    windows = Windows([filmed(0)])
    options = {"history": LAYOUT.history, "clip": LAYOUT.steps}
    batch = windows.draw(2, 0, Normalization(), np.random.default_rng(0), np.array([6, 11]), **options)
    inputs = pixel_batch(batch, LAYOUT, torch.zeros(2, 4, 8))
    frames = lambda images: (images.mean((2, 3, 4)) * 255).round().int().tolist()  # noqa: E731
    assert frames(inputs.past) == [[4, 5, 6], [9, 10, 11]] and frames(inputs.future) == [[7, 8], [11, 11]]
    assert inputs.is_seen.tolist() == [[True, True], [False, False]]
    assert inputs.state.shape == (2, 3, 10) and not inputs.state[:, -1, :9].any(), "poses are relative to the last one"
    assert torch.equal(inputs.state[:, 0], batch.grid.action[:, 0]) and inputs.action.shape == (2, 16, 10)
    with pytest.raises(ValueError, match="clip: None"):
        pixel_batch(windows.draw(2, 0, Normalization(), np.random.default_rng(0)), LAYOUT, torch.zeros(2, 4, 8))


def test_small_images_do_not_depend_on_the_size_of_the_camera_s():
    layout, small = Layout(height=45, width=80), torch.rand(1, 3, 90, 160)
    large = small.repeat_interleave(2, -1).repeat_interleave(2, -2)
    assert torch.allclose(resized(small, layout), resized(large, layout), atol=1e-6)


def seen(t: float) -> Seen:
    return Seen(t, torch.full((3, 1, 1), t), np.eye(4), 0.0)


def test_memory_finds_past_images_and_forgets_at_a_break():
    memory = Memory(past=3, every=4)
    step = 4 / 15
    stamps = lambda t: [round(s.stamp / step, 2) for s in memory.add(seen(t * step))]  # noqa: E731
    assert stamps(0) == [0, 0, 0] and stamps(1) == [0, 0, 1] and stamps(2) == [0, 1, 2] and stamps(3) == [1, 2, 3]
    assert stamps(3) == [1, 2, 3], "the same observation again"
    assert stamps(3.4) == [1, 2, 3.4], "an image between: the nearest ones"
    assert stamps(0.5) == [0.5] * 3, "time went back"
    assert stamps(20) == [20] * 3, "a gap"


def test_a_trained_bundle_acts(tmp_path, linear):
    for i in range(5):
        save_episode(tmp_path / f"data/{i}.npz", filmed(i)) if i else (tmp_path / "data").mkdir()
    bundle = train(
        TrainConfig(
            data=(str(tmp_path / "data"),),
            system="coil",
            preset="tiny",
            out=str(tmp_path / "out"),
            steps=3,
            batch_size=4,
            validation_episodes=1,
            validation_windows=4,
            threads=1,
            tensorboard=False,
        )
    )
    policy = load_system(bundle, num_samples=4, num_steps=1)
    o = scene()
    task = policy.encode_task(o, reference())
    first = policy.predict(o, task, sequence=1).chunk
    assert np.array_equal(first.poses, policy.predict(o, task, sequence=1).chunk.poses), "the same image again"
    assert not np.array_equal(first.poses, policy.predict(o, task, sequence=2).chunk.poses)
    assert first.frame == o.camera.frame and np.isfinite(first.poses).all() and len(first.poses) == 16
    later = replace(o, stamp=o.stamp + 4 / 15, rgb=255 - o.rgb)
    moved = policy.predict(later, task, sequence=1).chunk
    alone = load_system(bundle, num_samples=4, num_steps=1).predict(later, task, sequence=1).chunk
    assert not np.allclose(moved.poses, alone.poses), "the image before counts"
    for ask, word in (
        (lambda: policy.predict(o, task, with_motion=True), "motion"),
        (lambda: policy.predict(o, task, prefix=first), "prefix of 16 actions"),
        (lambda: policy.predict_motion(o, task, first), "motion"),
        (lambda: policy.encode_instruction("lift the mug"), "instruction 'lift the mug'"),
        (lambda: policy.load_prompt("a"), "prompt a"),
    ):
        with pytest.raises(InputError, match=f"^{word}: checkpoint .* is of system 'linear', which has no such mode"):
            ask()
    with pytest.raises(BundleError, match="layout.past: 0, must be 1 to 16"):
        LinearPolicy.of(replace(read_bundle(bundle), model={"layout": {"past": 0}}))


def test_the_toy_world_measures_what_it_shows():
    batch = pixel_world.draw(np.random.default_rng(0), 64)
    way = pixel_world.acted(batch.action)
    shown = pixel_world.seen(batch.future[:, -1], batch.past[:, -1])
    assert np.abs(way - shown).max() <= 1.0 and np.abs(way).min() >= 4 and 20 < (way > 0).sum() < 44
    assert torch.equal(batch.past[:, 0], batch.past[:, 1]), "nothing moves before"
    right, left = (pixel_world.draw(np.random.default_rng(3), 8, side=np.full(8, s)) for s in (1.0, -1.0))
    assert torch.equal(right.past, left.past), "the side is not in the past"
    assert torch.equal(right.action[..., 0], -left.action[..., 0])
    video = pixel_world.draw(np.random.default_rng(0), 4, has_action=False)
    assert not video.action.any() and not video.has_action.any() and video.future.std() > 0
