"""The extrinsics node as a process: which calibration it takes, and what it says of one that it refuses."""

import json
import signal
import subprocess
import sys

import pytest
from harness import ROOT

LEVEL = [0.29, 0.59, 0.38, -2.0, 0.0, 2.8]


def node(path, *parameters: str) -> subprocess.Popen:
    words = [f"calibration:={path}", *parameters]
    given = [word for pair in (("-p", word) for word in words) for word in pair]
    command = [sys.executable, "-m", "uma_ros.nodes.extrinsics", "--ros-args", *given]
    return subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "calibration_info.json"
    wrist = [0.07, 0.03, 0.05, -0.2, 0.1, -1.5]
    cameras = {"22008760_left": LEVEL, "22008760_right": LEVEL, "18026681_left": wrist, "1_left": [0.0] * 6}
    path.write_text(json.dumps({name: {"pose": pose, "timestamp": 1.69e9} for name, pose in cameras.items()}))
    return path


@pytest.mark.parametrize(
    "parameters, words",
    [
        (("camera:=18026681",), "18026681|wrist camera"),
        (("camera:=22008760_right",), "right lens"),
        (("camera:=1_left",), "all zeros"),
        ((), "must be one of"),
    ],
)
def test_a_camera_that_cannot_be_used_is_refused_by_name(file, parameters, words):
    process = node(file, *parameters)
    output, _ = process.communicate(timeout=60)
    assert process.returncode not in (0, None), output
    assert any(word in output for word in words.split("|")) and "calibration_info.json" in output
    assert "Traceback" not in output


def test_a_missing_calibration_names_the_command_that_makes_one(tmp_path):
    process = node(tmp_path / "none.yaml")
    output, _ = process.communicate(timeout=60)
    assert process.returncode not in (0, None) and "uma calibrate" in output and "none.yaml" in output


@pytest.mark.parametrize(
    "parameters",
    [("camera:=22008760",), ("camera:=18026681", "refuse_implausible:=false")],
    ids=["serial", "only warned"],
)
def test_a_serial_without_quotes_is_taken(file, parameters):
    process = node(file, *parameters)
    try:
        seen = []
        for line in process.stdout:
            seen.append(line)
            if "extrinsic xyz" in line:
                break
        assert "camera to base" in "".join(seen), "".join(seen)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
