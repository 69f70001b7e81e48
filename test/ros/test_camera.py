"""Sources of the camera node over DDS: a folder of frames, another driver's topics, a missing ZED SDK."""

import os
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import rclpy
import yaml
from diagnostic_msgs.msg import DiagnosticArray
from harness import ROOT, TOPICS
from PIL import Image as Picture
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image

from uma.types import CameraModel, InputError
from uma_ros.deployment.graph import NodeSpec
from uma_ros.deployment.supervisor import Supervisor
from uma_ros.drivers.camera.feeds import PRESETS, Outlets, Pairing, TopicSettings
from uma_ros.messages.convert import camera_from, camera_to, depth_from, image_to, nanoseconds, rgb_from, stamp_from
from uma_ros.runtime.topics import SENSOR_IN, Topics, qos_profile

MODEL = CameraModel(8, 6, 7.0, 7.0, 3.5, 2.5, "some_optical_frame")
CONFIG = str(ROOT / "config/parameters.yaml")


class Bench:
    """The camera node, and a client that receives its images and publishes for other drivers."""

    def __init__(self, folder, **parameters) -> None:
        self.supervisor = Supervisor(folder / "log")
        self.log = folder / "log/camera.log"
        self.supervisor.start(NodeSpec("camera", parameters, module="uma_ros.nodes.camera"), CONFIG)
        rclpy.init()
        self.node = Node("tester")
        self.rgb: list[Image] = []
        self.depth: list[Image] = []
        self.info: list[CameraInfo] = []
        self.diagnostics: dict[str, str] = {}
        for kind, topic, store in (
            (Image, TOPICS.rgb, self.rgb),
            (Image, TOPICS.depth, self.depth),
            (CameraInfo, TOPICS.camera_info, self.info),
        ):
            self.node.create_subscription(kind, topic, store.append, SENSOR_IN)
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        self.diagnostics = {v.key: v.value for s in msg.status for v in s.values}

    def wait(self, condition, what: str, timeout: float = 30.0) -> None:
        end = time.monotonic() + timeout
        while not condition():
            rclpy.spin_once(self.node, timeout_sec=0.02)
            assert time.monotonic() < end, f"{what} did not come: {self.diagnostics}\n{self.log.read_text()}"

    def close(self) -> int:
        self.node.destroy_node()
        rclpy.try_shutdown()
        return self.supervisor.stop()["camera"]


def test_a_folder_of_frames_comes_out_under_the_zeds_names(tmp_path):
    (tmp_path / "camera.yaml").write_text(
        yaml.safe_dump(
            {"width": 8, "height": 6, "fx": 7.0, "fy": 7.0, "cx": 3.5, "cy": 2.5, "frame": "some_optical_frame"}
        )
    )
    for i in range(2):
        Picture.fromarray(np.full((6, 8, 3), (i, 50, 100), np.uint8)).save(tmp_path / f"{i}.png")
        np.save(tmp_path / f"{i}.depth.npy", np.full((6, 8), 1.0 + i, np.float32))
    b = Bench(tmp_path, source="folder", **{"folder.path": str(tmp_path)})
    try:
        b.wait(lambda: len(b.rgb) > 4 and len(b.depth) > 4 and b.info, "frames")
        depth = {nanoseconds(m.header.stamp): m for m in b.depth}
        pairs = [(m, depth[s]) for m in b.rgb if (s := nanoseconds(m.header.stamp)) in depth]
        assert len(pairs) > 3, "colour and depth of a frame have one stamp"
        for rgb, d in pairs:
            i = rgb_from(rgb)[0, 0, 0]
            assert (rgb_from(rgb)[2, 3] == (i, 50, 100)).all() and (depth_from(d) == 1.0 + i).all()
            assert (
                rgb.header.frame_id == d.header.frame_id == "some_optical_frame"
                and abs(nanoseconds(rgb.header.stamp) * 1e-9 - time.time()) < 20
            )
        assert camera_from(b.info[-1]) == MODEL
        b.wait(
            lambda: int(b.diagnostics.get("good", 0)) > 10 and "2 frames of 8x6" in b.diagnostics["device"],
            "counts in the diagnostics",
        )
    finally:
        assert b.close() == 0


