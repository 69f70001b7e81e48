"""All options of training at once, on sources that have different things, to a bundle that the policy deploys."""

import dataclasses

import numpy as np
import pytest
import torch
from episodes import episode
from scenes import reference, scene

from uma.model.config import ImageConfig, LanguageConfig
from uma.policy import Policy
from uma.policy.policy import History
from uma_train.data.episode import placeholders, save_episode
from uma_train.data.transforms import Transforms
from uma_train.training.config import ModelChoice, TrainConfig
from uma_train.training.loop import train
from uma_train.training.objectives import Objective

CAMERA = {"width": 160, "height": 90, "fx": 66.0, "fy": 66.0, "cx": 79.5, "cy": 44.5, "frame": "camera"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("everything")
    rng = np.random.default_rng(0)
    for name in ("robot", "video"):
        (folder / name).mkdir()
        for i in range(6):
            e = episode(i)
            F, S = len(e.xyz), len(e.pose)
            e = dataclasses.replace(
                e, images=rng.integers(0, 255, (F, 18, 32, 3), dtype=np.uint8), image_frame=np.arange(F, dtype=np.int32)
            )
            meta = {**e.meta, "camera": CAMERA, "text": ("push it left", "")[i % 2]}
            if name == "video":  # neither robot nor actions, and points out of sight now and then
                seen = rng.random(e.track_valid.shape) < 0.7
                e = dataclasses.replace(e, **placeholders(S), track_valid=seen)
                meta |= {"has_robot": False, "has_actions": False}
            save_episode(folder / name / f"{i}.npz", dataclasses.replace(e, meta=meta))
    config = TrainConfig(
        data=(str(folder / "robot"), f"{folder / 'video'}=0.5"),
        out=str(folder / "run"),
        preset="tiny",
        steps=26,
        batch_size=16,
        micro_batch=8,
        warmup=2,
        threads=1,
        bf16=False,
        validate_every=26,
        validation_episodes=1,
        validation_windows=8,
        tensorboard=False,
        keypoints=16,
        vary_keypoints=True,
        transforms=Transforms.mild(),
        lr=3e-3,
        model=ModelChoice(
            history=2,
            keypoint_identity="both",
            image=ImageConfig("small", 18, 32, 8),
            language=LanguageConfig("words", embedding=16, scene=True),
            ways=True,
        ),
        objective=Objective(contrastive_weight=0.01, language_conditioning=0.3, language_alignment=0.1),
    )
    return train(config)


@pytest.mark.slow
def test_every_number_of_the_run_is_finite(bundle):
    import json

    rows = [json.loads(line) for line in (bundle.parent / "log.jsonl").read_text().splitlines()]
    assert all(np.isfinite(v) for row in rows for v in row.values() if isinstance(v, float))
    assert {"action", "motion", "contrastive", "alignment"} <= set(rows[0])


def test_the_policy_takes_every_kind_of_task_and_a_history(bundle):
    policy = Policy.load(bundle, num_samples=1, num_steps=2)
    o = scene()
    by_motion, by_text = policy.encode_task(o, reference()), policy.encode_instruction("push it left", o)
    assert by_motion.tokens.shape == by_text.tokens.shape and not torch.allclose(by_motion.tokens, by_text.tokens)
    past = History(np.repeat(o.T_cam_ee[None], 2, 0), np.zeros(2))
    chunks = [policy.predict(o, task, history=h).chunk.poses for task in (by_motion, by_text) for h in (None, past)]
    assert all(np.isfinite(c).all() for c in chunks) and len({c.tobytes() for c in chunks}) == 4
    assert policy.predict(o, by_text, with_motion=True).motion is None


def test_an_empty_instruction_is_refused(bundle):
    from uma.types import InputError

    with pytest.raises(InputError, match="holds no word"):
        Policy.load(bundle).encode_instruction("  ", scene())
    with pytest.raises(InputError, match="'push it left': no image yet, this checkpoint needs one"):
        Policy.load(bundle).encode_instruction("push it left")
