"""`uma benchmark --ros`: scenes through the node graph, one after the other."""

import json
import time

import pytest
from harness import ROOT, fake_command

from uma.types import InputError
from uma_ros.graph import Options
from uma_ros.live_benchmark import graph, main


def test_scenes_are_judged_kept_and_not_run_twice(tmp_path, capsys):
    arguments = ["--config", str(ROOT / "config/insertion.yaml"), "--limit", "1.0", "--out", str(tmp_path)]
    assert main([*arguments, "--episodes", "1"], fake_command) == 0
    (row,) = [json.loads(line) for line in (tmp_path / "episodes.jsonl").read_text().splitlines()]
    assert row["seed"] == 1_000_000 and row["verdict"] == "in_progress" and 1.0 <= row["seconds"] < 2.0
    assert len(row["chunk_ms"]) > 1 and min(row["chunk_ms"]) > 0
    assert len(row["chunk_age_ms"]) > 1 and 0 <= min(row["chunk_age_ms"]) < 1000
    told = capsys.readouterr().out
    assert "insertion through the node graph: 0/1" in told and "a chunk took: p50" in told
    asked = json.loads((tmp_path / "config.json").read_text())
    del asked["real_time_factor"]  # as in a run of before there was that argument
    (tmp_path / "config.json").write_text(json.dumps(asked))
    assert main([*arguments, "--episodes", "1"], lambda spec: pytest.fail(f"{spec.name} was started again")) == 0
    with pytest.raises(InputError, match="holds a run with other arguments"):
        main([*arguments, "--task", "folding"], fake_command)


def test_a_node_that_dies_is_no_failure_of_the_policy(tmp_path, capsys):
    arguments = ["--config", str(ROOT / "config/insertion.yaml"), "--limit", "1.0", "--out", str(tmp_path), "--episodes", "1"]
    dead = lambda spec: ["false"] if spec.name == "extrinsics" else fake_command(spec)  # noqa: E731
    assert main(arguments, dead) == 1
    assert "stack: node extrinsics died with code 1" in capsys.readouterr().out


def test_the_simulated_clock_can_go_slower(tmp_path):
    station, *others = graph(Options(), "sweeping", 0.4)
    assert station.name == "station" and station.parameters["real_time_factor"] == 0.4
    assert not any("real_time_factor" in spec.parameters for spec in others)
    arguments = ["--config", str(ROOT / "config/insertion.yaml"), "--limit", "1.0", "--out", str(tmp_path), "--episodes", "1"]
    with pytest.raises(InputError, match=r"real-time-factor 0: must lie in \[0.05, 10\]"):
        main([*arguments, "--real-time-factor", "0"], fake_command)
    asked = {}
    began = time.monotonic()
    assert main([*arguments, "--real-time-factor", "0.1"], lambda spec: asked.update({spec.name: spec.parameters}) or fake_command(spec)) == 0
    assert time.monotonic() - began > 1.0 / 0.1
    assert asked["station"]["real_time_factor"] == 0.1, "a slow start of the nodes alone may take as long"
