"""Goals of the action: one source each, feedback, and the limit of a HOLD."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
from harness import ROOT
from sensor_msgs.msg import CameraInfo, Image
from uma_ros.action import ExecuteTask
from uma_ros.msg import KeypointTrajectory, ReferenceMotion

from uma.control.session import State
from uma.types import InputError
from uma_ros.commands.reference import load_reference
from uma_ros.messages.convert import image_to, observation_from
from uma_ros.messages.frame_buffer import FrameBuffer
from uma_ros.messages.intrinsics import camera_from, rectified
from uma_ros.messages.static_frames import StaticFrames
from uma_ros.policy.execution import Hold, Situation, feedback
from uma_ros.policy.sources import TaskSources
from uma_ros.policy.tasks import FromGoal, FromInstruction, FromPrompt, FromReference


class Talking:
    takes_instructions = True

    def check_prompt(self, path):
        return path


@pytest.fixture
def sources() -> TaskSources:
    buffer = FrameBuffer("fr3_link8")
    info = CameraInfo(width=8, height=4)
    info.header.frame_id = "cam"
    buffer.add_info(info)
    return TaskSources(buffer, StaticFrames(), Talking)


def a_reference(frame: str = "cam", x: float = 0.1) -> ReferenceMotion:
    msg = ReferenceMotion(keypoints=[KeypointTrajectory(waypoints=[Point(x=x, y=0.0, z=0.5)])])
    msg.header.frame_id = frame
    return msg


def picture(kind: str, frame: str = "cam", width: int = 8) -> Image:
    if kind == "rgb":
        return image_to(np.zeros((4, width, 3), np.uint8), "rgb8", frame, Time())
    return image_to(np.ones((4, width), np.float32), "32FC1", frame, Time())


GOOD = {
    "reference": (dict(reference=a_reference()), FromReference),
    "instruction": (dict(instruction=" lift it "), FromInstruction),
    "prompt": (dict(prompt="package.xml"), FromPrompt),
    "goal image": (dict(goal_rgb=picture("rgb"), goal_depth=picture("depth")), FromGoal),
}


@pytest.mark.parametrize("name", GOOD)
def test_each_source_becomes_its_task(sources, name):
    fields, kind = GOOD[name]
    assert isinstance(sources.goal(ExecuteTask.Goal(**fields)), kind)


BAD = {
    "none": ({}, "goal: no source, must be exactly one of"),
    "blank words": (dict(instruction="  "), "goal: no source"),
    "two": (dict(instruction="lift", prompt="p"), "goal: instruction and prompt, must be exactly one of"),
    "image and words": (
        dict(instruction="a", goal_rgb=picture("rgb"), goal_depth=picture("depth")),
        "goal: instruction and goal_rgb and goal_depth, must be",
    ),
    "no depth": (dict(goal_rgb=picture("rgb")), "goal_depth: empty, goal_rgb needs it"),
    "no colour": (dict(goal_depth=picture("depth")), "goal_rgb: empty, goal_depth needs it"),
    "unknown frame": (dict(reference=a_reference("nowhere")), "nowhere"),
    "no number": (
        dict(reference=a_reference(x=math.nan)),
        r"keypoints\[0\].*nan",
    ),
    "goal of another camera": (
        dict(goal_rgb=picture("rgb", "wrist"), goal_depth=picture("depth")),
        "goal_rgb.header.frame_id: 'wrist', must be the camera's, 'cam'",
    ),
    "depth of another size": (
        dict(goal_rgb=picture("rgb"), goal_depth=picture("depth", width=6)),
        "goal_depth.width x height: 6x4, must be 8x4",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_goal_is_refused_by_field(sources, name):
    fields, words = BAD[name]
    with pytest.raises(InputError, match=words):
        sources.goal(ExecuteTask.Goal(**fields))


def test_the_goal_in_config_is_the_reference_in_config(sources):
    """What `ros2 action send_goal` of the README reads."""
    given = yaml.safe_load((ROOT / "config/goal_insertion.yaml").read_text())["reference"]
    keypoints = [[[p["x"], p["y"], p["z"]] for p in k["waypoints"]] for k in given["keypoints"]]
    expected = load_reference(ROOT / "config/reference_insertion.yaml")
    assert given["header"]["frame_id"] == expected.frame and np.array_equal(keypoints, expected.waypoints)


def test_no_instruction_without_a_language_encoder(sources):
    sources = TaskSources(FrameBuffer("fr3_link8"), StaticFrames(), lambda: type("P", (), {"takes_instructions": 0}))
    with pytest.raises(InputError, match="accepts reference motions only"):
        sources.goal(ExecuteTask.Goal(instruction="lift"))


def test_goal_images_of_one_stamp_are_a_pair(sources):
    assert sources.half("rgb", picture("rgb"), 0.0) is None
    assert isinstance(sources.half("depth", picture("depth"), 1.0), FromGoal)
    assert not list(sources.late_halves(100.0))
    sources.half("depth", picture("depth"), 10.0)
    assert not list(sources.late_halves(14.0))
    assert [(kind, other) for kind, other, _ in sources.late_halves(16.0)] == [("depth", "rgb")]
    assert not list(sources.late_halves(17.0))


def test_goal_images_of_a_raw_camera_are_rectified(sources):
    pytest.importorskip("cv2")
    k = [80.0, 0.0, 31.5, 0.0, 80.0, 23.5, 0.0, 0.0, 1.0]
    info = CameraInfo(width=64, height=48, distortion_model="plumb_bob", d=[-0.4, 0.1, 0.0, 0.0, 0.0], k=k)
    info.header.frame_id = "cam"
    sources._buffer.add_info(info)
    colours = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    z = np.linspace(0.5, 1.5, 48 * 64, dtype=np.float32).reshape(48, 64)
    rgb, depth = image_to(colours, "rgb8", "cam", Time()), image_to(z, "32FC1", "cam", Time())
    straight, straight_z = rectified(colours, z, info, camera_from(info))
    assert not np.array_equal(straight, colours)
    seen = []

    def matcher(before: np.ndarray, after: np.ndarray, *masks) -> None:
        seen.append(after)
        raise InputError("matches: 0")

    given = replace(sources.goal(ExecuteTask.Goal(goal_rgb=rgb, goal_depth=depth)), matcher=matcher)
    observation = observation_from(rgb, depth, info, np.eye(4), 0.0)
    policy = SimpleNamespace(contract=SimpleNamespace(max_keypoints=16))
    with pytest.raises(InputError, match="matches: 0"):
        given.encode(policy, observation, None, Time())
    assert np.array_equal(seen[0], straight) and np.array_equal(observation.rgb, straight)
    assert np.array_equal(observation.depth, straight_z, equal_nan=True)


def test_a_folder_is_no_prompt(sources):
    with pytest.raises(InputError, match="prompt: config, must be a file"):
        sources.goal(ExecuteTask.Goal(prompt="config"))


def test_goal_images_wait_for_the_cameras_intrinsics():
    sources = TaskSources(FrameBuffer("fr3_link8"), StaticFrames(), Talking)
    given = sources.goal(ExecuteTask.Goal(goal_rgb=picture("rgb"), goal_depth=picture("depth")))
    with pytest.raises(InputError, match="no camera_info yet"):
        given.encode(None, SimpleNamespace(camera=SimpleNamespace(frame="cam")), None, Time())


RUNS, HELD = State.RUNNING, State.HOLD


def situation(own: State, controller: State | None) -> Situation:
    return Situation(own, "own", controller, "its own")


@pytest.mark.parametrize(
    "seen, words",
    [
        (situation(RUNS, HELD), "controller in HOLD for over 4 s: its own"),
        (situation(HELD, RUNS), "policy in HOLD for over 4 s: own"),
        (situation(HELD, None), "policy in HOLD for over 4 s: own"),
        (situation(RUNS, RUNS), ""),
        (situation(RUNS, State.READY), ""),
        (situation(State.READY, HELD), ""),
        (situation(State.READY, State.IDLE), ""),
    ],
)
def test_a_hold_ends_a_goal_after_its_limit(seen, words):
    hold = Hold()
    assert [hold.reason(t, seen, 4.0) for t in (0.0, 2.0, 4.0)] == ["", "", ""]
    assert hold.reason(4.1, seen, 4.0) == words
    assert not hold.reason(1000.0, seen, 0.0), "0 is no limit"


def test_a_hold_that_ends_in_time_is_forgotten():
    hold = Hold()
    for t, own in ((0.0, HELD), (3.0, HELD), (3.5, RUNS), (4.5, HELD), (8.0, HELD)):
        assert not hold.reason(t, situation(own, RUNS), 4.0)
    assert hold.reason(9.0, situation(HELD, RUNS), 4.0)


def test_a_fault_of_the_controller_ends_a_goal_at_once():
    assert Hold().reason(0.0, situation(State.READY, State.FAULT), 4.0) == "controller in FAULT: its own"


def test_feedback_names_the_gate_that_motion_waits_for():
    waiting = feedback(Situation(RUNS, "started", State.READY, "waiting for /uma/confirm (this task)", 0.2, 80.0), True)
    assert waiting.reason == "controller: waiting for /uma/confirm (this task)"
    assert (waiting.state, waiting.controller_state) == (State.RUNNING, State.READY)
    assert waiting.end_distance_m == pytest.approx(0.2) and waiting.latency_ms == pytest.approx(80.0)
    assert feedback(situation(RUNS, RUNS), False).reason == "own"
    assert feedback(situation(State.READY, State.IDLE), False).reason == "own"
    assert feedback(situation(RUNS, None), False).reason == "own"
