"""Camera node: RGB-D and intrinsics under the names of the ZED's own ROS wrapper, from the simulated camera."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field

from sensor_msgs.msg import CameraInfo, Image

from uma.control.cadence import Cadence
from uma.control.settings import setting
from uma_ros.names import CABLE_IN, CAMERA_OUT, Topics
from uma_ros.runtime import UmaNode, run_node


@dataclass(frozen=True)
class CameraSettings:
    """Where the images come from."""

    source: str = setting("sim", "what feeds the node", choices=("sim",))
    rate: float = setting(15.0, "Hz; frame rate that is expected of the source", 1.0, 120.0)
    topics: Topics = field(default_factory=Topics)


class CameraNode(UmaNode):
    """Passes frames on as they are, without decoding them."""

    def __init__(self) -> None:
        super().__init__("camera", CameraSettings())
        topics, cable = self.settings.topics, self.settings.topics.sim_camera
        self.frames = Cadence("frames", 1.0 / self.settings.rate)
        for kind, source, topic in (
            (Image, "rgb", topics.rgb),
            (CameraInfo, "camera_info", topics.camera_info),
            (Image, "depth", topics.depth),
            (CameraInfo, "depth_info", topics.depth_info),
        ):
            self._pass_on(kind, f"{cable}/{source}", topic, counts=source == "depth")
        self.publish_configuration()

    def _pass_on(self, kind: type, source: str, topic: str, counts: bool) -> None:
        publisher = self.speak(kind, topic, CAMERA_OUT)

        def relay(data: bytes) -> None:
            publisher.publish(data)
            if counts:
                self.frames.beat(time.monotonic())

        self.create_subscription(kind, source, relay, CABLE_IN, raw=True)

    def diagnose(self) -> dict:
        rate = self.frames.rate(time.monotonic())
        self.problem("frames", f"{rate:.1f} Hz, expected {self.settings.rate:g} Hz" if rate < 0.8 * self.settings.rate else "")
        return self.frames.report()


def main() -> int:
    return run_node(CameraNode)


if __name__ == "__main__":
    sys.exit(main())
