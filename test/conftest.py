"""What holds for every test: headless rendering, ROS on this host only, a ROS domain of this process's own."""

import os
import sys
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
os.environ["ROS_DOMAIN_ID"] = str(10 + os.getpid() % 90)
sys.path.insert(0, str(Path(__file__).parent / "ros"))
