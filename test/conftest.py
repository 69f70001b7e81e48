"""Setup of every test: headless rendering, one thread of torch, a ROS domain of its own."""

import os
import sys
from pathlib import Path

import hypothesis
import pytest

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads that wait for each other are slower than one on shared cores
# Property tests draw the same examples in every run; `python -m robustness.fuzz --seed` draws new ones.
hypothesis.settings.register_profile("seeded", derandomize=True)
hypothesis.settings.load_profile("seeded")

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "test/support")]
import own_domain  # noqa: E402, F401


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole folders are slow, but for one live graph."""
    for item in items:
        layer = item.path.relative_to(ROOT / "test").parts[0]
        if layer in ("integration", "gpu") or layer == "ros" and item.path.name != "test_graph.py":
            item.add_marker("slow")
