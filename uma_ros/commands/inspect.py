"""`uma inspect WHAT`: show a bag, checkpoint, calibration file or reference motion, or the default configuration."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

from uma.types import InputError
from uma_ros.bags.storage import is_bag
from uma_ros.runtime.resources import find
from uma_ros.runtime.robot import robot

HEADER = """\
# Parameters of the task graphs, node by node. The dataclasses in the code are the schema.
# Every key has its unit and range beside it. A value out of range ends the node with a message.
# The section /**/controller is for the controller in any namespace, /left/controller for that in /left. Later ones win.
# `uma inspect parameters` writes this file, and a test compares both.
# `uma up` and the launch files override use_sim_time and, for the simulated station, its task, seed, calibration file
# and autostart.
"""


ROBOT_HEADER = """\
# The station's robot, gripper and tool. `uma.robot.RobotConfig` is the schema.
# An unknown key or a value out of range is an error. `uma inspect robot` writes this file, and a test compares both.
# Every node reads it, and a node's parameter for a frame may replace the one here. robot:=FILE chooses another file.
# frame_prefix and joint_prefix come before every name in it, so that two robots differ in one tree of frames.
# The node `robot_state` draws the robot with these frames, joint and T_flange_ee.
# The tool of a real robot is in its calibration file. ee_frame and home are for scripts.
"""


def parameters() -> str:
    """Return the default configuration file."""
    from uma_ros.commands.parameters import as_yaml, topics_yaml
    from uma_ros.deployment.schema import NODES

    return "\n".join([HEADER, *(as_yaml(node) + "\n" for node in NODES), topics_yaml(), ""])


def robot_file() -> str:
    """Return the default robot file."""
    from uma_ros.commands.parameters import robot_yaml

    return f"{ROBOT_HEADER}\n{robot_yaml()}"


def description(prefix: str = "") -> str:
    """Return the robot of config/robot.yaml as URDF with primitive shapes."""
    from uma_ros.messages.description.robot import fr3_2f85
    from uma_ros.messages.description.urdf import urdf

    return urdf(fr3_2f85(robot(), prefix))


def bag(path: Path) -> str:
    from uma_ros.bags.candidates import describe
    from uma_ros.bags.reader import bag_channels

    return describe(bag_channels(path))


def checkpoint(path: Path) -> str:
    manifest = json.loads((path / "manifest.json").read_text())
    config = json.loads((path / "config.json").read_text())
    return json.dumps({"contract": config.get("contract"), "model": config.get("model"), **manifest}, indent=2)


def calibration(path: Path, camera: str = "") -> str:
    from uma.geometry.se3 import quaternion
    from uma_ros.calibration.files import load_calibration
    from uma_ros.calibration.plausible import ADVICE, date_doubt, inversion_doubt, pose_doubts

    found = load_calibration(path, camera, base_frame=robot().base_frame)
    lines = [f"{found.camera_frame} in {found.base_frame} ({found.convention}), dated {found.date or 'unknown'}"]
    for name, T in (
        ("camera", found.T_base_cam),
        *((f"{frame} in {parent}", T) for (parent, frame), T in found.tools.items()),
    ):
        lines.append(f"  {name}: xyz {T[:3, 3].round(4).tolist()} m, quaternion xyzw {quaternion(T).round(5).tolist()}")
    if doubts := pose_doubts(found.T_base_cam):
        lines += [f"  refused as a fixed camera: {'; '.join(doubts)}", f"  {ADVICE}"]
    for doubt in (date_doubt(found.date, datetime.now(UTC)), inversion_doubt(found.T_base_cam)):
        lines += [f"  warning: {doubt}"] if doubt else []
    return "\n".join(lines)


def reference(path: Path) -> str:
    from uma_ros.commands.reference import load_reference

    found = load_reference(path)
    lines = [f"{found.object_label or 'no label'}: {len(found.waypoints)} keypoints in {found.frame}"]
    return "\n".join(
        [
            *lines,
            *(f"  {k}: " + " -> ".join(str(p.round(3).tolist()) for p in w) for k, w in enumerate(found.waypoints)),
        ]
    )


def show(what: str, camera: str = "", prefix: str = "") -> str:
    """Return a text about ``what``, for a calibration about its ``camera``, for the description with ``prefix``.

    Raises:
        InputError: it is of no known kind.
    """
    if what == "parameters":
        return parameters()
    if what == "robot":
        return robot_file()
    if what == "description":
        return description(prefix)
    path = find(what)
    if is_bag(path):
        return bag(path)
    if (path / "manifest.json").exists():
        return checkpoint(path)
    if path.suffix in (".json", ".yaml", ".yml", ".calib"):
        text = path.read_text()
        return reference(path) if "keypoints" in text else calibration(path, camera)
    raise InputError(f"{what}: neither a bag, a checkpoint, a calibration file nor a reference motion")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="uma inspect", description=__doc__.split(":", 1)[1].strip())
    parser.add_argument("what", help="a folder, a file, or the word parameters, robot or description")
    parser.add_argument("--camera", default="", help="key of the camera in a calibration file with several")
    parser.add_argument("--prefix", default="", help="prefix of the description's links and joints, such as left_")
    args = parser.parse_args(argv)
    print(show(args.what, args.camera, args.prefix))
    return 0
