"""Bad input for the callbacks and services of real nodes, which run in their own ROS domain and are never spun."""

from __future__ import annotations

import tempfile
import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import rclpy
from fake_policy import FakePolicy, FakeTask
from hypothesis import strategies as st
from std_msgs.msg import String
from uma_ros.action import ExecuteTask
from uma_ros.msg import PolicyStatus
from uma_ros.srv import PredictMotion

from robustness.fuzz.messages import CAMERA, chunk, image, info, joints, motion, pose, reference, transforms
from robustness.fuzz.mutations import INF, NAN, ODD, WORDS, changed
from robustness.fuzz.target import Target, expect
from uma.control.controller import Controller
from uma.control.session import State
from uma.geometry.se3 import make_pose
from uma.settings import check_settings, flatten, replaced
from uma.types import InputError
from uma_ros.calibration.files import Calibration, save_calibration
from uma_ros.deployment.schema import NODES, settings_of
from uma_ros.drivers.camera.feeds import TopicFeed, TopicSettings
from uma_ros.drivers.gripper.client import goal_to
from uma_ros.messages.convert import stamp_from
from uma_ros.messages.static_frames import StaticFrames
from uma_ros.policy.slot import ActiveTask
from uma_ros.policy.tasks import Encoded, FromReference
from uma_ros.runtime.names import full_name

AWAY = 0.6
"""Largest distance of two poses of the same arm, m."""