def test_a_damaged_frame_in_a_folder_is_named_in_the_diagnostics(tmp_path):
    (tmp_path / "camera.yaml").write_text(
        yaml.safe_dump({"width": 8, "height": 6, "fx": 7.0, "fy": 7.0, "cx": 3.5, "cy": 2.5})
    )
    Picture.fromarray(np.zeros((6, 8, 3), np.uint8)).save(tmp_path / "0.png")
    (tmp_path / "0.depth.npy").write_bytes(b"\x93NUMPY nonsense")
    b = Bench(tmp_path, source="folder", **{"folder.path": str(tmp_path)})
    try:
        b.wait(lambda: "0.depth.npy" in b.diagnostics.get("folder", ""), "the file's name")
    finally:
        assert b.close() == 0


def test_simulated_source_reports_the_missing_station(tmp_path):
    b = Bench(tmp_path)
    try:
        b.wait(lambda: "on hardware, set another source" in b.diagnostics.get("sim", ""), "what it waits for")
    finally:
        assert b.close() == 0


def test_foreign_topics_are_republished_with_one_stamp(tmp_path):
    b = Bench(tmp_path, source="topics", **{"inputs.preset": "realsense", "inputs.name": "camera"})
    names = (
        "/camera/camera/color/image_raw",
        "/camera/camera/aligned_depth_to_color/image_raw",
        "/camera/camera/color/camera_info",
    )
    out = [
        b.node.create_publisher(kind, name, qos_profile(5, False))
        for kind, name in zip((Image, Image, CameraInfo), names)
    ]
    rgb, depth = np.full((6, 8, 3), (10, 20, 30), np.uint8), np.full((6, 8), 1234, np.uint16)
    try:
        b.wait(lambda: all(o.get_subscription_count() for o in out), "the node's subscriptions")
        b.wait(
            lambda: "waiting for /camera/camera/color/camera_info" in b.diagnostics.get("topics", ""),
            "what it waits for",
        )

        def publish(size=8):
            t = time.time()
            out[2].publish(camera_to(MODEL, stamp_from(t)))
            out[1].publish(image_to(depth[:, :size], "16UC1", "depth_frame", stamp_from(t + 0.002)))
            out[0].publish(image_to(rgb, "rgb8", "some_optical_frame", stamp_from(t)))

        b.wait(lambda: publish() or len(b.depth) >= 3, "frames")
        assert {nanoseconds(m.header.stamp) for m in b.depth} & {nanoseconds(m.header.stamp) for m in b.rgb}, (
            "2 ms apart at the driver, one frame here"
        )
        assert (
            b.depth[-1].header.frame_id == "some_optical_frame"
            and np.allclose(depth_from(b.depth[-1]), 1.234)
            and (rgb_from(b.rgb[-1])[0, 0] == (10, 20, 30)).all()
        )
        b.wait(lambda: int(b.diagnostics.get("good", 0)) > 0 and "topics" not in b.diagnostics, "no problem")
        b.wait(
            lambda: publish(size=4) or "4x6 pixels, must be 8x6" in b.diagnostics.get("topics", ""),
            "depth of another size is refused",
        )
    finally:
        assert b.close() == 0


@pytest.mark.parametrize(
    "unrelated, words", [(False, "pyzed is missing: install the ZED SDK"), (True, "unrelated package from PyPI")]
)
def test_without_the_sdk_the_node_ends_with_a_message(tmp_path, unrelated, words):
    if unrelated:
        (tmp_path / "pyzed.py").write_text("class Client: ...\n")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    command = [sys.executable, "-m", "uma_ros.nodes.camera", "--ros-args", "-p", "source:=zed"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, cwd=ROOT)
    assert (
        ended.returncode == 2
        and words in ended.stderr
        and "get_python_api.py" in ended.stderr
        and "Traceback" not in ended.stderr
    ), ended.stderr


