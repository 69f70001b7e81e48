"""`uma benchmark --ros`: scenes through the node graph, one after the other."""

import json
import time
from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest
import rclpy
from harness import ROOT, fake_command
from uma_ros.msg import PolicyStatus

from uma.control.session import State
from uma.types import InputError, ReferenceMotion
from uma_ros.commands.benchmark import ACTIONS, LASTS, LIBRARY_ONLY, LiveBenchmarkOptions, graph, main
from uma_ros.commands.demo import Watcher, drive
from uma_ros.commands.reference import load_reference
from uma_ros.deployment.graph import TASKS, Options
from uma_ros.messages.convert import reference_to, stamp_from
from uma_sim.planning.sketches import of_scene
from uma_sim.tasks import make_station
from uma_train.evaluation.benchmark_config import BenchmarkConfig


def test_scenes_are_judged_kept_and_not_run_twice(tmp_path, capsys):
    arguments = ["--config", str(ROOT / "config/parameters.yaml"), "--limit", "1.0", "--out", str(tmp_path)]
    assert main([*arguments, "--episodes", "1"], fake_command) == 0
    (row,) = [json.loads(line) for line in (tmp_path / "episodes.jsonl").read_text().splitlines()]
    assert row["seed"] == 1_000_000 and row["verdict"] == "in_progress" and 1.0 <= row["seconds"] < 2.0
    sketched, given = (
        of_scene(make_station(1_000_000, render=False)),
        load_reference(tmp_path / "scene_1000000/reference.yaml"),
    )
    assert np.allclose(sketched.waypoints, given.waypoints, atol=1e-4), "the library's benchmark gives the same"
    assert len(row["chunk_ms"]) > 1 and min(row["chunk_ms"]) > 0
    assert len(row["chunk_age_ms"]) > 1 and 0 <= min(row["chunk_age_ms"]) < 1000
    told = capsys.readouterr().out
    assert "insertion through the node graph: 0/1" in told and "latency of a chunk: p50" in told
    asked = json.loads((tmp_path / "config.json").read_text())
    assert main([*arguments, "--episodes", "1"], lambda spec: pytest.fail(f"{spec.name} was started again")) == 0
    with pytest.raises(InputError, match="contains a run with other arguments"):
        main([*arguments, "--task", "folding"], fake_command)
    assert asked["linger"] == 15
    asked["linger"] = 0  # a run that was judged by another rule
    (tmp_path / "config.json").write_text(json.dumps(asked))
    with pytest.raises(InputError, match="contains a run with other arguments"):
        main([*arguments, "--episodes", "1"], fake_command)


@pytest.mark.parametrize("task", TASKS)
def test_a_task_has_the_time_that_the_library_gives_it(task, tmp_path, monkeypatch):
    station, limits = make_station(0, task, render=False), []
    assert (ACTIONS[task], LASTS[task]) == (station.task.max_steps, station.task.lasts)
    station.close()
    monkeypatch.setattr(
        "uma_ros.commands.benchmark.episode",
        lambda nodes, options, limit, *others: limits.append(limit) or {"seed": options.seed, "verdict": "success"},
    )
    arguments = ["--task", task, "--config", str(ROOT / "config/parameters.yaml"), "--episodes", "1"]
    assert (
        main([*arguments, "--out", str(tmp_path / "default")])
        == main([*arguments, "--limit", "3", "--out", str(tmp_path / "given")])
        == 0
    )
    assert limits == [pytest.approx(ACTIONS[task] / 15), 3.0]


def test_options_without_effect_are_refused_by_name(tmp_path):
    library = {field.name for field in fields(BenchmarkConfig)}
    assert set(LIBRARY_ONLY) == library - {field.name for field in fields(LiveBenchmarkOptions)}
    for words, name in (
        (["--sketch", "careful"], "sketch"),
        (["--held-out"], "held-out"),
        (["--holders=deep"], "holders"),
    ):
        with pytest.raises(InputError, match=f"--{name}: must not be given with --ros"):
            main([*words, "--out", str(tmp_path)])


