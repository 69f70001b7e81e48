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
from uma.model.inputs import Normalization
from uma_train.training.config import TrainConfig
from uma_train.training.distributed import Processes
from uma_train.training.trainer import Trainer

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]

# Single precision, so that equal means equal, and the contrastive term on.
COMMON = [
    "--preset",
    "tiny",
    "--batch-size",
    "16",
    "--micro-batch",
    "4",
    "--warmup",
    "1",
    "--lr",
    "5e-3",
    "--no-bf16",
    "--threads",
    "1",
    "--validation-episodes",
    "1",
    "--validation-windows",
    "4",
    "--objective.contrastive-weight",
    "0.1",
    "--log-every",
    "5",
    "--no-tensorboard",
    "--device",
    "cpu",
]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return episode_folder(tmp_path_factory.mktemp("data") / "d")


def command(data: Path, out: Path, *more: str, processes: int = 1) -> list[str]:
    launch = [sys.executable, "-m", "uma.cli"]
    if processes > 1:
        launch = [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            f"--nproc_per_node={processes}",
            "-m",
            "uma.cli",
        ]
    return [*launch, "train", "--data", str(data), "--out", str(out), *COMMON, *more]


def run(*args, **kwargs) -> Path:
    done = subprocess.run(
        command(*args, **kwargs),
        capture_output=True,
        text=True,
        timeout=250,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    return args[1]


def curve(out: Path) -> list[dict]:
    return [row for row in map(json.loads, (out / "log.jsonl").read_text().splitlines()) if "total" in row]


ONCE = ("--steps", "20", "--validate-every", "20", "--save-every", "20")


@pytest.fixture(scope="module")
def one(data, tmp_path_factory):
    return run(data, tmp_path_factory.mktemp("one"), *ONCE)


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(c) for c in listed.read_text().split()] if listed.exists() else []


def killed_at(step: int, data: Path, out: Path, *more: str, processes: int = 1) -> None:
    """Begin a run, and SIGKILL all of it once it has saved ``step`` or a later one."""
    process = subprocess.Popen(
        command(data, out, *more, processes=processes),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        end = time.monotonic() + 200
        while time.monotonic() < end and not (
            (out / "state.pt").exists() and torch.load(out / "state.pt", weights_only=True)["step"] >= step
        ):
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.02)
    finally:
        for pid in children(process.pid):  # torchrun gives each of its processes a session of its own
            os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def one_by_muon(data, tmp_path_factory):
    return run(data, tmp_path_factory.mktemp("muon"), *ONCE, "--optimizer", "muon")


@pytest.mark.parametrize("sharding", ["replicate", "shard"])
def test_two_processes_give_the_loss_curve_of_one(data, one_by_muon, tmp_path, sharding):
    """With both optimisers; the sharded run after it was killed and begun again."""
    one, args = (
        one_by_muon,
        ("--steps", "20", "--validate-every", "20", "--save-every", "5", "--optimizer", "muon", "--sharding", sharding),
    )
    if sharding == "shard":
        killed_at(5, data, tmp_path / "two", *args, processes=2)
        state = torch.load(tmp_path / "two/state.pt", weights_only=True)
        assert 5 <= state["step"] < 20 and not any(type(v).__name__ == "DTensor" for v in state["model"].values())
    two = run(data, tmp_path / "two", *args, processes=2)
    rows = list(zip(curve(one), curve(two), strict=True))
    assert [a["step"] for a, _ in rows] == [5, 10, 15, 20]
    for a, b in rows:
        for key in ("total", "action", "motion", "contrastive", "gradient_norm"):
            assert b[key] == pytest.approx(a[key], rel=1e-3), (a["step"], key)
    assert rows[-1][0]["total"] < 0.97 * rows[0][0]["total"]  # a curve that falls, not a constant
    a, b = (load_bundle(out / "bundle").model.state_dict() for out in (one, two))
    apart, size = (sum(float((v**2).sum()) for v in values) ** 0.5 for values in ((a[k] - b[k] for k in a), a.values()))
    assert (
        apart < 1e-3 * size
    )  # Adam makes much of the rounding of gradients near zero, so weights are equal as a whole only


def test_sigkilled_run_ends_bit_for_bit_as_a_whole_one(data, one, tmp_path):
    """Twice killed, at whatever step it then was."""
    args, cut = ("--steps", "20", "--validate-every", "20", "--save-every", "3"), tmp_path / "cut"
    for step in (3, 9):
        killed_at(step, data, cut, *args)
        assert torch.load(cut / "state.pt", weights_only=True)["step"] < 20
    run(data, cut, *args)
    a, b = load_bundle(one / "bundle"), load_bundle(cut / "bundle")
    assert all(
        torch.equal(x, y) for x, y in zip(a.model.state_dict().values(), b.model.state_dict().values(), strict=True)
    )
    steps = [row["step"] for row in curve(cut)]
    assert steps == sorted(set(steps)), "a step was logged twice"


def test_a_batch_that_cannot_be_shared_is_refused():
    config, two = TrainConfig(data=("d",), preset="tiny", batch_size=16, micro_batch=16), Processes()
    two.count = 2
    with pytest.raises(ValueError, match="batch_size 16 / micro_batch 16 = 1: must be a multiple of the 2 processes"):
        Trainer(config, None, Normalization(), two)
