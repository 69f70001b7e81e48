"""Definition of an entry point for generated input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st


class Broken(AssertionError):
    """A case violated an expectation."""


@dataclass(frozen=True)
class Target:
    """An entry point for input.

    Attributes:
        name: name in the table.
        cases: strategy that generates the input.
        run: processes a case; returns True if it was accepted, False if it was refused as documented, and raises
            otherwise.
        weight: relative number of cases.
    """

    name: str
    cases: st.SearchStrategy
    run: Callable[[object], bool]
    weight: float = 1.0


def expect(condition: bool, words: str) -> None:
    """Raise `Broken` with ``words`` unless ``condition`` is true."""
    if not condition:
        raise Broken(words)
