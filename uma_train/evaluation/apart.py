"""Training runs in processes of their own, so that the runs of one study share no state."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from types import FrameType

from uma_train.training.config import TrainConfig
from uma_train.training.loop import changed_flags


def train_apart(config: TrainConfig, processes: int) -> None:
    """Run or resume ``uma train`` in ``processes`` processes.

    Raises:
        ValueError: the run failed.
    """
    launch = (
        ["-m", "uma.cli"]
        if processes == 1
        else ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m", "uma.cli"]
    )
    flags = [word for flag in changed_flags(config, TrainConfig()) for word in flag.split(" ")]
    code = run([sys.executable, *launch, "train", *flags])
    if code:
        raise ValueError(f"training {config.out}: exit code {code}, must be 0")


def run(command: Sequence[str]) -> int:
    """Run a command in a process that does not outlive this one's SIGTERM or Ctrl-C; return its exit code.

    It is called in the main thread.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    child = subprocess.Popen(command, env={"OMP_NUM_THREADS": "1", **os.environ})
    try:
        return child.wait()
    finally:
        if child.poll() is None:
            child.terminate()
            child.wait()
        signal.signal(signal.SIGTERM, before)
