"""The report has the numbers of stored runs, beside the paper's, and says what was not run."""

import json
import re
from html import unescape
from pathlib import Path

import pytest
import torch
from bundles import bundle_of

from uma.checkpoint.contract import Contract
from uma.checkpoint.folder import write_bundle
from uma.checkpoint.prompt import Prompt, save_prompt
from uma.cli import main
from uma.model.config import tiny
from uma.types import InputError
from uma_train.evaluation.outcomes import CLASSES
from uma_train.evaluation.report.command import report
from uma_train.evaluation.report.paper import FIGURES, TASKS
from uma_train.evaluation.report.placing import place
from uma_train.evaluation.report.reading import files, read


def row(success: int, episodes: int = 100, policy: str = "uma", **failures: int) -> dict:
    counts = dict.fromkeys(CLASSES, 0) | failures
    return {"policy": policy, "episodes": episodes, "success": success, "low": 0.1, "high": 0.9, **counts}


def write(path: Path, content: dict) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def checkpoint(path: Path, scale: float = 1.0, **changes) -> str:
    """A bundle whose record has a training run; ``scale`` makes its weights, and so its id, its own."""
    run = {"data": ["data/primitives"], "without": [], "preset": "small", "objective": {"contrastive_weight": 0.1}}
    model = bundle_of(tiny()).model
    with torch.no_grad():
        next(model.parameters()).mul_(scale)
    training = {"config": run | changes, "episodes": changes.get("episodes", 100), "step": 5}
    write_bundle(path, "uma", model, Contract(), training=training, card="")
    return str(path)


def benchmark(folder: Path, bundle: str, task: str, *rows: dict, **settings) -> Path:
    return write(folder / "result.json", {"config": {"task": task, "checkpoint": bundle, **settings}, "rows": [*rows]})


@pytest.fixture
def runs(tmp_path) -> Path:
    """Zero-shot runs of all tasks, one without simulation, errors, an ablation, a sweep and a prompt."""
    full, bare = (
        checkpoint(tmp_path / "full"),
        checkpoint(tmp_path / "bare", 2.0, without=["sim"], data=["data/hoi4d"]),
    )
    for task, wins in zip(TASKS, (80, 62, 71), strict=True):
        benchmark(
            tmp_path / "runs" / task, full, task, row(wins, no_grasp=4, lost=96 - wins), row(3, policy="hold_still")
        )
    benchmark(tmp_path / "runs/bare", bare, "insertion", row(13, no_grasp=87))
    modes = {"dynamics, keypoints given": {"motion_mse_m2": 0.00123}}
    write(
        tmp_path / "runs/eval.json", {"config": {"checkpoint": full, "keypoints": 16, "windows": 256}, "modes": modes}
    )
    rows = [
        {"variant": name, "closed_loop": {t: row(wins) for t in TASKS[:2]}}
        for name, wins in (("uma", 55), ("dense_attention", 44))
    ]
    write(tmp_path / "runs/ablation/result.json", {"config": {}, "rows": rows})
    benchmark(tmp_path / "runs/ablation/uma/insertion", full, "insertion", row(99, 1000))
    write(tmp_path / "runs/sweep.d/sweep.json", {"rows": [{"what": "delay", "value": "67 ms", **row(37)}]})
    benchmark(tmp_path / "runs/sweep.d/delay_1", full, "insertion", row(98, 1000))
    for task in TASKS:
        training = {"config": {"adaptation": {"action_weight": 0.0}}}
        save_prompt(tmp_path / f"{task}.safetensors", Prompt(torch.zeros(4, 32), "x", task, training))
        prompt = str(tmp_path / f"{task}.safetensors")
        benchmark(tmp_path / "runs/prompt" / task, full, task, row(30, policy="uma_prompt"), prompt=prompt)
    return tmp_path / "runs"


def placed(folder: Path):
    return place(record for path in files((str(folder),)) for record in read(path))


