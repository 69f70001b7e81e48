"""One scripted expert per task, selected by the task's name; see `uma_sim.experts.base`."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uma_sim.experts.base import Demonstrator

EXPERTS = {
    "insertion": "insertion:Inserter",
    "sweeping": "sweeping:Sweeper",
    "folding": "folding:Folder",
    "primitives/move": "primitives:Mover",
    "primitives/stand": "primitives:Stander",
    "primitives/cloth": "primitives:ClothMover",
    "primitives/cable": "cable:CableMover",
    **{f"primitives/{use}": "primitives:ToolUser" for use in ("sweep", "poke", "hook")},
    "primitives/gather": "gathering:Gatherer",
    **{
        f"intents/{kind}": "intents:Performer"
        for kind in ("lift", "carry", "put", "turn", "slide", "tilt", "into", "out")
    },
}
"""task -> 'module:class' in this package."""


def expert(task: str, goal: int | None = None) -> Demonstrator:
    """Build the expert of ``task`` for ``goal``; None for the scene's goal.

    Raises:
        KeyError: unknown task.
    """
    module, name = EXPERTS[task].split(":")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)(goal)