def test_a_node_that_dies_is_no_failure_of_the_policy(tmp_path, capsys):
    arguments = [
        "--config",
        str(ROOT / "config/parameters.yaml"),
        "--limit",
        "1.0",
        "--out",
        str(tmp_path),
        "--episodes",
        "1",
    ]
    dead = lambda spec: ["false"] if spec.name == "extrinsics" else fake_command(spec)  # noqa: E731
    assert main(arguments, dead) == 1
    assert "stack: node extrinsics died with code 1" in capsys.readouterr().out


def test_the_simulated_clock_can_go_slower(tmp_path):
    station, *others = graph(Options(), "sweeping", 0.4)
    assert station.name == "station" and station.parameters["real_time_factor"] == 0.4
    assert not any("real_time_factor" in spec.parameters for spec in others)
    arguments = [
        "--config",
        str(ROOT / "config/parameters.yaml"),
        "--limit",
        "1.0",
        "--out",
        str(tmp_path),
        "--episodes",
        "1",
    ]
    with pytest.raises(InputError, match="real_time_factor: 0.0, must be 0.05 to 10"):
        main([*arguments, "--real-time-factor", "0"], fake_command)
    asked = {}
    began = time.monotonic()
    assert (
        main(
            [*arguments, "--real-time-factor", "0.1"],
            lambda spec: asked.update({spec.name: spec.parameters}) or fake_command(spec),
        )
        == 0
    )
    assert time.monotonic() - began > 1.0 / 0.1
    assert asked["station"]["real_time_factor"] == 0.1, "a slow start of the nodes alone may take as long"


@pytest.mark.parametrize(
    ("linger", "until", "elapsed", "verdict"),
    [
        (0.0, 9, 3.0, "success"),
        (2.0, 9, 8.0, "success"),
        (5.0, 9, 10.0, "in_progress"),
        (4.0, 99, 10.0, "success"),
        (5.0, 99, 10.0, "in_progress"),
    ],
)
def test_a_success_ends_the_episode_once_it_has_lasted(monkeypatch, tmp_path, linger, until, elapsed, verdict):
    told = {3: "success", 5: "in_progress", 6: "success", until: "in_progress"}  # at these seconds
    stopped = []
    watcher = SimpleNamespace(
        node=None,
        refusal="",
        status={n: SimpleNamespace(state=State.RUNNING, reason="") for n in ("policy", "controller")},
        task_topic="/uma/reference_motion",
        reference=None,
        active=object(),
        task_has_subscriber=lambda: True,
        points=[],
        send_task=lambda: None,
        chunk_age_ms=[1.0],
        time=100.0,
        outcome={"verdict": "in_progress"},
        line=lambda began: "",
        stop=lambda: stopped.append(watcher.time),
    )
    watcher.reference = reference_to(
        ReferenceMotion((np.zeros((2, 3)) + [[0.4, 0, 0], [0.4, 0, 0.1]],), frame="fr3_link0"), stamp_from(0.0)
    )

    def spin_once(node, timeout_sec):
        if stopped:
            time.sleep(timeout_sec)
            return
        watcher.time += 1.0
        watcher.outcome = {"verdict": told.get(round(watcher.time - 100), watcher.outcome["verdict"])}

    monkeypatch.setattr(rclpy, "spin_once", spin_once)
    supervisor = SimpleNamespace(dead=dict, log_dir=tmp_path)
    found = drive(supervisor, watcher, tmp_path, 10.0, lambda line: None, recorded=False, linger=linger)
    assert (found[0], found[1]["verdict"]) == (elapsed, verdict)
    assert stopped == [100.0 + elapsed], "an operator stops the robot then"


def test_a_message_that_came_late_is_no_answer_to_the_task():
    watcher = SimpleNamespace(status={}, refusal="", latency_ms={}, task_topic="/uma/reference_motion")
    for count, words in enumerate(
        (
            "",
            "/joint_states refused: header.stamp: 0.33 s old, limit 0.3 s",
            "/uma/reference_motion refused: keypoints: 0, must be 1 to 16",
        )
    ):
        assert watcher.refusal == ""
        Watcher._on_status(watcher, PolicyStatus(node="policy", num_refused=count, refused=words))
    assert watcher.refusal == words