def test_numbers_stand_at_their_places(runs):
    cells = placed(runs).cells
    assert {k: round(m.value, 3) for k, m in cells.items() if not k.startswith(("failures", "dynamics"))} == {
        "zero_shot/uma/insertion": 80,
        "zero_shot/uma/sweeping": 62,
        "zero_shot/uma/folding": 71,
        "zero_shot/uma/average": 71,
        "zero_shot/uma_without_sim/insertion": 13,
        "ablation/uma": 55,
        "ablation/dense_attention": 44,
        "scaling/small/100": 71,
        "few_shot/uma/motion": 30,
    }
    assert cells["dynamics/uma"].value == 0.00123 and "16 keypoints" in cells["dynamics/uma"].about
    assert cells["failures/grasping"].value == pytest.approx(100 * 12 / (12 + 16 + 34 + 25))
    assert cells["failures/execution"].value + cells["failures/grasping"].value == pytest.approx(100)
    assert cells["zero_shot/uma/average"].count == 300 and cells["zero_shot/uma/average"].low < 71


def test_an_average_lacks_tasks_and_says_so(runs):
    found = placed(runs)
    assert found.partial == {"zero_shot/uma_without_sim/average": "1 of 3 tasks run"}
    assert "zero_shot/uma_without_sim/average" not in found.cells


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"depth_noise": 2.0}, "depth_noise 2.0"),
        ({"max_steps": 30}, "max_steps 30"),
        ({"sketch": "sloppy"}, "sketch sloppy"),
        ({"task": "intents/lift"}, "not a task of the paper"),
        ({"checkpoint": "nowhere"}, "its checkpoint is missing"),
    ],
)
def test_an_unusual_run_stands_in_no_figure(tmp_path, change, reason):
    settings = {"task": "insertion", "checkpoint": checkpoint(tmp_path / "b"), **change}
    write(tmp_path / "r/result.json", {"config": settings, "rows": [row(50)]})
    found = placed(tmp_path / "r")
    assert not found.cells and [(success, why) for _, success, why in found.others] == [("50/100", reason)]


def test_training_on_the_task_is_not_zero_shot(tmp_path):
    bundle = checkpoint(tmp_path / "b", data=["data/insertion"])
    for task in TASKS:
        benchmark(tmp_path / "r" / task, bundle, task, row(90))
    found = placed(tmp_path / "r")
    assert "zero_shot/uma/insertion" not in found.cells and found.cells["zero_shot/uma/folding"].value == 90
    assert found.others[0][2].startswith("not zero-shot")


def test_a_continued_checkpoint_is_not_without_what_it_left_out(tmp_path):
    folders = [f"data/{i}" for i in range(8)]
    bundle = checkpoint(tmp_path / "b", init="models/x", data=folders, objective={"contrastive_weight": 0.0})
    for task in TASKS:
        benchmark(tmp_path / "r" / task, bundle, task, row(70))
    cells = placed(tmp_path / "r").cells
    assert {key for key in cells if not key.startswith("failures")} == {
        *(f"zero_shot/uma/{task}" for task in (*TASKS, "average"))
    }
    about = cells["zero_shot/uma/average"].about
    assert about.endswith("data/0 data/1 data/2 data/3 and 4 more, continued from models/x")


def test_runs_in_linked_folders_are_read_once(runs, tmp_path):
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "there").symlink_to(runs, target_is_directory=True)
    (runs / "above").symlink_to(linked, target_is_directory=True)
    assert {p.resolve() for p in files((str(linked),))} == {p.resolve() for p in files((str(runs),))}
    assert len(files((str(linked),))) == len(files((str(runs),)))


def test_tasks_of_several_checkpoints_are_not_averaged(tmp_path):
    first, second = checkpoint(tmp_path / "a"), checkpoint(tmp_path / "b", 3.0)
    benchmark(tmp_path / "r/1", first, "insertion", row(10))
    benchmark(tmp_path / "r/2", first, "sweeping", row(20))
    benchmark(tmp_path / "r/3", second, "folding", row(30))
    found = placed(tmp_path / "r")
    assert {k for k in found.cells if k.startswith("zero")} == {"zero_shot/uma/insertion", "zero_shot/uma/sweeping"}
    assert "stands in the figure" in found.others[0][2]


def test_shares_of_the_data_are_of_the_largest_run(tmp_path):
    for n, (episodes, wins) in enumerate(((1000, 60), (500, 50), (100, 20))):
        bundle = checkpoint(tmp_path / f"b{n}", 1.0 + n, preset="paper_150m", episodes=episodes)
        for task in TASKS:
            benchmark(tmp_path / "r" / f"{n}{task}", bundle, task, row(wins))
    values = {k: m.value for k, m in placed(tmp_path / "r").cells.items() if k.startswith("scaling")}
    assert values == {
        "scaling/paper_150m/100": 60,
        "scaling/paper_150m/50": 50,
        "scaling/paper_150m/100 episodes": 20,
    }


