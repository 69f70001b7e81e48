"""Definition of a mutant."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Mutant:
    """One deliberate defect.

    Attributes:
        name: description of the defect.
        file: path relative to the repository's root.
        old, new: text that occurs once, and its replacement.
        test: pytest id of the test that must fail.
    """

    name: str
    file: str
    old: str
    new: str
    test: str


def of(file: str, *rows: tuple[str, str, str, str]) -> list[Mutant]:
    """Return the mutants of one file from rows of name, old, new and test.

    A test is ``file::function``, with the file anywhere in test/unit. The old text is a small expression, so that edits
    around it do not change it.
    """
    out = []
    for name, old, new, test in rows:
        tests, _, function = test.partition("::")
        (path,) = (ROOT / "test/unit").rglob(f"{tests}.py")
        out.append(Mutant(name, file, old, new, f"{path.relative_to(ROOT)}::{function}"))
    return out
