"""ros2 launch uma_ros teach.launch.py [station:=sim|hardware] [config:=...] [namespace:=left]: the page alone"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from graph_launch import describe


def generate_launch_description():
    return describe("teach")
