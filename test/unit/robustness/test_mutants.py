"""The mutants still apply: each finds the one text it breaks, and the test that must fail of it."""

import pytest

from robustness.mutants import MUTANTS
from robustness.mutants.mutant import ROOT


@pytest.mark.parametrize("file", sorted({m.file for m in MUTANTS}))
def test_every_mutant_finds_its_one_place(file):
    text = (ROOT / file).read_text()
    found = {m.name: text.count(m.old) for m in MUTANTS if m.file == file}
    assert set(found.values()) == {1}, found


@pytest.mark.parametrize("path", sorted({m.test.partition("::")[0] for m in MUTANTS}))
def test_every_mutant_names_a_test_that_exists(path):
    text = (ROOT / path).read_text()
    named = {m.test.partition("::")[2].partition("[")[0] for m in MUTANTS if m.test.startswith(f"{path}::")}
    assert not {name for name in named if f"def {name}(" not in text}