class Received:
    """Stands in for a publisher and stores its messages."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    def publish(self, msg: Any) -> None:
        self.messages.append(msg)


@cache
def station() -> SimpleNamespace:
    """Return controller, policy (with a scripted model) and extrinsics nodes, active for the life of the process."""
    from uma_ros.nodes.controller import ControllerNode
    from uma_ros.nodes.extrinsics import ExtrinsicsNode
    from uma_ros.nodes.policy import PolicyNode

    file = Path(tempfile.mkdtemp(prefix="fuzz")) / "calibration.yaml"
    save_calibration(Calibration(CAMERA, "fr3_link0", make_pose(np.eye(3), np.zeros(3)), date=datetime.now(UTC)), file)
    words = [
        "controller:autostart:=true",
        "controller:max_departure:=0.1",
        f'extrinsics:calibration:="{file}"',
        "extrinsics:refuse_implausible:=false",
        "policy:require_controller:=false",
    ]
    rclpy.init(args=["--ros-args", "--log-level", "fatal", *(w for word in words for w in ("-p", word))])
    controller, extrinsics = ControllerNode(), ExtrinsicsNode()
    policy = PolicyNode(lambda settings: (FakePolicy(), FakePolicy()))
    for node in (controller, extrinsics, policy):
        node.trigger_configure()
        assert node.failure is None, node.failure
        node.trigger_activate()
    controller._out, controller.gripper = (
        Received(),
        SimpleNamespace(send=lambda closed: True, trouble="", overdue=lambda now: ""),
    )
    extrinsics._out, policy._chunks = Received(), Received()
    return SimpleNamespace(controller=controller, extrinsics=extrinsics, policy=policy)


def close() -> None:
    """End the nodes, so that ROS can start again in this process."""
    if station.cache_info().currsize:
        for node in vars(station()).values():
            node.close()
            node.destroy_node()
        station.cache_clear()
        rclpy.try_shutdown()


def now() -> float:
    return time.time()


def fresh_controller() -> Any:
    """Return the controller node with an arm at rest, a calibration and no chunk."""
    node = station().controller
    node._out.messages, node.frames = [], StaticFrames()
    node.controller = Controller(node.settings, node.frames.lookup, node._report)
    node._on_tf(transforms())
    node._on_pose(pose(now()))
    node._on_joints(joints(now()))
    node.status.message.num_refused = 0
    return node


# -- chunks that must be refused ---------------------------------------------------------------------------------------


def _set(path: str, value: Any) -> Any:
    def change(msg: Any) -> None:
        *heads, last = path.split(".")
        for head in heads:
            msg = msg.poses[int(head[6:-1])] if head.startswith("poses[") else getattr(msg, head)
        setattr(msg, last, value)

    return change


def _many(count: int) -> Any:
    return lambda msg: setattr(msg, "poses", list(msg.poses) * count)


numbers = st.sampled_from([NAN, INF, -INF, 1e9, -1e300])
places = st.builds(
    "poses[{}].{}.{}".format, st.integers(0, 15), st.sampled_from(["position", "orientation"]), st.sampled_from("xyz")
)
bad_chunks = st.one_of(
    st.tuples(places, numbers).map(lambda c: (c[0].rpartition(".")[0], _set(*c))),
    st.sampled_from([0, 17]).map(lambda n: ("poses", _many(n))),
    st.sampled_from([[], [0.0] * 15, [2.0] * 16, [NAN] * 16, [-1.0] + [0.0] * 15]).map(
        lambda v: ("gripper", _set("gripper", v))
    ),
    st.sampled_from([NAN, INF, 0.0, -15.0, 1e9]).map(lambda v: ("rate_hz", _set("rate_hz", v))),
    st.sampled_from([w for w in WORDS if w != "fr3_link0"]).map(
        lambda v: ("header.frame_id", _set("header.frame_id", v))
    ),
    st.sampled_from(["", "panda_hand_tcp", "爪", "b" * 300]).map(lambda v: ("ee_frame", _set("ee_frame", v))),
    st.sampled_from([17, 10**6, 2**32 - 1]).map(lambda v: ("num_committed", _set("num_committed", v))),
    st.sampled_from([0.0, -5.0, 1e9, 2e9]).map(lambda t: ("header.stamp", _set("header.stamp", stamp_from(t)))),
)
"""(word that the refusal must contain, change of a valid chunk)."""

others = st.sampled_from(["pose", "joints", "tf", "motion", "task"]).flatmap(
    lambda kind: st.tuples(
        st.just(kind),
        changed({"pose": pose, "joints": joints, "tf": transforms, "motion": motion, "task": reference}[kind]()),
    )
)


def _deliver(node: Any, kind: str, msg: Any) -> None:
    {
        "pose": node._on_pose,
        "joints": node._on_joints,
        "tf": node._on_tf,
        "motion": node._on_motion,
        "task": node._on_task,
    }[kind](msg)


def _bad_chunk(change: Any) -> Any:
    msg = chunk("fr3_link0", now())
    change(msg)
    return msg


def _controller_at_rest(case: list) -> bool:
    """Send bad chunks and other changed messages. The controller must send no target."""
    node = fresh_controller()
    for kind, content in case:
        if kind == "chunk":
            word, change = content
            node._on_chunk(_bad_chunk(change))
            refused = node.status.message.refused
            expect(
                node.status.message.num_refused > 0 and word.split("[")[0] in refused, f"a bad {word}: {refused!r:.200}"
            )
        else:
            _deliver(node, kind, content[0])
        node._tick()
    expect(not node._out.messages, f"{len(node._out.messages)} targets after bad input alone")
    return False


def _controller_that_follows(case: list) -> bool:
    """Send the same while the arm stands at its goal. The targets must stay there or cease."""
    node = fresh_controller()
    node._on_chunk(chunk("fr3_link0", now()))
    for kind, content in case:
        if kind == "chunk":
            node._on_chunk(_bad_chunk(content[1]))
        elif kind != "tf":  # another tool transform is valid input
            _deliver(node, kind, content[0])
        node._tick()
    for msg in node._out.messages:
        p, there = msg.pose.position, pose().pose.position
        moved = np.linalg.norm([p.x - there.x, p.y - there.y, p.z - there.z])
        # A changed robot pose may move the held target to that pose, but no further.
        expect(
            np.isfinite(moved) and moved < (2e-3 if all(k == "chunk" for k, _ in case) else AWAY),
            f"a target {moved:.3f} m off",
        )
    return bool(node._out.messages)


def _services(case: str) -> bool:
    """Call the services in any order. The state must stay valid."""
    from std_srvs.srv import Trigger

    node = fresh_controller()
    for letter in case:
        call = {"s": node._start, "p": node._stop, "r": node._recover, "c": node._confirm}.get(letter)
        if call is not None:
            expect(bool(call(Trigger.Request(), Trigger.Response()).message), "an answer without words")
        elif letter == "b":
            node._on_chunk(_bad_chunk(lambda m: setattr(m, "ee_frame", "")))
        node._tick()
    expect(isinstance(node.controller.session.state, State) and not node._out.messages, "a target without a chunk")
    return True


# -- the other nodes ---------------------------------------------------------------------------------------------------


def _policy_node(case: list) -> bool:
    """Send changed messages of every kind to the policy. It must keep running and refuse with a reason."""
    node = station().policy
    node.status.message.num_refused, before = 0, len(node._chunks.messages)
    for kind, (msg, _) in case:
        if hasattr(msg, "header") and msg.header.stamp == stamp_from(1.7e9):
            msg.header.stamp = stamp_from(now())
        {
            "rgb": lambda m: node._on_image("rgb", "rgb", m),
            "depth": lambda m: node._on_image("depth", "depth", m),
            "info": node._on_info,
            "pose": node._on_pose,
            "joints": node._on_joints,
            "tf": node._on_tf,
            "reference": node._on_reference,
            "instruction": node._on_instruction,
            "status": node._on_status,
            "goal": lambda m: node._on_goal("rgb", "goal", m),
            "goal_depth": lambda m: node._on_goal("depth", "goal_depth", m),
        }[kind](msg)
    node._tick()
    expect(node.worker.failure is None, f"the policy's thread died of {node.worker.failure!r}")
    refused = node.status.message.num_refused
    expect(not refused or "refused: " in node.status.message.refused, "a refusal without words")
    expect(len(node._chunks.messages) == before, "a chunk out of bad input")
    return not refused


def _predict_motion(case: tuple) -> bool:
    """Call the service with an active task."""
    node = station().policy
    given = FromReference(reference())
    task = Encoded(FakeTask(np.zeros((2, 3)), np.zeros((2, 3))), given.msg)
    node.worker.give_task(given)
    node.worker.tasks.take()
    node.worker.tasks.accept(ActiveTask(given, task, CAMERA))
    node.worker._motion_policy = FakePolicy()
    try:
        answer = node._on_predict_motion(PredictMotion.Request(chunk=case[0]), PredictMotion.Response())
    finally:
        node.worker.tasks.drop(given)
    expect(answer.success or bool(answer.message), "neither a prediction nor a reason")
    return answer.success


def _goal(case: tuple) -> bool:
    """Read a changed goal of the action. The result is a task, or an error with a reason."""
    node = station().policy
    try:
        node._goal_task(case[0])
    except InputError as error:
        expect(bool(str(error)), "a refusal without words")
        return False
    return True


def _extrinsics_node(case: tuple) -> bool:
    node = station().extrinsics
    node._out.messages, node.status.message.num_refused = [], 0
    node._on_chunk(case[0])
    expect(bool(node._out.messages) != bool(node.status.message.num_refused), "neither passed on nor refused, or both")
    for msg in node._out.messages:
        expect(msg.header.frame_id == "fr3_link0" and len(msg.poses) == len(msg.gripper), "a chunk that is none")
    return bool(node._out.messages)


def _topic_feed(case: list) -> bool:
    """Send changed images to the camera node's feed from another driver."""
    out = Received()
    node = SimpleNamespace(
        topics=SimpleNamespace(rgb="/a", depth="/b", camera_info="/c", depth_info="/d"),
        resolve_topic_name=full_name,
        make_subscription=lambda *_: None,
    )
    feed = TopicFeed(node, SimpleNamespace(publish=lambda *m: out.publish(m)), TopicSettings())
    for kind, (msg, _) in case:
        feed._on_info(msg) if kind == "info" else feed._on_image(kind, msg)
    for rgb, depth, _ in out.messages:
        expect((rgb.width, rgb.height) == (depth.width, depth.height), "a pair of two sizes")
    feed.diagnose()
    return bool(out.messages)


