"""config/uma.rviz and config/foxglove.json: topics, types, fields and frames are those of the graph."""

import importlib
import re

import numpy as np
import pytest
import views
from builtin_interfaces.msg import Time

from uma.robot import DROID
from uma.settings import flatten
from uma.types import ActionChunk, KeypointState, MotionPrediction, ReferenceMotion
from uma_ros.messages.description.robot import fr3_2f85
from uma_ros.messages.markers import chunk_markers, keypoint_markers, motion_markers, reference_markers
from uma_ros.runtime.topics import Topics


def graph_topics():
    """Topic -> type, from the descriptions of the settings."""
    found = {"/diagnostics": views.DIAGNOSTICS, "/tf": "tf2_msgs/msg/TFMessage"}
    for topic, rule in flatten(Topics().in_namespace()).values():
        if kind := re.search(r"\((\w+)/(?:msg/)?(\w+)[,:)]", rule["description"]):
            found[topic] = f"{kind[1]}/msg/{kind[2]}"
    return found


def fields(kind):
    """Field -> type, of a message."""
    package, _, name = kind.split("/")
    return getattr(importlib.import_module(f"{package}.msg"), name).get_fields_and_field_types()


@pytest.mark.parametrize("topics", [views.rviz_topics, views.foxglove_topics])
def test_every_topic_is_one_of_the_graph_with_its_type(topics):
    known = graph_topics()
    shown = list(topics())
    assert len(shown) >= 7
    for topic, kind in shown:
        assert known.get(topic) == kind, topic
    t = Topics().in_namespace()
    assert {t.rgb, t.depth, t.depth_info, t.markers, t.robot_description} <= {topic for topic, _ in shown}


def test_every_path_of_a_panel_leads_to_a_field():
    known, count = graph_topics(), 0
    for path in views.foxglove_paths():
        found = views.PATH.fullmatch(path)
        assert found and found["topic"] in known, path
        kind = known[found["topic"]]
        if found["key"]:
            assert fields(kind)[found["key"]] == "string", path
        for part in re.findall(r"\.(\w+)|(\[-?\d+\])", found["fields"]):
            if part[0]:
                kind = fields(kind)[part[0]].replace("/", "/msg/", 1)
            else:
                assert kind.startswith("sequence<"), path
                kind = kind.removeprefix("sequence<").removesuffix(">")
        assert kind in ("double", "float", "uint8", "string"), path
        count += 1
    assert count >= 10


def test_the_views_stand_in_the_robot_s_frames():
    base, frames = DROID.base_frame, {link.name for link in fr3_2f85().links}
    shown = views.rviz()
    assert shown["Global Options"]["Fixed Frame"] == base
    pattern = next(d for d in shown["Displays"] if "Filter (whitelist)" in d)["Filter (whitelist)"]
    known = frames | {DROID.ee_frame, ReferenceMotion.frame}
    assert {f for f in known if re.search(pattern, f)} == {base, DROID.ee_frame, ReferenceMotion.frame}
    scene = views.foxglove()["configById"]["3D!station"]
    assert scene["followTf"] == scene["fixedFrame"] == scene["layers"]["table"]["frameId"] == base


def test_a_late_rviz_receives_the_description_and_all_markers():
    displays = {d["Class"].rpartition("/")[2]: d for d in views.rviz()["Displays"]}
    assert displays["RobotModel"]["Description Topic"]["Durability Policy"] == "Transient Local"
    points, poses = np.zeros((2, 1, 3)), np.tile(np.eye(4), (2, 1, 1))
    markers = [
        *reference_markers(ReferenceMotion([points[:, 0]]), Time()),
        *chunk_markers(ActionChunk(poses, np.zeros(2), 0.0, "optical", "tcp"), Time()),
        *motion_markers(MotionPrediction(points, 0.0, "optical"), Time()),
        *keypoint_markers(KeypointState(points[0], np.ones(1, bool)), "optical", Time()),
    ]
    shown = displays["MarkerArray"]["Namespaces"]
    assert set(shown) == {m.ns for m in markers} and all(shown.values())


def test_every_panel_stands_once_in_the_layout():
    def places(node):
        return [node] if isinstance(node, str) else [*places(node["first"]), *places(node["second"])]

    layout = views.foxglove()
    assert sorted(places(layout["layout"])) == sorted(layout["configById"])


def test_viewers_do_not_ask_for_reliable_images():
    images = [d for d in views.rviz()["Displays"] if d["Class"].endswith(("/Image", "/DepthCloud"))]
    policies = [d.get("Reliability Policy") or d["Topic"]["Reliability Policy"] for d in images]
    assert len(policies) == 3 and {p.lower() for p in policies} == {"best effort"}
