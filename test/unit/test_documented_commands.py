"""Every line of a command block in the README and the quickstart is run by CI or by the test that is named here."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "doc/quickstart.md")

RUN_BY = {
    "make demo": (".ci/run", "make demo"),
    "make test": (".ci/run", "make test"),
    "uma up insertion": ("test/ros/test_up.py", '"insertion"'),
    "uma reference config/reference_insertion.yaml": ("test/ros/test_up.py", "config/reference_insertion.yaml"),
    "uma reference config/reference_lift.yaml": (
        "test/unit/uma_train/evaluation/test_shipped_references.py",
        "config/reference_lift.yaml",
    ),
    'ros2 action send_goal -f /uma/execute_task uma_ros/action/ExecuteTask "$(cat config/goal_insertion.yaml)"': (
        "test/ros/test_execution.py",
        "config/goal_insertion.yaml",
    ),
    "ros2 service call /uma/stop std_srvs/srv/Trigger": ("test/ros/test_graph.py", '"/uma/stop"'),
    "uma teach --task insertion": ("test/ros/test_teach_command.py", '"teach", "--task", "insertion"'),
    "uma replay runs/TIME/bag": (".ci/run", "uma replay"),
    "uma inspect runs/TIME/bag": (".ci/run", "uma inspect"),
    "colcon build --packages-select uma_ros && source install/setup.bash": ("test/integration/test_colcon.py", "build"),
    "ros2 launch uma_ros insertion.launch.py": ("test/integration/test_colcon.py", "insertion.launch.py"),
}
"""line -> (the file that runs it, text in that file)."""

ON_A_ROBOT_PC = (
    "cd ~/ws/src && git clone <this repository> uma_ros && cd ..",
    "rosdep install --from-paths src --ignore-src",
    "src/uma_ros/tools/install_robot.sh && source ~/uma-venv/bin/activate",
)
"""Lines that need an installed ROS 2."""


def lines(page: str) -> list[str]:
    """The lines of the page's command blocks, without their comments."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", (ROOT / page).read_text(), re.M | re.S)
    commands = "".join(text for language, text in blocks if language in ("", "bash", "sh"))
    stripped = (re.sub(r"\s+#.*", "", line).strip() for line in commands.splitlines())
    return [line for line in stripped if line]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_run_somewhere(page):
    assert lines(page)
    assert not [line for line in lines(page) if line not in RUN_BY and line not in ON_A_ROBOT_PC]


@pytest.mark.parametrize("line", RUN_BY)
def test_a_command_is_documented_and_its_place_has_it(line):
    file, text = RUN_BY[line]
    assert any(line in lines(page) for page in PAGES), "not documented any more"
    assert text in (ROOT / file).read_text()
