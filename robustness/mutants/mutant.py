"""What a deliberate breakage is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


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
    """Mutants of one file, as rows of name, old, new and test; a test is ``file::function``, the file anywhere in
    test/unit.

    The old text is a small expression, so that edits around it leave it in place.
    """
    out = []
    for name, old, new, test in rows:
        tests, _, function = test.partition("::")
        (path,) = (ROOT / "test/unit").rglob(f"{tests}.py")
        out.append(Mutant(name, file, old, new, f"{path.relative_to(ROOT)}::{function}"))
    return out
