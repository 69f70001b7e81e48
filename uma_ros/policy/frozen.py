"""An image that does not change: a hung driver may publish its last image under new stamps."""

from __future__ import annotations

from typing import Any

from uma.types import InputError

EVERY = 97
"""Bytes from one that is compared to the next."""


class FrozenImage:
    """Remembers since when the images of one topic are the same. Every real sensor has noise."""

    def __init__(self) -> None:
        self._pixels, self._since = b"", 0.0

    def check(self, data: Any, limit: float, now: float) -> None:
        """Take the bytes of an image at time ``now``, seconds.

        Raises:
            InputError: it has been the same for longer than ``limit`` seconds; 0 = no limit.
        """
        pixels = bytes(memoryview(data)[::EVERY])
        if pixels != self._pixels:
            self._pixels, self._since = pixels, now
        elif 0 < limit < now - self._since:
            raise InputError(f"data: the same image for {now - self._since:.1f} s under new stamps, limit {limit:g} s")
