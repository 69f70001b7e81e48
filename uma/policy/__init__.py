"""The policy: from a checkpoint to action chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uma.policy.policy import Policy, Task

__all__ = ["Policy", "Task"]


def __getattr__(name: str) -> object:
    # Importing this package does not import torch; accessing a name does.
    if name in __all__:
        from uma.policy import policy

        return getattr(policy, name)
    raise AttributeError(name)
