"""The ablations run from configuration, resume, and hand each variant's checkpoint to the benchmark."""

import json
from pathlib import Path

import pytest
from episodes import episode

from uma.checkpoint.bundle import load_bundle
from uma_train.data.episode import save_episode
from uma_train.evaluation import ablate as module
from uma_train.evaluation.ablate import AblateConfig, ablate
from uma_train.training.config import TrainConfig
from uma_train.training.loop import train as train_here


@pytest.mark.slow
def test_variants_are_trained_and_measured_once(tmp_path, monkeypatch):
    for i in range(4):
        save_episode(tmp_path / f"{i}.npz", episode(i))
    judged, measured = [], []
    row = {"policy": "uma", "episodes": 2, "success": 1, "low": 0.1, "high": 0.9, "grasp": 2}

    def benchmark(config, console):
        judged.append(config)
        assert config.streamed_ms == 0, "its figures are of actions taken at once"
        won = (
            (1_000_000,) if "action_only" in config.out else (1_000_000, 1_000_001) if config.task == "folding" else ()
        )
        Path(config.out).mkdir(exist_ok=True)
        lines = [
            json.dumps({"seed": s, "outcome": "success" if s in won else "imprecise end"})
            for s in (1_000_000, 1_000_001)
        ]
        Path(config.out, "episodes.jsonl").write_text("\n".join(lines))
        return [row]

    monkeypatch.setattr(module, "benchmark", benchmark)
    modes = {"control": {"mean_position_mm": 1.0}, "joint": {"mean_position_mm": 2.0}, "dynamics": {"motion_mm": 3.0}}

    def evaluate(config, console):
        measured.append(config)
        found = {"checkpoint_id": load_bundle(config.checkpoint).checkpoint_id, "modes": modes, "retrieval": 0.5}
        Path(config.out).write_text(json.dumps(found))
        return found

    monkeypatch.setattr(module, "evaluate", evaluate)
    monkeypatch.setattr(module, "train_apart", lambda config, processes: train_here(config))
    train = TrainConfig(
        data=(str(tmp_path),),
        preset="tiny",
        steps=2,
        batch_size=4,
        micro_batch=4,
        validation_episodes=1,
        validation_windows=4,
        threads=1,
    )
    config = AblateConfig(
        train,
        ("uma", "action_only"),
        tasks=("insertion", "folding"),
        episodes=2,
        first_seed=1_000_000,
        out=str(tmp_path / "out"),
    )
    rows = ablate(config)
    same, better, worse = ({**row, "better": b, "worse": w, "sign_test": 1.0} for b, w in ((0, 0), (1, 0), (0, 1)))
    assert [(r["variant"], r["steps"]) for r in rows] == [("uma", 2), ("action_only", 2)]
    assert [r["closed_loop"] for r in rows] == [
        {"insertion": same, "folding": same},
        {"insertion": better, "folding": worse},
    ]
    wanted = [
        (str(tmp_path / "out" / n / "bundle"), task, 2, 1_000_000, ("uma",))
        for n in config.variants
        for task in config.tasks
    ]
    assert [(c.checkpoint, c.task, c.episodes, c.first_seed, c.policies) for c in judged] == wanted
    assert json.loads((tmp_path / "out/result.json").read_text())["rows"][1]["variant"] == "action_only"
    shared, other = (json.loads((tmp_path / "out" / n / "config.json").read_text()) for n in config.variants)
    assert other["objective"]["masks"]["joint"] == 0.0 != shared["objective"]["masks"]["joint"]
    assert len(measured) == 2
    assert ablate(config)[0]["errors"] == rows[0]["errors"] and len(measured) == 2


def test_noise_free_variant_needs_its_own_data():
    config = AblateConfig(TrainConfig(data=("noisy",)), ("uma", "no_action_noise"), clean_data=("clean",))
    assert [config.training(name).data for name in config.variants] == [("noisy",), ("clean",)]
    with pytest.raises(ValueError, match="clean_data: empty"):
        AblateConfig(variants=("no_action_noise",))


def test_an_unknown_variant_is_named():
    with pytest.raises(ValueError, match="variants: 'nothing', must be of"):
        AblateConfig(variants=("uma", "nothing"))
