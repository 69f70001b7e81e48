"""Training runs in processes of their own, so that the runs of one study share no state."""

from __future__ import annotations

import os
import subprocess
import sys

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
    done = subprocess.run([sys.executable, *launch, "train", *flags], env={"OMP_NUM_THREADS": "1", **os.environ})
    if done.returncode:
        raise ValueError(f"training {config.out}: exit code {done.returncode}, must be 0")
