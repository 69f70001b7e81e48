"""One module per task: scene sampling, success criterion and sketched reference motion.

Each module defines a `uma_sim.station.Task`; `load` selects it by name.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from uma_sim.station import Station, Task

MODULES = {
    **{name: f"uma_sim.tasks.{name}:TASK" for name in ("insertion", "sweeping", "folding")},
    "primitives/move": "uma_sim.tasks.primitives.move:TASK",
    "primitives/stand": "uma_sim.tasks.primitives.stand:TASK",
    "primitives/cloth": "uma_sim.tasks.primitives.cloth:TASK",
    "primitives/cable": "uma_sim.tasks.primitives.cable:TASK",
    **{f"primitives/{use}": f"uma_sim.tasks.primitives.tool:{use.upper()}" for use in ("sweep", "poke", "hook")},
    "primitives/gather": "uma_sim.tasks.primitives.gather:TASK",
    **{
        f"intents/{kind}": f"uma_sim.tasks.intents.task:{kind.upper()}"
        for kind in ("lift", "carry", "put", "turn", "slide", "tilt", "into", "out")
    },
}
"""name -> 'module:variable' of its `Task`. The primitives serve training only (paper B.2)."""

MIXTURES = ("primitives/all", "intents/all")
"""Names of the mixtures, of all primitives and of all intents, which `of_seed` resolves."""


def of_seed(name: str, seed: int) -> str:
    """Return the task of one scene: ``name`` itself, or for one of `MIXTURES` a task of it drawn from the seed."""
    if name not in MIXTURES:
        return name
    folder = name.removesuffix("all")
    return str(np.random.default_rng([seed, 12]).choice([task for task in MODULES if task.startswith(folder)]))


def load(name: str) -> Task:
    """Load a task by name.

    Raises:
        ValueError: unknown name.
    """
    if name not in MODULES:
        raise ValueError(f"task {name!r}: must be one of {', '.join(MODULES)}")
    module, _, variable = MODULES[name].partition(":")
    return getattr(importlib.import_module(module), variable)


def make_station(seed: int, task: str = "insertion", **options: Any) -> Station:
    """Build the station for a scene of a task; ``options`` as for `Station`.

    Raises:
        ValueError: unknown task.
    """
    return Station(seed, load(task), **options)
