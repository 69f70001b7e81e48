"""ros2 launch uma_ros folding.launch.py [station:=sim|hardware] [checkpoint:=...] [config:=...] [record:=...]
[dry_run:=true] [rviz:=true] [keep_going:=true] [seed:=0] [namespace:=left] [robot:=...]"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from graph_launch import describe


def generate_launch_description():
    return describe("folding")
