"""Tasks that are no reference motion: an instruction, a stored prompt, a goal image. Over DDS, with the fake policy."""

import subprocess
import sys
import time

import numpy as np
import pytest
import yaml
from box_scene import CAMERA, T_WORLD_CAM, box_pose, draw, in_camera, textures
from fake_policy import FakePolicy
from geometry_msgs.msg import PoseStamped, TransformStamped
from harness import FAKE, TOPICS, Graph
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage
from uma_ros.msg import PolicyStatus
from uma_ros.srv import PredictMotion

from uma.geometry.se3 import apply
from uma.robot import DROID
from uma_ros.bags.reader import bag_topics
from uma_ros.messages.convert import camera_to, image_to, nanoseconds, reference_from, stamp_from, transform_to
from uma_ros.offline import replay as bags
from uma_ros.offline.recording import read_recording
from uma_ros.runtime.topics import CONFIGURATION, LATCHED, TASK_IN

# -- in words, and as a stored prompt ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    """Seconds with a stored prompt, an instruction, and a reference motion, each checked while it runs."""
    folder = tmp_path_factory.mktemp("words")
    prompt = folder / "prompt.safetensors"
    prompt.write_text("a prompt")
    changes = {"policy": {"checkpoint": "words", "prompt": str(prompt)}}
    g = Graph(folder, changes=changes, record=str(folder / "bag"))
    c, configurations = g.client, []
    c.node.create_subscription(
        String, TOPICS.configuration, lambda m: configurations.append(yaml.safe_load(m.data)), CONFIGURATION
    )
    try:
        a_prompt_is_the_task_from_the_start(c, configurations)
        instructions_that_are_none_are_refused(c)
        an_instruction_is_the_task(c)
        motions = len(c.motions)
        c.send(c.scene, 2)  # the recorder's log should have it too
        c.wait(lambda: c.active.keypoints and len(c.motions) > motions + 1, 30.0, "predicted motion of a reference")
    finally:
        codes = g.close()
    assert set(codes.values()) == {0}, codes
    return folder / "bag"


def a_prompt_is_the_task_from_the_start(c, configurations) -> None:
    c.wait(lambda: c.state("policy") == PolicyStatus.RUNNING and len(c.chunks) > 3 and c.active, 90.0, "chunks")
    assert not c.active.keypoints and not c.active.object_label and not c.motions
    c.wait(lambda: any(s["node"] == "policy" for s in configurations), 10.0, "the configuration")
    (own,) = (s for s in configurations if s["node"] == "policy")
    assert own["parameters"]["prompt"].endswith("prompt.safetensors")
    c.wait(lambda: c.state("recorder") == PolicyStatus.RUNNING, 60.0, "the recorder")
    seen = len(c.chunks)
    c.wait(lambda: len(c.chunks) >= seen + 6, 60.0, "chunks that are recorded")


def instructions_that_are_none_are_refused(c) -> None:
    seen = len(c.history)
    for text, words in (("  ", "data: empty"), ("a" * 201, "201 characters, at most 200")):
        c.out["instruction"].publish(String(data=text))
        c.wait(lambda words=words: any(words in m.refused for m in c.history[seen:]), 20.0, words)
    assert not c.active.object_label and c.state("policy") == PolicyStatus.RUNNING, "the running task stays"


def an_instruction_is_the_task(c) -> None:
    c.out["instruction"].publish(String(data="lift the spoon"))
    c.wait(lambda: c.active.object_label == "lift the spoon", 20.0, "the echo")
    assert not c.active.keypoints and c.active.header.frame_id == "zed_left_camera_frame_optical"
    chunks = len(c.chunks)
    c.wait(lambda: len(c.chunks) > chunks + 5, 30.0, "chunks")
    assert not c.motions, "there are no keypoints whose motion could be predicted"
    # The prompt has raised the arm as well, perhaps to the top of the workspace.
    c.wait(lambda: np.ptp(c.last_chunk().poses[:, 2, 3]) > 0.05, 30.0, "a chunk that moves")
    reply = c.call("/uma/predict_motion", PredictMotion, PredictMotion.Request(chunk=c.chunks[-1]))
    assert not reply.success and "has no keypoints" in reply.message