def _station_target(case: tuple) -> bool:
    """Send a changed target to the station. It must accept finite targets only."""
    from uma_ros.nodes.station import StationNode

    refused: list[str] = []
    topics = SimpleNamespace(target_pose="/target_pose")
    me = SimpleNamespace(
        is_active=True,
        station=SimpleNamespace(base_frame="fr3_link0"),
        T_link8_tcp=np.eye(4),
        target=None,
        topics=topics,
        status=SimpleNamespace(refuse=lambda topic, error: refused.append(str(error))),
    )
    StationNode._on_target(me, case[0])
    expect((me.target is None) == bool(refused), "neither accepted nor refused")
    expect(me.target is None or np.isfinite(me.target).all(), "a target that is not finite")
    return me.target is not None


def _gripper_goal(case: tuple) -> bool:
    """Send a changed goal to the gripper node."""
    from rclpy.action import GoalResponse

    from uma_ros.nodes.gripper import GripperNode

    accepted, refused = [], []
    session = SimpleNamespace(goto=lambda *goal: accepted.append(goal) or 1)
    topics = SimpleNamespace(gripper="/gripper")
    settings = SimpleNamespace(action="ParallelGripperCommand")
    me = SimpleNamespace(
        is_active=True,
        settings=settings,
        topics=topics,
        session=session,
        status=SimpleNamespace(refuse=lambda topic, text: refused.append(text)),
    )
    answer = GripperNode._on_goal(me, case[0])
    is_accepted = answer == GoalResponse.ACCEPT
    expect(is_accepted == bool(accepted) and bool(accepted) != bool(refused), "neither accepted nor refused")
    return bool(accepted)


