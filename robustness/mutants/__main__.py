"""Breaks the product on purpose, one defect at a time in a copy of the tree, and sees whether its test fails.

python -m robustness.mutants              all of them
python -m robustness.mutants --only NAME  those whose name or file holds NAME
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from robustness.mutants import MUTANTS
from robustness.mutants.mutant import ROOT, Mutant

COPIED = ("uma", "uma_train", "uma_sim", "robustness", "test", "pyproject.toml")

NO_DEFECT = ("NameError", "SyntaxError", "ImportError", "ModuleNotFoundError")
"""Errors of a defect that does not even run: such a one is no mutant."""


def broken_tree(folder: Path, mutant: Mutant | None) -> Path:
    """A copy of the repository under ``folder``, with ``mutant``'s defect."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    if mutant is not None:
        path = folder / mutant.file
        text = path.read_text()
        if text.count(mutant.old) != 1:
            found = text.count(mutant.old)
            raise ValueError(f"{mutant.name}: {mutant.file} holds {found} times {mutant.old!r}, must be once")
        path.write_text(text.replace(mutant.old, mutant.new))
    return folder


def run_tests(folder: Path, tests: list[str]) -> tuple[int, str]:
    """pytest's exit code and output for ``tests`` in the tree under ``folder``."""
    words = [sys.executable, "-m", "pytest", "-q", "-x", *tests]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def is_caught(mutant: Mutant) -> tuple[bool, str]:
    """Whether the mutant's test fails of it, and what pytest says."""
    with tempfile.TemporaryDirectory() as folder:
        code, output = run_tests(broken_tree(Path(folder), mutant), [mutant.test])
    reason = next((line for line in output.splitlines() if line.startswith("E  ")), output[-300:])
    # 0 = passed, above 1 = did not run.
    return code == 1 and not any(kind in reason for kind in NO_DEFECT), f"pytest exit code {code}: {reason[:150]}"


def main() -> int:
    """Exit code 0 if every mutant was caught by its test, and the tests pass without any."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="part of the names or files to run")
    part = parser.parse_args().only
    chosen = [m for m in MUTANTS if part in m.name or part in m.file]
    with tempfile.TemporaryDirectory() as folder:
        code, output = run_tests(broken_tree(Path(folder), None), sorted({m.test for m in chosen}))
    if code:
        print(output[-3000:], "\nThe tests fail without any mutant.")
        return 1
    missed = 0
    for mutant in chosen:
        caught, reason = is_caught(mutant)
        missed += not caught
        print(f"{'caught' if caught else 'MISSED'}: {mutant.name}\n    {mutant.test}\n    {reason}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} caught")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
