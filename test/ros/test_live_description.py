"""The robot's description and frames on the live simulated graph, and what rviz and Foxglove show of it."""

import xml.etree.ElementTree as xml

import numpy as np
import pytest
import views
from harness import TOPICS, Graph
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage
from uma_ros.msg import PolicyStatus
from visualization_msgs.msg import MarkerArray

from uma.robot import DROID
from uma_ros.calibration.files import load_calibration
from uma_ros.messages.convert import nanoseconds, pose_from
from uma_ros.runtime.topics import LATCHED, STATIC_TF_IN, STATUS, TF_OUT

TIPS = ("robotiq_85_left_finger_tip_link", "robotiq_85_right_finger_tip_link")
CAMERA = "zed_left_camera_frame_optical"


class Tree:
    """All transforms that a node receives on /tf and /tf_static."""

    def __init__(self, node):
        self.parents: dict[str, set[str]] = {}
        self.moving: dict[int, dict[str, np.ndarray]] = {}  # stamp -> child -> T_parent_child
        self.fixed: dict[str, np.ndarray] = {}
        node.create_subscription(TFMessage, "/tf", lambda m: self._take(m, True), TF_OUT)
        node.create_subscription(TFMessage, "/tf_static", lambda m: self._take(m, False), STATIC_TF_IN)

    def _take(self, msg, moves):
        for t in msg.transforms:
            self.parents.setdefault(t.child_frame_id, set()).add(t.header.frame_id)
            T = pose_from(t.transform, "transform")
            if moves:
                self.moving.setdefault(nanoseconds(t.header.stamp), {})[t.child_frame_id] = T
            else:
                self.fixed[t.child_frame_id] = T

    def pose(self, frame, stamp=None):
        """``(4, 4)`` pose of a frame in the base, at the newest stamp with all joints if none is given."""
        full = [s for s, known in self.moving.items() if {TIPS[0], "fr3_link7"} <= known.keys()]
        known = self.fixed | self.moving[max(full) if stamp is None else stamp]
        T = np.eye(4)
        while frame != DROID.base_frame:
            (parent,) = self.parents[frame]
            T, frame = known[frame] @ T, parent
        return T

    def is_whole(self):
        try:
            [self.pose(frame) for frame in (*TIPS, CAMERA, DROID.ee_frame, DROID.flange_frame)]
        except (KeyError, ValueError):
            return False
        return True


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    alone = {"policy": {"require_controller": False}}  # the controller may wait for a person on a busy machine
    g = Graph(tmp_path_factory.mktemp("description"), changes=alone, description="own")
    yield g
    assert set(g.close().values()) <= {0}


@pytest.fixture(scope="module")
def tree(graph):
    found = Tree(graph.client.node)
    graph.client.wait(found.is_whole, 90.0, "frames of camera, tool and finger tips")
    return found


def test_one_tree_leads_from_the_base_to_camera_and_finger_tips(graph, tree):
    graph.client.spin(2.0)
    assert all(len(parents) == 1 for parents in tree.parents.values()), "tf2 keeps one parent for a frame"
    roots = {p for parents in tree.parents.values() for p in parents} - set(tree.parents)
    assert roots == {DROID.base_frame}
    calibration = load_calibration(graph.options.run_dir + "/calibration.yaml")
    assert np.allclose(tree.pose(CAMERA), calibration.T_base_cam, atol=1e-6)
    pads = [tree.pose(tip) for tip in TIPS]
    gap = np.linalg.norm(pads[0][:3, 3] - pads[1][:3, 3])
    middle = (pads[0][:3, 3] + pads[1][:3, 3]) / 2
    assert 0.01 < gap < 0.11 and np.linalg.norm(middle - tree.pose(DROID.ee_frame)[:3, 3]) < 0.06


def test_the_flange_is_where_the_robot_reports_it(graph, tree):
    c = graph.client
    reported = lambda: {nanoseconds(m.header.stamp): m for _, m in c.poses}  # noqa: E731
    both = lambda: [s for s in reported().keys() & tree.moving.keys() if "fr3_link8" in tree.moving[s]]  # noqa: E731
    c.wait(lambda: len(both()) >= 20, 60.0, "frames and poses of the same instant")
    for stamp in both():
        wanted = pose_from(reported()[stamp].pose, "pose")
        assert np.allclose(tree.pose(DROID.flange_frame, stamp), wanted, atol=1e-5)


def test_a_late_viewer_receives_the_description(graph, tree):
    heard = []
    graph.client.node.create_subscription(String, TOPICS.robot_description, heard.append, LATCHED)
    graph.client.wait(lambda: heard, 30.0, "the description")
    robot = xml.fromstring(heard[0].data)
    links = [link.get("name") for link in robot.findall("link")]
    assert links[0] == DROID.base_frame and set(links[1:]) <= set(tree.parents), "every link has a frame"


def test_what_the_views_show_is_published_with_that_type(graph):
    c = graph.client
    shown = {*views.rviz_topics(), *views.foxglove_topics()}
    shown |= {(views.PATH.fullmatch(p)["topic"], "") for p in views.foxglove_paths()}

    def missing():
        kinds = dict(c.node.get_topic_names_and_types())
        return [
            (topic, kind)
            for topic, kind in shown
            if kind and kind not in kinds.get(topic, []) or not c.node.count_publishers(topic)
        ]

    assert len(shown) >= 10
    c.wait(lambda: not missing(), 60.0, f"publishers of {missing()}")


def test_a_late_viewer_sees_reference_chunk_and_prediction(graph):
    c, seen = graph.client, set()
    c.wait(lambda: c.state("policy") == PolicyStatus.READY and c.scene, 90.0, "READY")
    c.send(c.scene)
    c.wait(lambda: c.motions, 60.0, "a chunk with its motion")
    c.node.create_subscription(MarkerArray, TOPICS.markers, lambda m: seen.update(k.ns for k in m.markers), STATUS)
    wanted = {"reference", "chunk", "predicted"}
    c.wait(lambda: wanted <= seen, 60.0, "markers of all motions")
    assert wanted <= seen
