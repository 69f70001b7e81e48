"""References of a recording and of the simulated scene, written as files that are read again."""

import subprocess
import sys

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from rclpy.serialization import serialize_message
from tf2_msgs.msg import TFMessage
from uma_ros.msg import ReferenceMotion as ReferenceMsg

from uma.cli import main
from uma.geometry.se3 import make_pose
from uma.types import InputError, ReferenceMotion
from uma_ros.bags.writer import BagWriter
from uma_ros.commands.reference import load_reference, recorded_reference
from uma_ros.messages.convert import reference_to, stamp_from, transform_to
from uma_ros.runtime.topics import LATCHED, STATUS, Topics

TASK_TOPIC = Topics().in_namespace().active_reference

T_BASE_CAM = make_pose(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.array([0.2, 0.1, 0.5]))


def motion(x: float) -> ReferenceMotion:
    waypoints = (np.array([[x, 0.0, 0.8], [x, 0.1, 0.7]]), np.array([[0.05, 0.0, 0.9]]))
    return ReferenceMotion(waypoints, (np.array([0.0, 0.7]), np.zeros(1)), (), "cam", "spoon")


@pytest.fixture
def recording(tmp_path):
    """A bag of two tasks and of the task's end, with the camera's transform."""
    bag = BagWriter(tmp_path / "bag")
    bag.add_topic("/tf_static", TFMessage, LATCHED)
    bag.add_topic(TASK_TOPIC, ReferenceMsg, STATUS)
    t = TransformStamped(child_frame_id="cam", transform=transform_to(T_BASE_CAM))
    t.header.frame_id = "fr3_link0"
    bag.write("/tf_static", 10**18, serialize_message(TFMessage(transforms=[t])))
    for i, x in enumerate((0.1, 0.2)):
        bag.write(
            TASK_TOPIC,
            10**18 + i,
            serialize_message(reference_to(motion(x), stamp_from(10.0 + i))),
        )
    bag.write(TASK_TOPIC, 10**18 + 5, serialize_message(ReferenceMsg()))
    bag.close()
    return tmp_path / "bag"


@pytest.mark.parametrize("task, x", [("0", 0.2), ("1", 0.1), ("2", 0.2)])
def test_a_recordings_reference_is_written_in_the_base_frame(recording, tmp_path, task, x, capsys):
    out = tmp_path / "r.yaml"
    assert main(["reference", "--from-bag", str(recording), "--task", task, "--out", str(out)]) == 0
    found, expected = load_reference(out), motion(x).transformed(T_BASE_CAM, "fr3_link0")
    assert (found.frame, found.object_label, len(found.waypoints)) == ("fr3_link0", "spoon", 2)
    assert all(np.allclose(a, b, atol=1e-4) for a, b in zip(found.waypoints, expected.waypoints))
    assert np.allclose(found.phase[0], [0.0, 0.7]) and "written" in capsys.readouterr().out
    assert main(["reference", "--from-bag", str(recording), "--out", str(out)]) == 2, "a file is not overwritten"


def test_without_a_file_it_is_printed(recording, tmp_path, capsys):
    assert main(["reference", f"--from-bag={recording}"]) == 0
    (tmp_path / "printed.yaml").write_text(capsys.readouterr().out)
    assert load_reference(tmp_path / "printed.yaml").object_label == "spoon"


def test_without_a_transform_the_recorded_frame_stays(tmp_path):
    bag = BagWriter(tmp_path / "bag")
    bag.add_topic(TASK_TOPIC, ReferenceMsg, STATUS)
    bag.write(TASK_TOPIC, 10**18, serialize_message(reference_to(motion(0.1), stamp_from(1.0))))
    bag.close()
    reference, comment = recorded_reference(tmp_path / "bag")
    assert reference.frame == "cam" and "task 1 of 1" in comment


@pytest.mark.parametrize(
    "words, expected",
    [
        (["--from-bag", "{bag}", "--task", "3"], "task 3, must be one of 2 reference motions"),
        (["--from-bag", "{bag}/none"], "no such file or folder"),
        (["--from-bag", "{bag}", "--from-scene"], "one of both must be given"),
        (["--from-bag", ""], "one of both must be given"),
    ],
)
def test_what_cannot_be_saved_is_refused(recording, words, expected, capsys):
    assert main(["reference", *(word.format(bag=recording) for word in words)]) == 2
    assert expected in capsys.readouterr().err.replace("\n", "")


def test_a_bag_without_a_task_is_refused(tmp_path):
    bag = BagWriter(tmp_path / "bag")
    bag.add_topic(TASK_TOPIC, ReferenceMsg, STATUS)
    bag.close()
    with pytest.raises(InputError, match="task last, must be one of 0 reference motions"):
        recorded_reference(tmp_path / "bag")


STATION = """
import time, rclpy, numpy as np
from uma.types import ReferenceMotion
from uma_ros.messages.convert import reference_to
from uma_ros.msg import ReferenceMotion as Msg
from uma_ros.runtime.topics import LATCHED, Topics
rclpy.init()
node = rclpy.create_node("station")
out = node.create_publisher(Msg, Topics().in_namespace().sim_reference, LATCHED)
motion = ReferenceMotion((np.array([[0.4, 0.0, 0.1], [0.5, 0.0, 0.1]]),), frame="fr3_link0", object_label="brush")
out.publish(reference_to(motion, node.get_clock().now().to_msg()))
print("ready", flush=True)
time.sleep(30)
"""


def test_the_scenes_reference_is_written(tmp_path, capsys):
    station = subprocess.Popen([sys.executable, "-c", STATION], stdout=subprocess.PIPE, text=True)
    try:
        assert station.stdout.readline() == "ready\n"
        assert main(["reference", "--from-scene", "--out", str(tmp_path / "r.yaml")]) == 0
    finally:
        station.kill()
        station.wait()
    assert load_reference(tmp_path / "r.yaml").object_label == "brush"


def test_without_a_station_the_scene_is_missing(tmp_path, capsys):
    assert main(["reference", "--from-scene", "--timeout", "0.3", "--out", str(tmp_path / "r.yaml")]) == 1
    assert "no simulated station" in capsys.readouterr().err and not (tmp_path / "r.yaml").exists()
