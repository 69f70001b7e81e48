"""Setup of a campaign: path of the tests' helpers, headless rendering, a ROS domain of its own."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault("OMP_NUM_THREADS", "1")
if str(ROOT / "test/support") not in sys.path:
    sys.path.insert(0, str(ROOT / "test/support"))
import own_domain  # noqa: E402, F401
