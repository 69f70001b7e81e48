"""Image feeds of the camera node: the simulated camera, a device, or another driver's topics.

Each feed publishes colour, depth and the intrinsics of both.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from uma.control.cadence import Cadence
from uma.settings import setting
from uma.types import InputError
from uma_ros.drivers.camera.source import CameraSource, FrameSession
from uma_ros.drivers.device import DeviceError
from uma_ros.messages.compressed import SUFFIX, compressed
from uma_ros.messages.convert import image_to, nanoseconds, rectified_from, stamp_from
from uma_ros.messages.frame_buffer import check_image
from uma_ros.messages.intrinsics import camera_from, camera_to, is_raw
from uma_ros.runtime.node import UmaNode
from uma_ros.runtime.topics import CAMERA_OUT, SENSOR_IN, Topics

PRESETS = {
    "zed_v5": (
        "{name}/zed_node/rgb/color/rect/image",
        "{name}/zed_node/depth/depth_registered",
        "{name}/zed_node/rgb/color/rect/camera_info",
    ),
    "zed_v4": (
        "{name}/zed_node/rgb/image_rect_color",
        "{name}/zed_node/depth/depth_registered",
        "{name}/zed_node/rgb/camera_info",
    ),
    "realsense": (
        "{name}/{name}/color/image_raw",
        "{name}/{name}/aligned_depth_to_color/image_raw",
        "{name}/{name}/color/camera_info",
    ),
    "custom": ("", "", ""),
}
"""Driver -> its topics of colour, depth registered to colour, and intrinsics.

The drivers are zed-ros2-wrapper from 5.1, zed-ros2-wrapper before 5.1, and realsense2_camera with align_depth.
"""

NAMES = {"zed_v5": "zed2i", "zed_v4": "zed2i", "realsense": "camera"}
"""Driver -> its usual name of the camera."""


@dataclass(frozen=True)
class TopicSettings:
    """Another driver's RGB-D topics."""

    preset: str = setting("zed_v5", "driver whose topic names are used", choices=tuple(PRESETS))
    name: str = setting("", "name of the camera in the topics; empty = zed2i, or camera for realsense")
    rgb: str = setting("", "topic of the colour image, overrides the preset")
    depth: str = setting("", "topic of the depth registered to colour, overrides the preset")
    camera_info: str = setting("", "topic of the intrinsics of both, overrides the preset")
    pair_within: float = setting(
        0.005, "s; largest time between colour and depth of a frame, which has the stamp of the colour image", 0.0, 0.1
    )

    def resolved(self) -> tuple[str, str, str]:
        """Return the topics of colour, depth and intrinsics. Raises `InputError` for an empty one."""
        given = {"rgb": self.rgb, "depth": self.depth, "camera_info": self.camera_info}
        name = self.name or NAMES.get(self.preset, "")
        found = tuple(value or preset.format(name=name) for value, preset in zip(given.values(), PRESETS[self.preset]))
        for key, topic in zip(given, found):
            if not topic:
                raise InputError(f"inputs.{key}: empty, must name a topic with the preset {self.preset!r}")
        return found


class Outlets:
    """The publishers and the frame rate. An inactive node publishes nothing.

    Images are compressed only while somebody subscribes to them.
    """

    def __init__(self, node: UmaNode, rate: float) -> None:
        self._node = node
        t: Topics = node.settings.topics
        self.rgb, self.depth = (
            node.make_publisher(Image, t.rgb, CAMERA_OUT),
            node.make_publisher(Image, t.depth, CAMERA_OUT),
        )
        self.rgb_info, self.depth_info = (
            node.make_publisher(CameraInfo, t.camera_info, CAMERA_OUT),
            node.make_publisher(CameraInfo, t.depth_info, CAMERA_OUT),
        )
        self._compressed = {
            kind: node.make_publisher(CompressedImage, f"{topic}/{SUFFIX[kind]}", CAMERA_OUT)
            for kind, topic in (("rgb", t.rgb), ("depth", t.depth))
        }
        self.frames = Cadence("frames", 1.0 / rate)
        self._is_simulated = node.get_parameter("use_sim_time").value

    def now(self) -> float:
        """Return the seconds by which frames are counted: simulated time where the node uses it, else monotonic."""
        return self._node.ros_time() if self._is_simulated else time.monotonic()

    @property
    def are_open(self) -> bool:
        return self._node.is_active

    def publish(self, rgb: Image, depth: Image, info: CameraInfo) -> None:
        if not self.are_open:
            return
        self.rgb_info.publish(info)
        self.depth_info.publish(info)
        self.rgb.publish(rgb)
        self.depth.publish(depth)
        self.compress("rgb", lambda: rgb)
        self.compress("depth", lambda: depth)
        self.frames.beat(self.now())

    def compress(self, kind: str, image: Callable[[], Image]) -> None:
        """Publish an image of ``kind`` compressed, if somebody subscribes to it."""
        if not self._compressed[kind].get_subscription_count():
            return
        try:
            self._compressed[kind].publish(compressed(image(), kind))
        except InputError as error:
            self._node.problem(SUFFIX[kind], str(error))
        else:
            self._node.problem(SUFFIX[kind], "")


