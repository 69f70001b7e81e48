"""One operator at a time; the other pages look and may stop."""

from __future__ import annotations

import threading

SILENCE_S = 1.0
"""Longest silence of the operator's page, seconds."""


class Operators:
    """Who has control, and when the page was last alive. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._pages: dict[int, str] = {}  # client -> name of its page
        self._alive: dict[str, float] = {}  # name of a page -> time of its last sign of life
        self._operator: int | None = None

    @property
    def operator(self) -> int | None:
        """The client in control; None without one."""
        return self._operator

    @property
    def count(self) -> int:
        """Number of connected pages."""
        return len(self._pages)

    def join(self, client: int, page: str) -> None:
        """Add a connected client. The first one gets control."""
        with self._lock:
            self._pages[client] = page
            if self._operator is None:
                self._operator = client

    def leave(self, client: int) -> bool:
        """Remove a client; return whether it had control. Nobody inherits control."""
        with self._lock:
            page = self._pages.pop(client, None)
            if page is not None and page not in self._pages.values():
                self._alive.pop(page, None)
            if self._operator != client:
                return False
            self._operator = None
            return True

    def take(self, client: int) -> bool:
        """Give control to a client; return whether it is connected."""
        with self._lock:
            if client not in self._pages:
                return False
            self._operator = client
            return True

    def is_operator(self, client: int | None) -> bool:
        """Return whether ``client`` has control."""
        return client is not None and client == self._operator

    def alive(self, page: str, now: float) -> bool:
        """Record a page's sign of life at ``now``, s; return whether it is the operator's page."""
        with self._lock:
            if page not in self._pages.values():
                return False
            self._alive[page] = now
            return self._operator is not None and self._pages.get(self._operator) == page

    def silence(self, now: float) -> float:
        """Return seconds since the operator's page was alive; infinity without an operator."""
        with self._lock:
            page = self._pages.get(self._operator) if self._operator is not None else None
            return now - self._alive.get(page, float("-inf")) if page is not None else float("inf")
