"""Mutation testing: inserts one defect at a time into a copy of the tree and checks that its test fails.

python -m robustness.mutants              all defects
python -m robustness.mutants --only NAME  defects whose name or file contains NAME
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
"""Errors of a defect that prevents the code from running, which does not count."""


def broken_tree(folder: Path, mutant: Mutant | None) -> Path:
    """Copy the repository to ``folder`` with the defect of ``mutant``. Return the folder."""
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
            raise ValueError(f"{mutant.name}: {mutant.file} contains {mutant.old!r} {found} times, must be once")
        path.write_text(text.replace(mutant.old, mutant.new))
    return folder


def run_tests(folder: Path, tests: list[str]) -> tuple[int, str]:
    """Run ``tests`` in the tree under ``folder``. Return pytest's exit code and output."""
    words = [sys.executable, "-m", "pytest", "-q", "-x", *tests]
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def is_caught(mutant: Mutant) -> tuple[bool, str]:
    """Return whether the mutant's test fails, and pytest's reason."""
    with tempfile.TemporaryDirectory() as folder:
        code, output = run_tests(broken_tree(Path(folder), mutant), [mutant.test])
    reason = next((line for line in output.splitlines() if line.startswith("E  ")), output[-300:])
    # 0 = passed, above 1 = did not run.
    return code == 1 and not any(kind in reason for kind in NO_DEFECT), f"pytest exit code {code}: {reason[:150]}"


def main() -> int:
    """Run the campaign. Return 0 if every mutant's test fails, and all tests pass without a mutant."""
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
