"""The examples that need no ROS run as they stand, and their results make sense."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from uma.geometry import se3
from uma_sim.tasks import make_station

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def output_of(name: str, *words: str) -> str:
    """Return the output of ``python examples/NAME.py WORDS``."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, f"examples/{name}.py", *words]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_numpy_frame_gives_a_chunk():
    lines = output_of("chunk_from_numpy").splitlines()
    assert [line.split(":")[0] for line in lines] == ["action  0", "action  7", "action 15"]


def test_the_lines_of_the_readme_give_a_chunk(monkeypatch):
    (code,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    assert len(code.splitlines()) <= 10
    station = make_station(3)
    seen, points = station.observe(), station.object_points()[[0, 8, 15]]
    station.close()
    paths = np.stack([points, points + [0.0, 0.0, 0.1]], axis=1)
    waypoints = list(se3.apply(se3.invert(seen.T_base_cam), paths))
    given = {"rgb": seen.rgb, "depth": seen.depth, "T_cam_ee": seen.T_cam_ee, "T_base_cam": seen.T_base_cam}
    intrinsics = {name: getattr(seen.camera, name) for name in ("width", "height", "fx", "fy", "cx", "cy")}
    names = {**given, **intrinsics, "waypoints": waypoints}
    monkeypatch.chdir(ROOT)
    exec(code, names)
    assert names["chunk"].poses.shape == (16, 4, 4) and names["chunk"].gripper.shape == (16,)


def test_the_chunk_that_follows_the_reference_is_better():
    text = output_of("predicted_motion")
    left = [float(cm) for cm in re.findall(r"([\d.]+) cm of the reference remain", text)]
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
