"""Foreign channels, recovery, QoS profiles and topics of other names."""

import pytest
from bag_files import T0, cdr, db3, mcap, numbers, packed
from mcap.writer import CompressionType, Writer
from rclpy.serialization import serialize_message
from std_msgs.msg import String

from uma.cli import main
from uma.types import InputError
from uma_ros.bags.candidates import candidates, chosen_topics, describe, graph_topics
from uma_ros.bags.metadata import dump, parse_profiles, profiles_of
from uma_ros.bags.reader import bag_channels, bag_topics, read_bag
from uma_ros.bags.recover import profiles_or_none, recover
from uma_ros.bags.tables import Channel
from uma_ros.bags.writer import BagWriter
from uma_ros.runtime.topics import LATCHED, STATUS, Topics

# -- channels that are not ROS 2's -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "schema, encoding, words",
    [
        (None, "cdr", "schemaless"),
        (None, "json", "schemaless"),
        ("jsonschema", "json", "messages in json"),
        ("protobuf", "protobuf", "messages in protobuf"),
        ("flatbuffer", "flatbuffer", "messages in flatbuffer"),
        ("ros1msg", "ros1", "ROS 1 messages"),
        ("ros2msg", "", "messages in an unnamed encoding"),
        ("protobuf", "cdr", "types in protobuf"),
    ],
)
def test_a_foreign_channel_is_named_and_others_are_read(tmp_path, schema, encoding, words, capsys):
    mcap(tmp_path / "bag/bag_0.mcap")
    mcap(tmp_path / "bag/bag_1.mcap", range(3, 6), "/odd", schema, encoding)
    assert numbers(tmp_path / "bag") == [0, 1, 2]
    with pytest.raises(InputError, match=f"/odd: {words}.*; must be std_msgs/msg/String"):
        numbers(tmp_path / "bag", "/odd")
    assert main(["inspect", str(tmp_path / "bag")]) == 0
    assert words in capsys.readouterr().out
    assert len(list(read_bag(tmp_path / "bag"))) == 6, "as bytes all are read"


def test_types_in_idl_are_ros_2s(tmp_path):
    assert numbers(mcap(tmp_path / "x.mcap", schema="ros2idl")) == [0, 1, 2]


def test_one_topic_of_two_types_has_none(tmp_path):
    mcap(tmp_path / "bag/bag_0.mcap")
    with open(tmp_path / "bag/bag_1.mcap", "wb") as file:
        writer = Writer(file)
        writer.start("ros2")
        channel = writer.register_channel(
            "/a", "cdr", writer.register_schema("std_msgs/msg/Int8", "ros2msg", b"int8 a")
        )
        writer.add_message(channel, T0 + 9, b"\0\1\0\0\5", T0 + 9)
        writer.finish()
    assert bag_topics(tmp_path / "bag")["/a"] == ("", 4) and len(bag_channels(tmp_path / "bag")) == 2
    with pytest.raises(InputError, match="/a: std_msgs/msg/Int8, must be std_msgs/msg/String"):
        numbers(tmp_path / "bag")


# -- recovery ----------------------------------------------------------------------------------------------------------


def test_a_split_bag_with_a_torn_last_file_is_recovered_as_one(tmp_path):
    for i in range(3):
        mcap(tmp_path / f"bag/bag_{i}.mcap", range(5 * i, 5 * i + 5), chunk_size=9)
    last = tmp_path / "bag/bag_2.mcap"
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    mcap(tmp_path / "bag/bag_1.mcap", range(5, 10), "/json", None, "json")
    left = {}
    count, first, _ = recover(tmp_path / "bag", tmp_path / "out", left_out=left.__setitem__)
    kept = numbers(tmp_path / "out")
    assert kept[:5] == [0, 1, 2, 3, 4] and kept[5:] and kept[5:] == list(range(10, 10 + len(kept) - 5))
    assert count == len(kept) and first == T0 and list(left) == ["/json"] and "schemaless" in left["/json"]


def test_sqlite_and_compressed_files_need_no_recovery(tmp_path):
    for path, words in ((db3(tmp_path / "x.db3"), "SQLite keeps"), (packed(mcap(tmp_path / "y.mcap")), "unzstd")):
        with pytest.raises(InputError, match=f"{path.name}: there is nothing to recover.*{words}"):
            recover(path, tmp_path / "out")


