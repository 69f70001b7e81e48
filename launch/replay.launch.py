"""ros2 launch uma_ros replay.launch.py [checkpoint:=...] [namespace:=left] [robot:=...]

Starts only the policy, for `ros2 bag play BAG --clock`. It publishes on /uma_replay/..., because the player publishes
the recorded messages on /uma/...
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from graph_launch import describe


def generate_launch_description():
    return describe("replay")
