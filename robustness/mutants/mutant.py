"""What a deliberate breakage is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One deliberate defect.

    Attributes:
        name: what is broken, and how.
        file: relative to the repository's root.
        old, new: text that occurs once, and what takes its place.
        test: the test that must fail, as pytest names it.
    """

    name: str
    file: str
    old: str
    new: str
    test: str


def of(file: str, *rows: tuple[str, str, str, str]) -> list[Mutant]:
    """Mutants of one file, as rows of name, old, new and test; a test is ``file::function``, the file in test/unit.

    The old text is a small expression, so that edits around it leave it in place.
    """
    out = []
    for name, old, new, test in rows:
        tests, _, function = test.partition("::")
        out.append(Mutant(name, file, old, new, f"test/unit/{tests}.py::{function}"))
    return out