FOXY = """- history: 3
  depth: 0
  reliability: 1
  durability: 2
  deadline:
    sec: 2147483647
    nsec: 4294967295
  lifespan: {sec: 2147483647, nsec: 4294967295}
  liveliness: 1
  liveliness_lease_duration: {sec: 2147483647, nsec: 4294967295}
  avoid_ros_namespace_conventions: false
"""


@pytest.mark.parametrize(
    "text, field, value",
    [
        (FOXY, "durability", "volatile"),
        (FOXY, "history", "unknown"),
        (FOXY.replace("durability: 2", "durability: 1"), "durability", "transient_local"),
        (dump(profiles_of(LATCHED)), "durability", "transient_local"),
        ("- {history: keep_last, depth: 5, reliability: best_effort}", "reliability", "best_effort"),
        ("- {history: KEEP_ALL}", "history", "keep_all"),
        ("- {reliability: best_available}", "reliability", "best_available"),
        ("- {reliability: 99, depth: many}", "reliability", "reliable"),
        ("- {history: null, deadline: 5}", "deadline", {"sec": 9223372036, "nsec": 854775807}),
        ("[{}]", "liveliness", "automatic"),
    ],
)
def test_profiles_of_every_distro_are_read(text, field, value):
    (profile,) = parse_profiles(text)
    assert profile[field] == value and set(profile) == set(profiles_of(STATUS)[0])
    assert parse_profiles(dump([profile])) == [profile]


@pytest.mark.parametrize("text", ["[1]", "{a: 1}", "a: [", "5", "\0"])
def test_unreadable_profiles_do_not_stop_a_recovery(text):
    assert profiles_or_none(text) == []


# -- topics of other names ---------------------------------------------------------------------------------------------


def channels(*rows):
    return [Channel(i, topic, kind, count) for i, (topic, kind, count) in enumerate(rows)]


IMAGE, INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo"
REALSENSE = channels(
    ("/camera/camera/aligned_depth_to_color/camera_info", INFO, 90),
    ("/camera/camera/aligned_depth_to_color/image_raw", IMAGE, 90),
    ("/camera/camera/color/camera_info", INFO, 90),
    ("/camera/camera/color/image_raw", IMAGE, 90),
    ("/camera/camera/depth/image_rect_raw", IMAGE, 200),
    ("/camera/camera/infra1/image_rect_raw", IMAGE, 90),
    ("/color/compressed", "sensor_msgs/msg/CompressedImage", 90),
    ("/franka/joint_states", "sensor_msgs/msg/JointState", 900),
    ("/franka_robot_state_broadcaster/current_pose", "geometry_msgs/msg/PoseStamped", 900),
    ("/unused", IMAGE, 0),
)


def test_candidates_of_a_foreign_bag_are_found_by_type():
    found = candidates(REALSENSE)
    assert found["depth"][0] == "/camera/camera/aligned_depth_to_color/image_raw"
    assert found["rgb"][0] == "/camera/camera/color/image_raw" and "/unused" not in found["rgb"]
    assert found["camera_info"] == ["/camera/camera/color/camera_info"]
    assert found["robot_pose"] == ["/franka_robot_state_broadcaster/current_pose"]
    text = describe(REALSENSE)
    assert "use them with --topic rgb=" in text and "compressed images are not read: /color/compressed" in text
    t = Topics().in_namespace()
    own = [(t.rgb, IMAGE, 9), (t.depth, IMAGE, 9), (t.camera_info, INFO, 9), ("/other", IMAGE, 9)]
    assert candidates(channels(*own)) == {} and describe([]) == "(no topics)"


POLICY_STATUS = "uma_ros/msg/PolicyStatus"


@pytest.mark.parametrize(
    "topics, namespace, wanted",
    [
        ([], "", ""),
        (["/image"], "", ""),
        (["/uma/status", "/image"], "", ""),
        (["/left/uma/status"], "", "/left"),
        (["/left/uma/status"], "left", "/left"),
        (["/left/uma/status", "/lab/right/uma/status"], "lab/right", "/lab/right"),
        (["/left/uma/status", "/uma/status"], "/", ""),
        (["/image"], "left", "/left"),
    ],
)
def test_the_namespace_of_a_bag(topics, namespace, wanted):
    rows = ((topic, POLICY_STATUS if "uma" in topic else IMAGE, 3) for topic in topics)
    assert graph_topics(channels(*rows), namespace) == Topics().in_namespace(wanted)


