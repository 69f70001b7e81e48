"""Functions for tests of `uma_train.jobs`; what an item does is its "do"."""

import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from uma.types import InputError
from uma_train.jobs.recorded import Output


def work(item, state):
    """Square the item's number; leave a line in the log that the item names."""
    if "log" in item:
        with open(item["log"], "a") as f:
            f.write(f"{item['id']} {os.getpid()}\n")
    do = item.get("do", "")
    if do == "exit":
        os._exit(3)
    if do == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if do == "raise":
        raise ValueError("a poisoned input")
    if do == "refuse":
        raise InputError("depth: 8 bit, must be 16")
    if do == "none":
        return None
    if do == "sleep":
        time.sleep(60.0)
    if do == "nap":
        time.sleep(0.15)
    square = {"square": np.array(item.get("n", 0) ** 2), "state": np.array(state or 0)}
    return Output(square, {"n": item.get("n", 0)})


def setup_seven():
    return 7


def setup_that_fails():
    raise FileNotFoundError("weights.safetensors")


def write_text(path: Path, value) -> None:
    path.write_text(str(value["square"]))


def plain(item, state):
    return {"square": np.array(item["n"] ** 2)}


if __name__ == "__main__":
    from uma_train.jobs.mapping import map

    out, log, count, do = sys.argv[1:5]
    map(work, [{"id": f"i{n:03d}", "n": n, "log": log, "do": do} for n in range(int(count))], out, "k", workers=2)
