"""The examples that need no ROS run as they stand, and their results make sense."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def output_of(name: str, *words: str) -> str:
    """What ``python examples/NAME.py WORDS`` prints."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, f"examples/{name}.py", *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_numpy_frame_gives_a_chunk():
    lines = output_of("chunk_from_numpy").splitlines()
    assert [line.split(":")[0] for line in lines] == ["action  0", "action  7", "action 15"]


def test_the_chunk_that_follows_the_reference_is_better():
    text = output_of("predicted_motion")
    left = [float(cm) for cm in re.findall(r"([\d.]+) cm of the reference are left", text)]
    assert len(left) == 2 and left[0] < left[1] and "better: follow" in text


def test_a_custom_task_is_acted_in():
    heights = [int(cm) for cm in re.findall(r"the bar is (\d+) cm high", output_of("custom_task"))]
    assert len(heights) == 10 and heights[0] < 5 and max(heights) > 8


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_on_its_page(path):
    assert len(path.read_text().splitlines()) <= 40
    assert f"```{{literalinclude}} ../../examples/{path.name}" in (ROOT / "doc/user/examples.md").read_text()


def test_there_are_five_examples():
    assert len(EXAMPLES) == 5
