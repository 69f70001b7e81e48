"""Camera node: publishes RGB-D images and intrinsics under the topic names of zed-ros2-wrapper.

The source is the simulated station, a ZED, another driver's topics or a folder of frames.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from uma.settings import setting
from uma.types import InputError
from uma_ros.drivers.camera.feeds import DeviceFeed, Outlets, SimFeed, TopicFeed, TopicSettings
from uma_ros.drivers.camera.folder import FolderSettings, FolderSource
from uma_ros.drivers.camera.zed import ZedSettings, ZedSource
from uma_ros.drivers.device import DeviceError
from uma_ros.runtime.node import UmaNode, leave, run_node
from uma_ros.runtime.topics import Topics

SOURCES = ("sim", "zed", "topics", "folder")


@dataclass(frozen=True)
class CameraSettings:
    """Settings of the camera node: the image source and its rate."""

    source: str = setting(
        "sim",
        "image source: the simulated station, a ZED or its SVO recording, another driver's topics, or a folder of "
        "frames",
        choices=SOURCES,
    )
    rate: float = setting(
        15.0, "Hz; frame rate requested from the source; a rate below 80 % of it is a problem", 1.0, 120.0
    )
    zed: ZedSettings = field(default_factory=ZedSettings)
    inputs: TopicSettings = field(default_factory=TopicSettings)
    folder: FolderSettings = field(default_factory=FolderSettings)
    topics: Topics = field(default_factory=Topics)


class CameraNode(UmaNode):
    def __init__(self) -> None:
        super().__init__("camera", CameraSettings())

    def configure(self) -> None:
        s = self.settings
        self.outlets = Outlets(self, s.rate)
        if s.source not in SOURCES:
            raise InputError(f"source: {s.source!r}, must be one of {', '.join(SOURCES)}")
        try:
            if s.source == "sim":
                self.feed = SimFeed(self, self.outlets)
            elif s.source == "topics":
                self.feed = TopicFeed(self, self.outlets, s.inputs)
            else:
                source = ZedSource(s.zed, s.rate) if s.source == "zed" else FolderSource(s.folder, s.rate)
                self.feed = DeviceFeed(self, self.outlets, source, s.rate)
        except DeviceError as error:
            raise InputError(f"source {s.source}: {error}") from None
        self.publish_configuration()

    def waits(self) -> tuple[list[str], str]:
        is_silent = not self.outlets.frames.rate(self.outlets.now())
        return [f"images of source {self.settings.source}"] if is_silent else [], ""

    def diagnose(self) -> dict:
        values, trouble = self.feed.diagnose()
        rate = self.outlets.frames.rate(self.outlets.now())
        self.problem(self.settings.source, trouble)
        self.problem(
            "frames", f"{rate:.1f} Hz, expected {self.settings.rate:g} Hz" if rate < 0.8 * self.settings.rate else ""
        )
        return {**self.outlets.frames.report(), **values}

    def close(self) -> None:
        self.feed.close()


def main() -> int:
    return run_node(CameraNode)


if __name__ == "__main__":
    leave(main())
