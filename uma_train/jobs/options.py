"""Options of commands that call a function over many items."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uma.settings import setting
from uma_train.jobs.mapping import map
from uma_train.jobs.receipts import Item


@dataclass(frozen=True, kw_only=True)
class JobOptions:
    """Where and how the items are done; a command's own options may inherit it."""

    executor: str = setting(
        "local",
        "local = processes of this machine; slice = the same, for --slice; ray = a cluster",
        choices=("local", "slice", "ray"),
    )
    workers: int = setting(2, "processes, or actors of ray", 1, 4096)
    slice: str = setting("0/1", "RANK/WORLD: every WORLD-th item from RANK on, for arrays of a batch system")
    num_cpus: float = setting(1.0, "ray: processors of each actor", 0.0, 1024.0)
    num_gpus: float = setting(0.0, "ray: GPUs of each actor, also shares", 0.0, 64.0)
    timeout_s: float = setting(0.0, "s; a worker that takes longer for an item is killed; 0 = no limit", 0.0, 1e6)
    retry_failed: bool = setting(False, "also repeat what failed or was refused")

    def map(
        self, fn: Callable[[Item, Any], Any], items: Sequence[Item], out: str | Path, key: str, **more: Any
    ) -> dict[str, int]:
        """Call `uma_train.jobs.mapping.map` with these options."""
        return map(
            fn,
            items,
            out,
            key,
            executor=self.executor,
            workers=self.workers,
            num_cpus=self.num_cpus,
            num_gpus=self.num_gpus,
            timeout_s=self.timeout_s,
            retry_failed=self.retry_failed,
            slice=self.slice,
            **more,
        )