class SimFeed:
    """Forwards the simulated camera's frames, without decoding them unless somebody subscribes to compressed ones."""

    def __init__(self, node: UmaNode, outlets: Outlets) -> None:
        self._outlets, self._prefix = outlets, node.topics.sim_camera
        prefix = node.settings.topics.sim_camera
        for kind, source, publisher in (
            (Image, "rgb", outlets.rgb),
            (CameraInfo, "camera_info", outlets.rgb_info),
            (Image, "depth", outlets.depth),
            (CameraInfo, "depth_info", outlets.depth_info),
        ):

            def relay(data: bytes, kind=kind, source=source, publisher=publisher) -> None:
                if not outlets.are_open:
                    return
                publisher.publish(data)
                if kind is Image:
                    outlets.compress(source, lambda: deserialize_message(data, Image))
                if source == "depth":
                    outlets.frames.beat(outlets.now())

            node.create_subscription(kind, f"{prefix}/{source}", relay, SENSOR_IN, raw=True)

    def diagnose(self) -> tuple[dict[str, Any], str]:
        """Return values for the diagnostics, and a problem or ""."""
        waits = not self._outlets.frames.count
        return (
            {},
            f"waiting for {self._prefix}/rgb of the simulated station; on hardware, set another source"
            if waits
            else "",
        )

    def close(self) -> None: ...


class DeviceFeed:
    """Publishes the frames of a device or a recording, which a thread of its own grabs."""

    def __init__(self, node: UmaNode, outlets: Outlets, source: CameraSource, rate: float) -> None:
        self._node, self._outlets = node, outlets
        self.session = FrameSession(source, rate)
        self._fatal = ""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="camera")
        self._thread.start()

    def _run(self) -> None:
        session, description = self.session, ""
        while not self._ended.is_set():
            began = time.monotonic()
            try:
                frame = session.cycle(began)
            except Exception as error:  # also errors of a vendor's library, which must appear in the log
                self._fatal = (
                    str(error) if isinstance(error, (DeviceError, InputError)) else f"{type(error).__name__}: {error}"
                )
                self._node.get_logger().error(self._fatal)
                return
            if session.description != description:
                description = session.description
                self._node.get_logger().info(description)
            if frame is not None:
                stamp = (
                    self._node.get_clock().now().to_msg() if frame.stamp_ns is None else stamp_from_ns(frame.stamp_ns)
                )
                name = frame.camera.frame
                self._outlets.publish(
                    image_to(frame.image, frame.encoding, name, stamp),
                    image_to(frame.depth, "32FC1", name, stamp),
                    camera_to(frame.camera, stamp),
                )
            pause = session.source.period if session.is_open else 0.05
            self._ended.wait(max(pause - (time.monotonic() - began), 0.0))
        session.close()

    def diagnose(self) -> tuple[dict[str, Any], str]:
        return {
            "device": self.session.description or "none",
            **self.session.counts,
        }, self._fatal or self.session.trouble

    def close(self) -> None:
        self._ended.set()
        self._thread.join(5.0)


def stamp_from_ns(ns: int):
    """Return the exact time stamp of ``ns`` nanoseconds."""
    msg = stamp_from(0.0)
    msg.sec, msg.nanosec = ns // 1_000_000_000, ns % 1_000_000_000
    return msg


