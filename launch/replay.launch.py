"""ros2 launch uma_ros replay.launch.py [checkpoint:=...] beside `ros2 bag play BAG --clock`: the policy alone, on what
the bag holds.

It answers on /uma_replay/..., because the player says on /uma/... what was said when the bag was recorded.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from graph_launch import describe


def generate_launch_description():
    return describe("replay")
