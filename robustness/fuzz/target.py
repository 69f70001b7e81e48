"""One door through which generated input comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis import strategies as st


class Broken(AssertionError):
    """A case did what no input may do."""


@dataclass(frozen=True)
class Target:
    """One door through which input comes.

    Attributes:
        name: for people.
        cases: generates the input.
        run: puts a case through; True if it was accepted, False if it was refused as documented. Raises for anything
            else.
        weight: share of the cases, against the other targets'.
    """

    name: str
    cases: st.SearchStrategy
    run: Callable[[object], bool]
    weight: float = 1.0


def expect(condition: bool, words: str) -> None:
    """Raise `Broken` unless ``condition`` holds."""
    if not condition:
        raise Broken(words)