@pytest.mark.parametrize("namespace", ["", "middle", "/"])
def test_a_bag_of_two_graphs_needs_a_choice(namespace):
    both = channels(("/left/uma/status", POLICY_STATUS, 3), ("/right/uma/status", POLICY_STATUS, 3))
    with pytest.raises(InputError, match=f"^namespace: '{namespace}', the bag has graphs in /left, /right; choose"):
        graph_topics(both, namespace)
    assert "graphs in the namespaces /left, /right" in describe(both)


def test_a_namespaced_bag_has_no_other_names():
    left = Topics().in_namespace("left")
    own = [(left.rgb, IMAGE, 9), (left.depth, IMAGE, 9), (left.camera_info, INFO, 9), (left.status, POLICY_STATUS, 9)]
    assert candidates(channels(*own)) == {}


@pytest.mark.parametrize(
    "words, name, topic",
    [
        (["rgb=/a"], "rgb", "/a"),
        (["colour=/a"], "rgb", "/a"),
        (["color=/a", "depth=/b"], "depth", "/b"),
        (["pose=/p"], "robot_pose", "/p"),
        ([], "rgb", Topics().in_namespace().rgb),
    ],
)
def test_topics_are_chosen_by_name(words, name, topic):
    assert getattr(chosen_topics(words), name) == topic


@pytest.mark.parametrize("word", ["rgb", "rgb=", "rgb=a", "image=/a", "=/a", "rgb=/a "])
def test_a_malformed_choice_of_topics_is_refused(word):
    with pytest.raises(InputError, match="topic: "):
        chosen_topics([word])


def test_calibrate_and_replay_take_topics_of_other_names(tmp_path, capsys):
    from sensor_msgs.msg import Image

    bag = BagWriter(tmp_path / "bag")
    bag.add_topic("/camera/color/image_raw", Image, STATUS)
    bag.write("/camera/color/image_raw", T0, serialize_message(Image()))
    bag.close()
    assert main(["calibrate", str(tmp_path / "bag"), "--topic", "rgb=/camera/color/image_raw"]) == 2
    assert f"no message on {Topics().in_namespace().camera_info}" in capsys.readouterr().err
    assert main(["replay", str(tmp_path / "bag"), "--topic", "rgb=/camera/color/image_raw", "depth=/d"]) == 2
    assert "must have at least one" in capsys.readouterr().err
    assert main(["replay", str(tmp_path / "bag"), "--topic", "picture=/d"]) == 2
    assert "picture=/d" in capsys.readouterr().err
    assert main(["inspect", str(tmp_path / "bag")]) == 0
    assert "use them with --topic rgb=/camera/color/image_raw" in capsys.readouterr().out


def test_a_stream_of_zeros_between_records_is_refused(tmp_path):
    path = mcap(tmp_path / "x.mcap", range(40), compression=CompressionType.NONE)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 50] = bytes(50)
    path.write_bytes(data)
    with pytest.raises(InputError, match="bag .*x.mcap"):
        bag_topics(path)
        numbers(path)


@pytest.mark.parametrize("chunk_size", [1, 60, 200, 10**6])
def test_overlapping_chunks_come_in_the_order_of_time(tmp_path, chunk_size):
    times = [5, 1, 3, 3, 9, 2, 0, 7, 7, 4, 6, 8, 1]
    with open(tmp_path / "x.mcap", "wb") as file:
        writer = Writer(file, chunk_size=chunk_size)
        writer.start("ros2")
        channel = writer.register_channel("/a", "cdr", writer.register_schema("std_msgs/msg/String", "ros2msg", b""))
        for i, t in enumerate(times):
            writer.add_message(channel, T0 + t, cdr(str(i)), T0 + t)
        writer.finish()
    found = [(t - T0, int(m.data)) for _, t, m in read_bag(tmp_path / "x.mcap", {"/a": String})]
    assert found == sorted((t, i) for i, t in enumerate(times)), "of equal times, in the order of writing"
