"""What every wire has in common: it may break, and is tried again after a while that grows."""

from __future__ import annotations

from types import ModuleType


class LinkError(RuntimeError):
    """A device cannot be reached or does not answer; it may be tried again."""


class DeviceError(RuntimeError):
    """A device answers and says that it cannot; trying again alone does not help."""


class MissingPackage(DeviceError):
    """A Python package that a backend needs is not installed; the text names what installs it."""


def require(module: str, extra: str) -> ModuleType:
    """Import ``module``, or raise `MissingPackage` naming the extra of this package that brings it."""
    import importlib

    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        raise MissingPackage(
            f"the Python package {module.split('.')[0]!r} is missing: pip install 'uma[{extra}]'"
        ) from None


class Backoff:
    """When to try again: at once, then after ``first`` seconds, doubled each time up to ``longest``. On the caller's
    clock."""

    def __init__(self, first: float = 0.2, longest: float = 5.0) -> None:
        self.first, self.longest = first, longest
        self.failures = 0
        self._next = float("-inf")

    def is_due(self, now: float) -> bool:
        return now >= self._next

    def failed(self, now: float) -> float:
        """Note a failure; returns the seconds until the next attempt."""
        wait = min(self.first * 2**self.failures, self.longest)
        self.failures += 1
        self._next = now + wait
        return wait

    def succeeded(self) -> None:
        self.failures, self._next = 0, float("-inf")