def _parameters(case: tuple[str, str, Any]) -> bool:
    """Set a parameter of any node to any value. The result is an error with its name, or settings in range."""
    node, key, value = case
    settings = settings_of(node)
    try:
        check_settings(replaced(settings, {key: value}))
    except InputError as error:
        expect(key.split(".")[-1] in str(error), f"{key} is not named: {error}")
        return False
    return True


def node_targets() -> list[Target]:
    kinds = {
        "rgb": image("rgb"),
        "depth": image("depth"),
        "info": info(),
        "pose": pose(),
        "joints": joints(),
        "tf": transforms(),
        "reference": reference(),
        "instruction": String(data="put it away"),
        "status": PolicyStatus(node="controller"),
        "goal": image("rgb"),
        "goal_depth": image("depth"),
    }

    def any_of(*names: str) -> st.SearchStrategy:
        return st.lists(
            st.sampled_from(names).flatmap(lambda n: st.tuples(st.just(n), changed(kinds[n]))), min_size=1, max_size=4
        )

    goals = [
        ExecuteTask.Goal(reference=reference()),
        ExecuteTask.Goal(instruction="put it away"),
        ExecuteTask.Goal(goal_rgb=image("rgb"), goal_depth=image("depth")),
        ExecuteTask.Goal(prompt="prompt.safetensors"),
    ]
    bad = st.lists(st.one_of(st.tuples(st.just("chunk"), bad_chunks), others), min_size=1, max_size=5)
    keys = [(node, key) for node in NODES for key in flatten(settings_of(node))]
    values = st.one_of(
        st.sampled_from(ODD[:-1]), st.integers(-(2**31), 2**31), st.floats(), st.text(max_size=8), st.booleans()
    )
    return [
        Target("controller at rest", bad, _controller_at_rest, 2.0),
        Target("controller that follows", bad, _controller_that_follows, 1.0),
        Target("controller's services", st.text("sprcbt", max_size=8), _services, 0.4),
        Target("policy node", any_of(*kinds), _policy_node, 1.5),
        Target("srv predict_motion", changed(chunk(CAMERA)), _predict_motion, 0.5),
        Target("action execute_task", st.one_of(*(changed(g) for g in goals)), _goal, 0.5),
        Target("extrinsics node", changed(chunk(CAMERA)), _extrinsics_node, 0.7),
        Target("camera from topics", any_of("rgb", "depth", "info"), _topic_feed, 0.7),
        Target("simulated arm's target", changed(pose()), _station_target, 0.5),
        Target("gripper's goal", changed(goal_to("ParallelGripperCommand", _wish())), _gripper_goal, 0.5),
        Target("parameters", st.tuples(st.sampled_from(keys), values).map(lambda c: (*c[0], c[1])), _parameters, 1.0),
    ]


def _wish() -> Any:
    from uma_ros.drivers.gripper.client import GripperGoal

    return GripperGoal(0.5, 0.1, 20.0)