def test_prompt_and_instruction_are_tasks_and_their_bag_replays(bag):
    assert bag_topics(bag)[TOPICS.instruction][1] >= 1
    assert len(read_recording(bag).references) == 1, "neither a prompt nor an instruction is a reference motion"
    rows, episode, _ = bags.replay(bag, load=lambda s: (FakePolicy(s), None))
    assert len(rows) == len(episode.chunks) > 10
    made = [row for row in rows if not row.missing]
    # The first chunks are of images from before the recorder's start.
    assert len(made) >= len(rows) - 4, {row.missing for row in rows}
    assert np.mean([row.equal for row in made]) > 0.7
    assert max(row.position_m for row in made) < 0.1, "no chunk is taken for one of another task"


def test_replay_without_instructions_names_what_is_missing(bag):
    rows, _, _ = bags.replay(bag, load=lambda s: (FakePolicy(), None))
    assert any("'lift the spoon', this checkpoint accepts reference motions only" in row.missing for row in rows)


@pytest.mark.parametrize("content, words", [(None, "no such file"), ("nonsense", "damaged")])
def test_a_bad_prompt_ends_the_node_with_a_message(tmp_path, content, words):
    path = tmp_path / "prompt.safetensors"
    if content:
        path.write_text(content)
    done = subprocess.run(
        [sys.executable, FAKE, "--ros-args", "-p", f"prompt:={path}"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and str(path) in done.stderr and words in done.stderr and "Traceback" not in done.stderr


# -- as a picture ------------------------------------------------------------------------------------------------------


class DrawnStation:
    """The policy alone, before a drawn scene that the tester publishes."""

    def __init__(self, folder) -> None:
        self.shown, faces = 0.0, textures(np.random.default_rng(0))
        self.A, self.B = box_pose(-0.1, 0.0, 0.1), box_pose(0.1, 0.05, 0.4, z=0.05)
        self.now, self.goal = draw(self.A, faces)[:2], draw(self.B, faces)[:2]
        changes = {
            "policy": {
                "use_sim_time": False,
                "require_controller": False,
                "max_image_age": 2.0,
                "max_state_age": 2.0,
                "max_frozen": 0.0,
            }
        }
        self.graph = Graph(folder, without=("station", "camera", "extrinsics", "controller"), changes=changes)
        self.client = self.graph.client
        node = self.client.node
        self.out = [node.create_publisher(Image, topic, TASK_IN) for topic in (TOPICS.goal_image, TOPICS.goal_depth)]
        self.tf = node.create_publisher(TFMessage, "/tf_static", LATCHED)
        transforms = []
        for parent, child, T in (("fr3_link0", "cam", T_WORLD_CAM), ("fr3_link8", "robotiq_2f85_tcp", np.eye(4))):
            t = TransformStamped(child_frame_id=child, transform=transform_to(T))
            t.header.frame_id = parent
            transforms.append(t)
        self.tf.publish(TFMessage(transforms=transforms))
        node.create_timer(0.1, self._tick)

    def _tick(self) -> None:
        stamp = stamp_from(time.time())
        pose = PoseStamped()
        pose.header.frame_id, pose.header.stamp, pose.pose.orientation.w, pose.pose.position.z = (
            "fr3_link0",
            stamp,
            1.0,
            0.4,
        )
        joints = JointState(name=[DROID.gripper_joint], position=[0.0])
        joints.header.stamp = stamp
        c = self.client
        c.out["camera_info"].publish(camera_to(CAMERA, stamp))
        c.out["rgb"].publish(image_to(self.now[0], "rgb8", "cam", stamp))
        c.out["depth"].publish(image_to(self.now[1], "32FC1", "cam", stamp))
        c.out["pose"].publish(pose)
        c.out["joints"].publish(joints)

    def show(self, rgb=None, depth=None, frame="cam", encoding="32FC1", apart=0.0, alone=False) -> None:
        """Publish a goal, long past: its age is no matter."""
        self.shown += 1.0
        rgb, depth = self.goal[0] if rgb is None else rgb, self.goal[1] if depth is None else depth
        if not alone:
            self.out[0].publish(image_to(rgb, "rgb8", frame, stamp_from(self.shown)))
        self.out[1].publish(image_to(depth, encoding, frame, stamp_from(self.shown + apart)))

    def show_until_accepted(self) -> None:
        """Publish a good goal, and again where a part of a large image was lost, until the policy accepts it."""
        before = self.client.active
        for _ in range(5):
            self.show()
            try:
                self.client.wait(lambda: self.client.active is not before, 15.0, "a goal in force")
            except AssertionError:
                continue
            return
        raise AssertionError(f"no goal in force after 5 attempts: {self.client.status}")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    station = DrawnStation(tmp_path_factory.mktemp("drawn"))
    try:
        c = station.client
        c.wait(
            lambda: c.state("policy") == PolicyStatus.READY and all(p.get_subscription_count() for p in station.out),
            90.0,
            "READY",
        )
        yield station
    finally:
        codes = station.graph.close()
    assert codes == {"policy": 0}


def test_a_goal_image_becomes_a_reference_motion_in_force(drawn):
    c = drawn.client
    drawn.show()
    c.wait(lambda: c.active is not None and c.chunks, 60.0, "the echo and chunks")
    reference = reference_from(c.active)
    first, last = (np.stack([w[i] for w in reference.waypoints]) for i in (0, -1))
    error = np.linalg.norm(apply(in_camera(drawn.A, drawn.B), first) - last, axis=1) * 1e3
    print(f"{len(error)} keypoints, {np.median(error):.1f} mm median, {error.max():.1f} mm at most")
    assert reference.frame == "cam" and 6 <= len(error) <= 16 and all(len(w) == 2 for w in reference.waypoints)
    assert np.median(error) < 3.0 and error.max() < 15.0
    assert nanoseconds(c.active.header.stamp) > 1e18, "o_0 is the observation of now, not the goal"


REFUSED = {
    "another size": (
        dict(rgb=np.zeros((180, 320, 3), np.uint8)),
        TOPICS.goal_image,
        ["width x height", "320x180", "640x360"],
    ),
    "another frame": (dict(frame="wrist"), TOPICS.goal_image, ["header.frame_id", "'wrist'", "'cam'"]),
    "stamps differ": (
        dict(apart=0.5),
        TOPICS.goal_image,
        ["header.stamp", TOPICS.goal_depth, "no image of this stamp on"],
    ),
    "depth alone": (
        dict(alone=True),
        TOPICS.goal_depth,
        ["header.stamp", TOPICS.goal_image, "no image of this stamp on"],
    ),
    "depth in another encoding": (
        dict(encoding="rgb8"),
        TOPICS.goal_depth,
        ["encoding", "'rgb8'", "32FC1, 16UC1, mono16"],
    ),
    "nothing to match": (
        dict(rgb=np.zeros((360, 640, 3), np.uint8)),
        TOPICS.goal_image,
        ["0 matches left of 0", "at least 3"],
    ),
    "no depth": (
        dict(depth=np.full((360, 640), np.nan, np.float32)),
        TOPICS.goal_image,
        ["(0 have valid depth", "at least 3"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_goal_is_refused_and_the_task_stays(drawn, name):
    change, topic, words = REFUSED[name]
    c = drawn.client
    if c.active is None:
        drawn.show_until_accepted()
    c.wait(lambda: c.active is not None and c.state("policy") == PolicyStatus.RUNNING, 60.0, "a task that runs")
    seen, active, chunks = len(c.history), c.active, len(c.chunks)
    drawn.show(**change)

    def refusals() -> list[str]:
        return [m.refused for m in c.history[seen:] if topic in m.refused]

    c.wait(lambda: any(all(w in text for w in words) for text in refusals()), 60.0, f"a refusal with {words}")
    c.wait(lambda: len(c.chunks) > chunks + 1, 30.0, "further chunks")
    assert c.active is active
    drawn.show_until_accepted()