def test_a_comparison_fills_the_baselines(tmp_path):
    def system(name: str, wins: int, mse: float | None) -> dict:
        dynamics = None if mse is None else {"motion_mse_m2": mse}
        record = {"system": name, "checkpoint_id": name, "without": [], "data": ["d"], "preset": "tiny", "episodes": 3}
        return record | {"closed_loop": {t: row(wins) for t in TASKS}, "errors": {"dynamics": dynamics}}

    config = {"windows": 64, "max_steps": 0, "train": {"objective": {"contrastive_weight": 0.1}}}
    systems = [
        system("uma", 70, 0.002),
        system("uva", 31, None),
        system("uwm", 33, None),
        system("point_flow", 5, 0.004),
    ]
    write(tmp_path / "r/compare.json", {"config": config, "systems": systems})
    benchmark(tmp_path / "r/uma/insertion_x", checkpoint(tmp_path / "b"), "insertion", row(1, 1000))
    found = placed(tmp_path / "r")
    values = {k: m.value for k, m in found.cells.items()}
    assert values["dynamics/uma"] == 0.002 and values["dynamics/point_flow"] == 0.004
    assert values["zero_shot/uva/average"] == 31 and values["zero_shot/uma/insertion"] == 70


def test_errors_of_several_scenes_and_of_a_lost_checkpoint(tmp_path):
    bundle, modes = checkpoint(tmp_path / "b"), {"dynamics, keypoints given": {"motion_mse_m2": 0.5}}

    def errors(where: str, windows: int) -> dict:
        return {"config": {"checkpoint": where, "keypoints": 16, "windows": windows}, "modes": modes}

    results = {bundle: {"carry": errors(bundle, 96), "put": errors(bundle, 32)}, "gone": {"put": errors("gone", 999)}}
    write(tmp_path / "r/dynamics.json", {"results": results})
    found = placed(tmp_path / "r")
    assert found.cells["dynamics/uma"].count == 96 and "b on carry, 16 keypoints" in found.cells["dynamics/uma"].about
    assert found.others == [(f"{tmp_path}/r/dynamics.json: dynamics", "0.5 m²", "its checkpoint is missing")]


def test_the_pages_have_both_numbers_and_what_was_not_run(runs, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["report", "--runs", str(runs), "--out", str(out)]) == 0
    assert "report.html, report.pdf" in capsys.readouterr().out
    pdf, text = (out / "report.pdf").read_bytes(), (out / "report.html").read_text()
    assert pdf.startswith(b"%PDF") and len(re.findall(rb"/Type /Page\b", pdf)) == 1
    assert sorted(p.name for p in out.iterdir()) == ["report.html", "report.pdf"]
    words = " ".join(unescape(re.sub(r"<[^>]*>", " ", text)).split())
    for figure in FIGURES:
        assert figure.title in words
        assert all(f"{c.paper:g}" in words for c in figure.cells if c.paper is not None)
    assert "UMA 85 80.0 (71 to 87, n = 100)" in words and "0.00123 (n = 256)" in words
    assert "π0.5 45 not run" in words and "66.7 not run (1 of 3 tasks run)" in words
    assert "37/100 a point of a sweep" in words and "3/100 a control" in words


def test_without_runs_nothing_but_the_paper_is_shown(tmp_path):
    (tmp_path / "empty").mkdir()
    assert not report((str(tmp_path / "empty"),), tmp_path / "out").cells
    text = (tmp_path / "out/report.html").read_text()
    assert text.count("not run") == sum(len(f.cells) for f in FIGURES)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("result.json", "{", "not readable as JSON"),
        ("compare.json", '{"systems": []}', "not a stored result: KeyError 'config'"),
        ("eval.json", '{"config": {"checkpoint": "x"}}', "not a stored result"),
        ("sweep.json", '{"rows": [{"what": "delay"}]}', "not a stored result"),
        ("result.json", "[]", "not a stored result"),
    ],
)
def test_a_broken_result_is_named_and_nothing_is_written(tmp_path, name, content, reason):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / name).write_text(content)
    with pytest.raises(InputError, match=f"{name}: {reason}"):
        report((str(tmp_path / "r"),), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        report((str(tmp_path / "nowhere"),), tmp_path / "out")