class Pairing:
    """Pairs colour and depth images by time stamp.

    Args:
        within: largest difference of the stamps, s.
        keep: buffered images per kind.
    """

    def __init__(self, within: float, keep: int = 8) -> None:
        self._within_ns = round(within * 1e9)
        self._waiting: dict[str, deque[tuple[int, Image]]] = {"rgb": deque(maxlen=keep), "depth": deque(maxlen=keep)}
        self.counts: Counter[str] = Counter(good=0, unpaired=0)

    def add(self, kind: str, msg: Image) -> tuple[Image, Image] | None:
        """Add an image of ``kind`` rgb or depth. Return (colour, depth) if it completes a frame, else None.

        A pair discards the older buffered images.
        """
        stamp, mine, other = (
            nanoseconds(msg.header.stamp),
            self._waiting[kind],
            self._waiting["depth" if kind == "rgb" else "rgb"],
        )
        distance, partner = min(
            ((abs(t - stamp), m) for t, m in other), key=lambda found: found[0], default=(self._within_ns + 1, None)
        )
        if distance > self._within_ns:
            self.counts["unpaired"] += len(mine) == mine.maxlen
            mine.append((stamp, msg))
            return None
        for waiting in self._waiting.values():
            while waiting and waiting[0][0] <= stamp + self._within_ns:
                self.counts["unpaired"] += waiting.popleft()[1] is not partner
        self.counts["good"] += 1
        return (msg, partner) if kind == "rgb" else (partner, msg)


def conforming(rgb: Image, depth: Image, info: CameraInfo, topic: str) -> tuple[Image, Image, CameraInfo]:
    """Return rectified images and their intrinsics without binning and region of interest.

    They are the given messages unless the images are raw, or the intrinsics are those of a larger image.

    Raises:
        InputError: sizes that disagree, or a raw image that cannot be rectified.
    """
    raw = is_raw(info, topic)
    camera = camera_from(info, topic=topic)
    if not raw and (camera.width, camera.height) == (info.width, info.height):
        return rgb, depth, info
    stamp, frame = rgb.header.stamp, rgb.header.frame_id
    camera, image, z = rectified_from(rgb, depth, info, topic)
    new = camera_to(camera, stamp)
    return (
        (image_to(image, "rgb8", frame, stamp), image_to(z, "32FC1", frame, stamp), new) if raw else (rgb, depth, new)
    )


class TopicFeed:
    """Republishes another driver's topics under the camera node's names, with one stamp for colour and depth.

    It rectifies raw images.
    """

    def __init__(self, node: UmaNode, outlets: Outlets, settings: TopicSettings) -> None:
        self._outlets = outlets
        self._pairing = Pairing(settings.pair_within)
        self._info: CameraInfo | None = None
        self._refused = ""
        given = dict(zip(("rgb", "depth", "camera_info"), settings.resolved()))
        self._sources = {name: node.resolve_topic_name(topic) for name, topic in given.items()}
        own = {name: getattr(node.topics, name) for name in ("rgb", "depth", "camera_info", "depth_info")}
        for name, topic in self._sources.items():
            if topic in own.values():
                raise InputError(
                    f"inputs.{name}: {topic}, must differ from this node's own topics; a driver that publishes "
                    "there needs no camera node"
                )
        node.make_subscription(Image, given["rgb"], lambda m: self._on_image("rgb", m), SENSOR_IN)
        node.make_subscription(Image, given["depth"], lambda m: self._on_image("depth", m), SENSOR_IN)
        node.make_subscription(CameraInfo, given["camera_info"], self._on_info, SENSOR_IN)

    def _on_info(self, msg: CameraInfo) -> None:
        try:
            camera_from(msg, topic=self._sources["rgb"])
        except InputError as error:
            self._info, self._refused = None, f"{self._sources['camera_info']}: {error}"
            return
        self._info = msg

    def _on_image(self, kind: str, msg: Image) -> None:
        try:
            check_image(msg, kind)
        except InputError as error:
            self._refused = f"{self._sources[kind]}: {error}"
            return
        pair = self._pairing.add(kind, msg)
        if pair is None or self._info is None:
            return
        rgb, depth = pair
        if (depth.width, depth.height) != (rgb.width, rgb.height):
            self._refused = (
                f"{self._sources['depth']}: {depth.width}x{depth.height} pixels, must be "
                f"{rgb.width}x{rgb.height} as the colour image (registered depth)"
            )
            return
        try:
            rgb, depth, info = conforming(rgb, depth, self._info, self._sources["rgb"])
        except InputError as error:
            self._refused = f"{self._sources['rgb']}: {error}"
            return
        self._refused = ""
        depth.header, info.header.stamp = rgb.header, rgb.header.stamp
        info.header.frame_id = rgb.header.frame_id
        self._outlets.publish(rgb, depth, info)

    def diagnose(self) -> tuple[dict[str, Any], str]:
        waiting = "" if self._info else f"waiting for {self._sources['camera_info']}"
        return dict(self._pairing.counts), self._refused or waiting

    def close(self) -> None: ...
