"""A tiny comparison from data to page: trained, measured, resumed, and refused where terms are not equal."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from episodes import episode
from rich.console import Console

from uma.types import InputError
from uma_train.data.clips import Layout
from uma_train.data.episode import save_episode
from uma_train.evaluation import closed_loop
from uma_train.evaluation.compare import candidates as planning
from uma_train.evaluation.compare import command as module
from uma_train.evaluation.compare.command import compare
from uma_train.evaluation.compare.config import CompareConfig
from uma_train.training.choices import PixelChoice
from uma_train.training.config import TrainConfig
from uma_train.training.loop import train

SYSTEMS = ("uma", "coil", "uva", "uwm", "point_flow")
PIXELS = PixelChoice(
    Layout(18, 32, 2, 2, 4), channels=(8, 8), latent=4, layers=1, heads=2, head_width=32, head_layers=1
)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> str:
    """Five episodes with an image of every frame."""
    folder = tmp_path_factory.mktemp("data")
    for i in range(5):
        e, rng = episode(i), np.random.default_rng(i)
        images = rng.integers(0, 255, (len(e.xyz), 18, 32, 3), dtype=np.uint8)
        save_episode(folder / f"{i}.npz", replace(e, images=images, image_frame=np.arange(len(images), dtype=np.int32)))
    return str(folder)


def config_of(data: str, out, **changes) -> CompareConfig:
    train = TrainConfig(
        data=(data,),
        preset="tiny",
        pixels=PIXELS,
        steps=2,
        batch_size=4,
        micro_batch=4,
        validation_episodes=1,
        validation_windows=4,
        threads=1,
        tensorboard=False,
    )
    small = dict(tolerance=20.0, tasks=("insertion",), episodes=1, max_steps=4, workers=1, windows=4, predictions=2)
    return CompareConfig(train, SYSTEMS, out=str(out), **small | changes)


class Here:
    """A pool in this process: quick to start."""

    def __init__(self, workers: int) -> None:
        self.imap_unordered = map

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        pass


@pytest.fixture(scope="module")
def compared(data, tmp_path_factory):
    """The folder of a finished comparison, its result, and the trained runs."""
    out, trained = tmp_path_factory.mktemp("compared") / "out", []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(closed_loop, "multiprocessing", SimpleNamespace(get_context=lambda _: SimpleNamespace(Pool=Here)))
        for place in (planning, module):
            patch.setattr(place, "train_apart", lambda run, processes: trained.append(run.system) or train(run))
        result = compare(config_of(data, out), Console(quiet=True))
    return out, result, trained


@pytest.mark.slow
def test_every_system_is_trained_on_equal_terms(compared):
    out, result, trained = compared
    assert trained == ["tokeniser", *SYSTEMS] and [s["system"] for s in result["systems"]] == list(SYSTEMS)
    assert {(s["step"], s["batch_size"], s["seed"]) for s in result["systems"]} == {(2, 4, 0)} and not result["unequal"]
    frozen = {s["system"]: s["frozen"] > 0 for s in result["systems"]}
    assert frozen == {"uma": False, "coil": False, "uva": True, "uwm": True, "point_flow": False}


@pytest.mark.slow
def test_a_system_has_the_errors_of_its_modes_alone(compared):
    _, result, _ = compared
    has = {s["system"]: {mode for mode, e in s["errors"].items() if e is not None} for s in result["systems"]}
    assert has["uma"] == {"control", "dynamics", "dynamics_alone", "inverse"} and has["coil"] == {"control"}
    assert has["uva"] == has["uwm"] == {"control", "pixels", "inverse"} and has["point_flow"] == {"dynamics"}
    uma, flow = (s["errors"]["dynamics"] for s in result["systems"] if s["system"] in ("uma", "point_flow"))
    assert uma["motion_still_mm"] == pytest.approx(flow["motion_still_mm"]), "not the same windows and keypoints"
    assert uma["motion_mse_m2"] > 0


@pytest.mark.slow
def test_latency_has_the_passes_of_each_mechanism(compared):
    _, result, _ = compared
    passes = {s["system"]: (s["latency"]["passes"][1], s["latency"]["head_passes"][1]) for s in result["systems"]}
    steps = result["systems"][0]["latency"]["num_steps"]
    assert passes["uma"][1] == passes["uwm"][1] == 0 and passes["uma"][0] >= steps
    assert passes["uva"] == (1, max(10, steps)), "one pass of the transformer, and the head alone iterates"
    assert passes["uwm"][0] == max(10, steps)
    assert all(s["latency"]["p95_ms"] >= s["latency"]["median_ms"] > 0 for s in result["systems"])


@pytest.mark.slow
def test_the_files_say_what_was_measured(compared):
    out, result, _ = compared
    assert json.loads((out / "compare.json").read_text()) == result
    page = (out / "compare.md").read_text()
    for s in result["systems"]:
        row = s["closed_loop"]["insertion"]
        assert row["episodes"] == 1 and f"`{s['system']}`" in page and s["checkpoint_id"] in page
        assert f"{row['success']}/1" in page
    assert (out / "compare.png").read_bytes().startswith(b"\x89PNG") and not list(out.rglob("*.part"))


@pytest.mark.slow
def test_a_finished_comparison_measures_nothing_again(compared, data, monkeypatch):
    out, result, _ = compared

    def never(*_, **__):
        raise AssertionError("measured again")

    for place in (planning, module):
        monkeypatch.setattr(place, "train_apart", never)
    for name in ("latency", "open_loop", "course"):
        monkeypatch.setattr(module, name, never)
    (out / "compare.json").unlink()
    assert compare(config_of(data, out), Console(quiet=True)) == result
    with pytest.raises(InputError, match="another configuration"):
        compare(config_of(data, out, windows=5), Console(quiet=True))


@pytest.mark.slow
def test_stored_checkpoints_of_unequal_steps_are_refused(compared, data, tmp_path, monkeypatch):
    out, result, _ = compared
    longer = replace(config_of(data, tmp_path / "x").train, steps=3, out=str(tmp_path / "run"))
    bundle = train(longer, Console(quiet=True))
    stored = (f"uma={bundle}", f"coil={out}/coil/bundle")
    config = replace(config_of(data, tmp_path / "c", episodes=0), systems=("uma", "coil"), checkpoint=stored)
    with pytest.raises(InputError, match="coil: step 2, uma's is 3; must be equal, or use --unequal"):
        compare(config, Console(quiet=True))
    config = replace(config, unequal=True, out=str(tmp_path / "d"))
    found = compare(config, Console(quiet=True))
    assert found["unequal"] == ["coil: step 2, uma's is 3"]
    assert "**Not equal:** coil: step 2, uma's is 3." in (tmp_path / "d/compare.md").read_text()
    with pytest.raises(InputError, match="of system 'coil'"):
        wrong = replace(config, checkpoint=(f"uma={out}/coil/bundle",), out=str(tmp_path / "e"))
        compare(wrong, Console(quiet=True))


@pytest.mark.slow
def test_a_killed_comparison_measures_the_rest_alone(compared, data, tmp_path, monkeypatch):
    out, _, _ = compared
    stored = tuple(f"{name}={out}/{name}/bundle" for name in ("uma", "coil"))
    config = replace(config_of(data, tmp_path / "out", episodes=0), systems=("uma", "coil"), checkpoint=stored)
    real, measured = module.latency, []

    def killed(policy, way):
        measured.append(type(policy).__name__)
        if measured == ["Policy", "Coil"]:
            raise KeyboardInterrupt
        return real(policy, way)

    monkeypatch.setattr(module, "latency", killed)
    with pytest.raises(KeyboardInterrupt):
        compare(config, Console(quiet=True))
    assert (tmp_path / "out/uma/errors.json").exists() and not (tmp_path / "out/compare.json").exists()
    found = compare(config, Console(quiet=True))
    assert measured == ["Policy", "Coil", "Coil"] and [s["system"] for s in found["systems"]] == ["uma", "coil"]
    assert all(s["latency"]["predictions"] == 2 for s in found["systems"])


def test_unequal_sizes_are_refused_before_any_training(data, tmp_path, monkeypatch):
    monkeypatch.setattr(planning, "train_apart", lambda *_: pytest.fail("trained first"))
    config = replace(config_of(data, tmp_path, tolerance=0.01), systems=("uma", "uva"))
    with pytest.raises(InputError, match=r"^parameters: uma .* uva .*must be within 1 %"):
        compare(config, Console(quiet=True))
