"""The same run by one process, by two that replicate the model, and by two that shard it; and after a SIGKILL."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from episodes import episode_folder

from uma.checkpoint.bundle import load_bundle

pytestmark = pytest.mark.timeout(900)

# Single precision, so that equal means equal, and the contrastive term on.
COMMON = [
    "--preset", "tiny", "--batch-size", "16", "--micro-batch", "4", "--warmup", "1", "--lr", "5e-3", "--no-bf16", "--threads", "1", "--validation-episodes", "1", "--validation-windows", "4",
    "--objective.contrastive-weight", "0.1", "--log-every", "5", "--no-tensorboard", "--device", "cpu",
]  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return episode_folder(tmp_path_factory.mktemp("data") / "d")


def command(data: Path, out: Path, *more: str, processes: int = 1) -> list[str]:
    launch = [sys.executable, "-m", "uma.cli"]
    if processes > 1:
        launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m", "uma.cli"]
    return [*launch, "train", "--data", str(data), "--out", str(out), *COMMON, *more]


def run(*args, **kwargs) -> Path:
    done = subprocess.run(command(*args, **kwargs), capture_output=True, text=True, timeout=250, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    return args[1]


def curve(out: Path) -> list[dict]:
    return [row for row in map(json.loads, (out / "log.jsonl").read_text().splitlines()) if "total" in row]


@pytest.fixture(scope="module")
def one(data, tmp_path_factory):
    return run(data, tmp_path_factory.mktemp("one"), "--steps", "20", "--validate-every", "20", "--save-every", "20")


@pytest.mark.parametrize("sharding", ["replicate", "shard"])
def test_two_processes_give_the_loss_curve_of_one(data, one, tmp_path, sharding):
    two = run(data, tmp_path / "two", "--steps", "20", "--validate-every", "20", "--save-every", "20", "--sharding", sharding, processes=2)
    rows = list(zip(curve(one), curve(two), strict=True))
    assert [a["step"] for a, _ in rows] == [5, 10, 15, 20]
    for a, b in rows:
        for key in ("total", "action", "motion", "contrastive", "gradient_norm"):
            assert b[key] == pytest.approx(a[key], rel=1e-3), (a["step"], key)
    assert rows[-1][0]["total"] < 0.97 * rows[0][0]["total"]  # a curve that falls, not a constant
    a, b = (load_bundle(out / "bundle").model.state_dict() for out in (one, two))
    apart, size = (sum(float((v**2).sum()) for v in values) ** 0.5 for values in ((a[k] - b[k] for k in a), a.values()))
    assert apart < 1e-3 * size  # Adam makes much of the rounding of gradients near zero, so weights are equal as a whole only


def test_a_sharded_run_resumes(data, tmp_path):
    args = (data, tmp_path / "r", "--validate-every", "100", "--save-every", "5", "--sharding", "shard")
    run(*args, "--steps", "5", processes=2)
    state = torch.load(tmp_path / "r" / "state.pt", weights_only=True)
    assert state["step"] == 5 and not any(type(v).__name__ == "DTensor" for v in state["model"].values())
    # The number of steps is part of the run, so the stored one is changed for a longer run to go on.
    config = json.loads(state["config"])
    config["steps"] = 10
    torch.save({**state, "config": json.dumps(config)}, tmp_path / "r" / "state.pt")
    run(*args, "--steps", "10", processes=2)
    assert torch.load(tmp_path / "r" / "state.pt", weights_only=True)["step"] == 10


def test_a_run_killed_by_sigkill_ends_bit_for_bit_as_one_that_was_not(data, tmp_path):
    """Twice killed, at whatever step it then was."""
    args = ("--steps", "36", "--validate-every", "36", "--save-every", "4")
    whole = run(data, tmp_path / "whole", *args)
    cut = tmp_path / "cut"
    for least in (4, 16):
        process = subprocess.Popen(command(data, cut, *args), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
        end = time.monotonic() + 200
        while time.monotonic() < end:
            state = cut / "state.pt"
            if state.exists() and torch.load(state, weights_only=True)["step"] >= least:
                break
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert torch.load(cut / "state.pt", weights_only=True)["step"] < 36
    run(data, cut, *args)
    a, b = load_bundle(whole / "bundle"), load_bundle(cut / "bundle")
    assert a.checkpoint_id == b.checkpoint_id
    assert all(torch.equal(x, y) for x, y in zip(a.model.state_dict().values(), b.model.state_dict().values(), strict=True))
    steps = [row["step"] for row in curve(cut)]
    assert steps == sorted(set(steps)), "a step was logged twice"


def test_a_batch_that_cannot_be_shared_is_refused(data, tmp_path):
    done = subprocess.run(command(data, tmp_path / "x", "--micro-batch", "16", processes=2), capture_output=True, text=True, timeout=250, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode != 0 and "must be a multiple of the 2 processes" in done.stderr