def test_the_vendors_own_node_needs_no_camera_node(tmp_path):
    command = [
        sys.executable,
        "-m",
        "uma_ros.nodes.camera",
        "--ros-args",
        "-p",
        "source:=topics",
        "-p",
        "inputs.name:=zed",
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert ended.returncode == 2 and f"{TOPICS.rgb}, must differ from this node's own topics" in ended.stderr, (
        ended.stderr
    )


# -- names and pairs ---------------------------------------------------------------------------------------------------


def test_presets_have_the_names_of_the_drivers():
    own = Topics()
    assert TopicSettings("realsense").resolved()[0] == "camera/camera/color/image_raw"
    assert TopicSettings("zed_v5").resolved()[0] == "zed2i/zed_node/rgb/color/rect/image"
    assert TopicSettings("zed_v4", "zed2i").resolved() == (
        "zed2i/zed_node/rgb/image_rect_color",
        "zed2i/zed_node/depth/depth_registered",
        "zed2i/zed_node/rgb/camera_info",
    )
    assert TopicSettings("zed_v5", "zed").resolved() == (own.rgb, own.depth, own.camera_info), (
        "our own names are those of its version 5"
    )
    assert TopicSettings("realsense", "camera", depth="/d").resolved() == (
        "camera/camera/color/image_raw",
        "/d",
        "camera/camera/color/camera_info",
    )
    with pytest.raises(InputError, match="inputs.depth: empty"):
        TopicSettings("custom", rgb="/r").resolved()
    assert set(PRESETS) == {"zed_v5", "zed_v4", "realsense", "custom"}


def message(t_ms: int) -> Image:
    return image_to(np.zeros((1, 1, 3), np.uint8), "rgb8", "f", stamp_from(t_ms * 1e-3))


def test_pairs_share_a_stamp_and_singles_are_counted():
    p = Pairing(0.005)
    a, b, c = message(1000), message(1003), message(1033)
    assert p.add("rgb", a) is None and p.add("depth", b) == (a, b)
    assert p.add("depth", c) is None
    late = message(1100)
    assert p.add("rgb", late) is None, "67 ms away"
    partner = message(1096)
    assert p.add("depth", partner) == (late, partner)
    assert dict(p.counts) == {"good": 2, "unpaired": 1}
    for i in range(20):
        assert p.add("rgb", message(2000 + 33 * i)) is None
    assert p.counts["unpaired"] == 1 + 12, "8 wait, the others are given up"


def test_of_two_candidates_the_nearer_is_taken():
    p = Pairing(0.010)
    first, second = message(1000), message(1008)
    p.add("rgb", first)
    p.add("rgb", second)
    depth = message(1007)
    assert p.add("depth", depth) == (second, depth)


@pytest.mark.parametrize(("is_simulated", "rate"), [(True, 15.0), (False, 5.0)])
def test_frames_are_counted_on_the_clock_of_the_images(monkeypatch, is_simulated, rate):
    """At a third of real time, 15 simulated frames a second are 5 a second of the wall clock."""
    wall = [100.0]
    monkeypatch.setattr("uma_ros.drivers.camera.feeds.time.monotonic", lambda: wall[0])
    node = SimpleNamespace(
        settings=SimpleNamespace(topics=TOPICS),
        make_publisher=lambda *_: SimpleNamespace(publish=lambda message: None, get_subscription_count=lambda: 0),
        get_parameter=lambda name: SimpleNamespace(value=is_simulated),
        ros_time=lambda: (wall[0] - 100.0) / 3,
        is_active=True,
    )
    outlets = Outlets(node, 15.0)
    for _ in range(60):
        wall[0] += 0.2
        outlets.publish(None, None, None)
    assert outlets.frames.rate(outlets.now()) == pytest.approx(rate, rel=0.01)
