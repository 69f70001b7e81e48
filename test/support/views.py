"""What config/uma.rviz and config/foxglove.json show: topics with the types that their displays take, and frames."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

CONFIG = Path(__file__).resolve().parents[2] / "config"
IMAGE, INFO = "sensor_msgs/msg/Image", "sensor_msgs/msg/CameraInfo"
MARKERS, CLOUD = "visualization_msgs/msg/MarkerArray", "sensor_msgs/msg/PointCloud2"
STRING, DIAGNOSTICS = "std_msgs/msg/String", "diagnostic_msgs/msg/DiagnosticArray"
PATH = re.compile(r'(?P<topic>/[\w/]+)(?P<filter>\{(?P<key>\w+)=="(?P<value>\w+)"\})?(?P<fields>(\.\w+|\[-?\d+\])*)')
"""A message path of Foxglove: topic, a filter, and fields."""


def rviz() -> dict[str, Any]:
    """The part of config/uma.rviz about the scene."""
    return yaml.safe_load((CONFIG / "uma.rviz").read_text())["Visualization Manager"]


def foxglove() -> dict[str, Any]:
    return json.loads((CONFIG / "foxglove.json").read_text())


def rviz_topics() -> Iterator[tuple[str, str]]:
    """(topic, type) of every display of rviz."""
    for display in rviz()["Displays"]:
        match display["Class"].removeprefix("rviz_default_plugins/"):
            case "RobotModel":
                yield display["Description Topic"]["Value"], STRING
            case "MarkerArray":
                yield display["Topic"]["Value"], MARKERS
            case "Image":
                yield display["Topic"]["Value"], IMAGE
            case "DepthCloud":
                depth = display["Depth Map Topic"]
                yield from ((depth, IMAGE), (display["Color Image Topic"], IMAGE))
                yield depth.rpartition("/")[0] + "/camera_info", INFO  # found by name
            case "Grid" | "TF":
                pass
            case other:
                raise AssertionError(f"{other}: say here which topics it has")


def foxglove_paths() -> Iterator[str]:
    """Every message path of the layout."""
    for name, panel in foxglove()["configById"].items():
        match name.partition("!")[0]:
            case "Plot" | "StateTransitions":
                yield from (series["value"] for series in panel["paths"])
            case "Indicator":
                yield panel["path"]
            case "RawMessages":
                yield panel["topicPath"]


def foxglove_topics() -> Iterator[tuple[str, str]]:
    """(topic, type) of every panel of the layout that shows whole messages."""
    kinds = {"depth_registered": IMAGE, "markers": MARKERS, "object_points": CLOUD}
    for name, panel in foxglove()["configById"].items():
        kind = name.partition("!")[0]
        for topic, settings in panel.get("topics", {}).items():
            yield topic, kinds[topic.rpartition("/")[2]]
            for key, needed in (("cameraInfoTopic", INFO), ("siblingRgbTopic", IMAGE)):
                if key in settings:
                    yield settings[key], needed
        for layer in panel.get("layers", {}).values():
            if layer["layerId"] == "foxglove.Urdf":
                yield layer["topic"], STRING
        if kind == "Image":
            yield from ((panel["imageMode"]["imageTopic"], IMAGE), (panel["imageMode"]["calibrationTopic"], INFO))
        elif kind == "DiagnosticSummary":
            yield panel["topicToRender"], DIAGNOSTICS
        elif kind not in ("3D", "Plot", "StateTransitions", "Indicator", "RawMessages"):
            raise AssertionError(f"{name}: say here which topics it has")
