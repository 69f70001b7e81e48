"""Errors of device links, and the backoff between connection attempts."""

from __future__ import annotations

from types import ModuleType


class LinkError(RuntimeError):
    """A device is unreachable or does not answer. A later attempt may succeed."""


class DeviceError(RuntimeError):
    """A device refuses a request or its settings. A later attempt alone does not help."""


class MissingPackage(DeviceError):
    """A package that a driver requires is not installed. The message contains the way to install it."""


def require(module: str, extra: str) -> ModuleType:
    """Import and return ``module``. Raises `MissingPackage` with the ``extra`` of this package that installs it."""
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
    """Delays between attempts: ``first`` seconds after the first failure, doubled each time up to ``longest``.

    The caller passes the time of a monotonic clock, seconds.
    """

    def __init__(self, first: float = 0.2, longest: float = 5.0) -> None:
        self.first, self.longest = first, longest
        self.failures = 0
        self._next = float("-inf")

    def is_due(self, now: float) -> bool:
        return now >= self._next

    def failed(self, now: float) -> float:
        """Record a failure. Return the seconds until the next attempt."""
        wait = min(self.first * 2**self.failures, self.longest)
        self.failures += 1
        self._next = now + wait
        return wait

    def succeeded(self) -> None:
        self.failures, self._next = 0, float("-inf")
