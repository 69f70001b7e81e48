"""`uma_train.jobs`: receipts, resumption, poisoned inputs, killed and slow workers, slices, and two runs at once."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import job_functions
import numpy as np
import pytest
from job_functions import setup_seven, setup_that_fails, work, write_text

from uma.settings import from_words
from uma.types import InputError
from uma_train.jobs.mapping import exit_code, map, parsed_slice
from uma_train.jobs.options import JobOptions
from uma_train.jobs.rays import start_ray
from uma_train.jobs.receipts import job_key, locked

ROOT = Path(__file__).resolve().parents[4]


def items(count: int, log: Path | None = None, **do: str) -> list[dict]:
    """Items i0, i1, ...; ``i3="raise"`` poisons one."""
    more = {} if log is None else {"log": str(log)}
    return [{"id": f"i{n}", "n": n, "do": do.get(f"i{n}", ""), **more} for n in range(count)]


def receipt(out: Path, name: str) -> dict:
    return json.loads((out / f"{name}.json").read_text())


def calls(log: Path) -> list[str]:
    return sorted(line.split()[0] for line in log.read_text().splitlines()) if log.exists() else []


def test_outputs_receipts_and_card(tmp_path):
    counts = map(work, items(5), tmp_path, "k", workers=1, setup=setup_seven, card={"licence": "MIT"})
    assert counts == {"ok": 5, "failed": 0, "died": 0, "refused": 0, "left": 0, "already": 0, "elsewhere": 0}
    with np.load(tmp_path / "i4.npz") as z:
        assert (z["square"], z["state"]) == (16, 7)
    r = receipt(tmp_path, "i4")
    assert (r["id"], r["result"], r["notes"]) == ("i4", "ok", {"n": 4}) and r["host"] and r["seconds"] >= 0
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["counts"]["ok"] == 5 and card["licence"] == "MIT" and exit_code(counts) == 0
    assert not list(tmp_path.glob("*.part"))


def test_poisoned_inputs_and_killed_workers_cost_one_item_each(tmp_path):
    poisoned = {"i1": "raise", "i2": "exit", "i3": "refuse", "i4": "kill", "i5": "none"}
    counts = map(work, items(9, tmp_path / "log", **poisoned), tmp_path / "out", "k")
    assert [counts[r] for r in ("ok", "failed", "died", "refused", "left")] == [4, 2, 2, 1, 0]
    reasons = {name: receipt(tmp_path / "out", name)["reason"] for name in poisoned}
    assert reasons["i1"].startswith("ValueError: a poisoned input (job_functions.py:")
    assert reasons["i2"] == "the worker ended with code 3" and reasons["i4"] == "the worker ended with code -9"
    assert reasons["i3"] == "depth: 8 bit, must be 16" and reasons["i5"]
    assert exit_code(counts) == 1
    (tmp_path / "log").unlink()
    map(work, items(9, tmp_path / "log", **poisoned), tmp_path / "out", "k")
    assert calls(tmp_path / "log") == ["i2", "i4"]  # died: tried again
    (tmp_path / "log").unlink()
    again = map(work, items(9, tmp_path / "log", **poisoned), tmp_path / "out", "k", retry_failed=True)
    assert calls(tmp_path / "log") == ["i1", "i2", "i3", "i4", "i5"] and again["already"] == 4


def test_another_key_item_or_a_lost_output_is_done_again(tmp_path):
    out, log = tmp_path / "out", tmp_path / "log"
    for change, expected in [
        (lambda: ("k", items(3, log)), ["i0", "i1", "i2"]),
        (lambda: ("k", items(3, log)), []),
        (lambda: ((out / "i1.npz").unlink(), "k")[1:] + (items(3, log),), ["i1"]),
        (lambda: ("k", [*items(2, log), {"id": "i2", "n": 9, "log": str(log)}]), ["i2"]),
        (lambda: ("k", [*items(2, log), {"id": "i2", "n": 9, "log": str(log)}]), []),
        (lambda: ("other", items(3, log)), ["i0", "i1", "i2"]),
    ]:
        log.unlink(missing_ok=True)
        key, todo = change()
        map(work, todo, out, key, workers=1)
        assert calls(log) == expected
    (out / "i0.json").write_text("{")  # cut
    log.unlink()
    map(work, items(3, log), out, "other", workers=1)
    assert calls(log) == ["i0"]


def test_the_key_covers_configuration_version_and_files(tmp_path):
    weights = tmp_path / "w"
    weights.write_bytes(b"1")
    first = job_key({"a": 1}, [weights], "1.0")
    assert first == job_key({"a": 1}, [weights], "1.0")
    others = {job_key({"a": 2}, [weights], "1.0"), job_key({"a": 1}, [weights], "1.1"), job_key({"a": 1}, [], "1.0")}
    weights.write_bytes(b"2")
    assert first not in others | {job_key({"a": 1}, [weights], "1.0")} and len(others) == 3


def test_a_slow_worker_is_killed(tmp_path):
    counts = map(work, items(3, i1="sleep"), tmp_path, "k", timeout_s=1.0)
    assert (counts["ok"], counts["died"]) == (2, 1)
    assert receipt(tmp_path, "i1")["reason"] == "more than 1 s" and receipt(tmp_path, "i1")["seconds"] < 30


def test_a_setup_that_fails_stops_the_run(tmp_path, capsys):
    counts = map(work, items(3), tmp_path, "k", workers=1, setup=setup_that_fails)
    assert counts["left"] == 3 and exit_code(counts) == 1
    card = json.loads((tmp_path / "card.json").read_text())
    assert "setup: FileNotFoundError: weights.safetensors" in card["stopped"] and "stopped" in capsys.readouterr().out


def test_slices_are_disjoint_and_complete(tmp_path):
    log = tmp_path / "log"
    for rank in range(3):
        counts = map(work, items(7, log), tmp_path / "out", "k", "slice", 1, slice=f"{rank}/3")
        assert exit_code(counts) == 0 and counts["ok"] == len(range(rank, 7, 3))
    assert calls(log) == [f"i{n}" for n in range(7)]
    assert json.loads((tmp_path / "out" / "card.json").read_text())["counts"]["ok"] == 7


def test_another_format_of_outputs_and_options_of_a_command(tmp_path):
    options = from_words(JobOptions, ["--slice", "1/2", "--executor", "slice", "--workers", "1"], "test")
    options.map(work, items(4), tmp_path, "k", save=write_text, suffix=".txt")
    assert {p.name: p.read_text() for p in tmp_path.glob("*.txt")} == {"i1.txt": "1", "i3.txt": "9"}


def script(tmp_path: Path, count: int, do: str) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'test' / 'support'}"}
    words = [sys.executable, job_functions.__file__, tmp_path / "out", tmp_path / "log", str(count), do]
    return subprocess.Popen(
        words,
        env=environment,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        # A shell starts what runs in the background with SIGINT ignored, and children inherit it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def until(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "too slow"
        time.sleep(0.02)


def test_two_runs_on_one_folder_do_each_item_once(tmp_path):
    runs = [script(tmp_path, 24, "nap") for _ in range(2)]
    assert [run.wait(120) for run in runs] == [0, 0]
    assert calls(tmp_path / "log") == [f"i{n:03d}" for n in range(24)]
    assert len({line.split()[1] for line in (tmp_path / "log").read_text().splitlines()}) > 2  # both took part
    assert not [p for p in (tmp_path / "out").iterdir() if p.name.endswith(".part")]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_run_is_completed_by_the_same_call(tmp_path, end):
    run = script(tmp_path, 16, "nap")
    until(lambda: len(calls(tmp_path / "log")) >= 4)
    os.kill(run.pid, end)
    assert run.wait(60) != 0
    workers = {int(line.split()[1]) for line in (tmp_path / "log").read_text().splitlines()}
    until(lambda: not any(is_running(pid) for pid in workers))
    done = {p.stem for p in (tmp_path / "out").glob("*.npz")}
    assert 0 < len(done) < 16
    (tmp_path / "log").unlink()
    assert script(tmp_path, 16, "nap").wait(120) == 0
    assert len(list((tmp_path / "out").glob("*.npz"))) == 16
    again = set(calls(tmp_path / "log"))
    assert len(again) <= 16 - len(done) + 2 and not any(p.suffix == ".part" for p in (tmp_path / "out").iterdir())


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")")[-1].split()[0] not in "ZX"
    except OSError:
        return False


def test_an_item_of_another_process_is_left_to_it(tmp_path):
    (tmp_path / "out").mkdir()
    with locked(tmp_path / "out", "i1") as is_mine:
        counts = map(work, items(3), tmp_path / "out", "k", workers=1)
    assert is_mine and (counts["ok"], counts["elsewhere"], counts["left"]) == (2, 1, 1) and exit_code(counts) == 0


@pytest.mark.parametrize(
    "bad, words",
    [
        ([{"n": 1}], "item 0: id None, must be"),
        ([{"id": "../a"}], "item 0: id '../a', must be letters"),
        ([{"id": "card"}], "and not 'card'"),
        ([{"id": "a"}, {"id": "a"}], "item 1: id 'a' occurs twice"),
        ([{"id": "a", "path": Path("b")}], "item 0: a: .* must hold JSON values"),
    ],
)
def test_unusable_items_are_refused(tmp_path, bad, words):
    with pytest.raises(InputError, match=words):
        map(work, bad, tmp_path, "k")


@pytest.mark.parametrize("text", ["", "1", "2/2", "-1/2", "a/b", "1/0"])
def test_a_malformed_slice_is_refused(text):
    with pytest.raises(InputError, match="must be RANK/WORLD"):
        parsed_slice(text)


def test_an_unknown_executor_is_refused(tmp_path):
    with pytest.raises(InputError, match="executor: 'slurm', must be local, slice or ray"):
        map(work, items(1), tmp_path, "k", executor="slurm")


def test_more_than_a_fifth_of_failures_is_an_error():
    counts = {"ok": 8, "failed": 1, "died": 1, "refused": 0, "left": 0, "elsewhere": 0}
    assert exit_code(counts) == 0 and exit_code(counts | {"died": 2}) == 1
    assert exit_code(counts | {"ok": 0, "failed": 0, "died": 0, "refused": 9}) == 1 and exit_code(counts | {"left": 1})


@pytest.mark.slow
def test_local_slice_and_ray_give_equal_outputs(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'test' / 'support'}")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    try:
        ray = start_ray(num_cpus=2)
    except InputError as error:  # its own fixed limits are short for a busy machine
        pytest.skip(str(error))
    poisoned = {"i1": "raise", "i2": "exit", "i3": "refuse", "i4": "sleep"}
    options = {"setup": setup_seven, "timeout_s": 3.0}
    try:
        for name, words in {"local": {}, "slice": {"slice": "0/1"}, "ray": {}}.items():
            counts = map(work, items(8, **poisoned), tmp_path / name, "k", name, **options, **words)
            assert [counts[r] for r in ("ok", "failed", "died", "refused")] == [4, 1, 2, 1], name
        log = tmp_path / "log"
        map(work, items(8, **poisoned | {"i4": ""}), tmp_path / "ray", "k", "ray", **options)
        assert not log.exists()
    finally:
        ray.shutdown()
    for n in range(8):
        results = [receipt(tmp_path / name, f"i{n}")["result"] for name in ("local", "slice")]
        assert len(set(results)) == 1
    for n in (0, 5, 6, 7):
        contents = {(tmp_path / name / f"i{n}.npz").read_bytes() for name in ("local", "slice", "ray")}
        assert len(contents) == 1
    assert receipt(tmp_path / "ray", "i2")["reason"].startswith("the worker ended")
    assert receipt(tmp_path / "ray", "i4")["result"] == "ok"  # with another value it was due
