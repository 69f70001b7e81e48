"""Files from outside that are made to harm a reader: refused by name, before memory is taken."""

import re
import time

import numpy as np
import pytest

from uma.types import InputError
from uma_ros.calibration.calibrate import read_poses
from uma_ros.calibration.files import load_calibration
from uma_ros.commands.reference import load_reference
from uma_ros.drivers.camera.folder import read_camera
from uma_ros.runtime.textfile import MAX_YAML, numbers, parse_json, parse_yaml, text_of

BOMB = "a: &a [0,0,0,0,0,0,0,0,0,0]\n" + "".join(
    f"{c}: &{c} [{','.join(['*' + p] * 10)}]\n" for p, c in zip("abcdefgh", "bcdefghi")
)


@pytest.mark.parametrize(
    "text, words",
    [
        ("x: !!int ''", "no YAML"),
        ("x: !!timestamp foo", "no YAML"),
        ("x: !!bool maybe", "no YAML"),
        ("x: 2026-13-40", "no YAML: ValueError"),
        ("x: &a [*a]", "alias \\*a is not allowed"),
        (BOMB, "alias \\*a is not allowed"),
        ("[" * 500, "nested over 40 deep"),
        ("- " * 500, "nested over 40 deep"),
        ("x: 1\n? [a]\n: b", "no YAML"),
        ("a" * (MAX_YAML + 1), f"limit {MAX_YAML}"),
    ],
)
def test_whatever_yaml_does_it_is_an_input_error(text, words):
    began = time.monotonic()
    with pytest.raises(InputError, match=f"^the file: .*{words}"):
        parse_yaml(text, "the file")
    assert time.monotonic() - began < 30.0, "it is refused, and not worked on"


def test_json_that_is_nested_too_deep_is_an_input_error():
    with pytest.raises(InputError, match="^the file: no JSON"):
        parse_json("[" * 200_000, "the file")


@pytest.mark.parametrize(
    "value",
    [
        [0.0, 1.0],
        [0.0, 1.0, "2"],
        [0.0, 1.0, True],
        [0.0, 1.0, float("nan")],
        [0.0, 1.0, 10**400],
        "123",
        None,
        [[0.0], [1.0], [2.0]],
    ],
)
def test_numbers_are_finite_and_of_the_given_count(value):
    assert np.array_equal(numbers([0, 1.5, -2], "xyz", 3), [0.0, 1.5, -2.0])
    with pytest.raises(InputError, match="^xyz: .*must be 3 finite numbers"):
        numbers(value, "xyz", 3)


def test_names_are_short_texts():
    assert text_of("cam", "frame") == "cam"
    for value in ("", "x" * 257, 5, None, ["cam"]):
        with pytest.raises(InputError, match="^frame: "):
            text_of(value, "frame")


OURS = "camera_frame: {frame}\nbase_frame: b\nT_base_cam: {{xyz: [0, 0, {z}], xyzw: [0, 0, 0, 1]}}\n{more}"


@pytest.mark.parametrize(
    "change, words",
    [
        ({"z": "!!float 1e9"}, "T_base_cam.xyz: .*within 10 m"),
        ({"z": ".nan"}, "T_base_cam.xyz: .*finite"),
        ({"frame": "[c]"}, "camera_frame: "),
        ({"more": "date: 5"}, "date: 5, must be a date"),
        ({"more": "date: soon"}, "date: "),
        ({"more": "tools: 5"}, "tools: 5, must be a list"),
        ({"more": "tools: [5]"}, r"tools\[0\]: 5, must have parent"),
        ({"more": "tools: [{parent: [a], frame: b, xyz: [0, 0, 0], xyzw: [0, 0, 0, 1]}]"}, r"tools\[0\].parent"),
    ],
)
def test_a_calibration_of_ours_names_what_is_wrong(tmp_path, change, words):
    path = tmp_path / "c.yaml"
    path.write_text(OURS.format(**{"frame": "c", "z": "0", "more": "", **change}))
    with pytest.raises(InputError, match=f"c.yaml: {words}"):
        load_calibration(path)


def test_a_date_without_a_time_is_a_date(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(OURS.format(frame="c", z="0", more="date: 2026-11-20"))
    assert load_calibration(path).date.isoformat() == "2026-11-20T00:00:00+00:00"


@pytest.mark.parametrize(
    "text, words",
    [
        ("frame: b\nkeypoints: 5", "keypoints: 5, must be a list of 1 to 16"),
        ("frame: b\nkeypoints: [{waypoints: [[0, 0, 0]], phase: abc}]", r"keypoints\[0\].phase"),
        ("frame: b\nkeypoints: [{waypoints: [[0, 0, 0]], phase: [[0, 1]]}]", r"keypoints\[0\].phase"),
        ("frame: b\nkeypoints: [{waypoints: [[0, 0, 0]], is_valid: [2]}]", r"keypoints\[0\].is_valid"),
        ("frame: b\nkeypoints: [{waypoints: [[0, 0, 0], [0, 0]]}]", r"keypoints\[0\].waypoints\[1\]"),
        ("frame: b\nkeypoints: [{waypoints: [[0, 0, 99]]}]", r"keypoints\[0\].waypoints\[0\].*5.0 m"),
        ("frame: ''\nkeypoints: [{waypoints: [[0, 0, 0]]}]", "frame: "),
        ("frame: b\nkeypoints: 2026-99-99", "no YAML"),
        ("\x00\xff", "r.yaml"),
    ],
)
def test_a_reference_file_names_what_is_wrong(tmp_path, text, words):
    path = tmp_path / "r.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=f"r.yaml.*{words}|{words}"):
        load_reference(path)


A_REFERENCE = "frame: fr3_link0\nkeypoints:\n  - waypoints: [[{x}, 0.0, 0.1], [0.4, 0.0, 0.2]]\n"


@pytest.mark.parametrize(
    "data, x",
    [
        (A_REFERENCE.format(x="4e-1"), 0.4),
        (A_REFERENCE.format(x="4E-1"), 0.4),
        (A_REFERENCE.format(x=".4"), 0.4),
        (A_REFERENCE.format(x="+.4"), 0.4),
        (A_REFERENCE.format(x="01"), 1.0),
        (A_REFERENCE.format(x="0x1"), 1.0),
        (A_REFERENCE.format(x="-1."), -1.0),
        (A_REFERENCE.format(x="0.4").replace("\n", "\r\n"), 0.4),
        ("\ufeff" + A_REFERENCE.format(x="0.4"), 0.4),
        ('{"frame": "b", "keypoints": [{"waypoints": [[4e-1, 0, 0.1]]}]}', 0.4),
        ("%YAML 1.2\n---\n" + A_REFERENCE.format(x="0.4") + "...\n", 0.4),
    ],
)
def test_numbers_are_those_of_yaml_1_2(tmp_path, data, x):
    path = tmp_path / "r.yaml"
    path.write_bytes(data.encode())
    assert load_reference(path).waypoints[0][0, 0] == x


@pytest.mark.parametrize(
    "text, words",
    [
        (A_REFERENCE.format(x="1:30"), "'1:30'"),
        (A_REFERENCE.format(x="1_0"), "'1_0'"),
        (A_REFERENCE.format(x="'0.4'"), "'0.4'"),
        (A_REFERENCE.format(x="0,4"), "must be 3 finite numbers"),
        (A_REFERENCE.format(x="true"), "True"),
        (A_REFERENCE.format(x="+.inf"), "inf"),
        (A_REFERENCE.format(x="~"), "None"),
        (A_REFERENCE.format(x="0.4") + "frame: other\n", "key 'frame' occurs twice"),
        (A_REFERENCE.format(x="0.4") + "---\n" + A_REFERENCE.format(x="0.5"), "single document"),
        (A_REFERENCE.format(x="0.4").replace("  - ", "\t- "), "no YAML"),
        ("frame: b\nkeypoints: [&a {waypoints: [[0.4, 0, 0.1]]}, *a]", "alias"),
        ("frame: !!python/object/apply:os.system ['true']", "no YAML"),
        ("frame: no\nkeypoints: [{waypoints: [[0.4, 0, 0.1]]}]", "frame: False"),
    ],
)
def test_yaml_that_people_write_by_mistake_is_refused(tmp_path, text, words):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=re.escape(words)):
        load_reference(path)


@pytest.mark.parametrize(
    "xyz, xyzw, words",
    [
        ("5e-1, 0, 1", "0, 2, 0, 0", "norm 2, must be 1"),
        ("0.5, 0, 1", "0, 0, 0, 0", "norm 0, must be 1"),
        ("0.5, 0, 1", "0, 1, 0", "xyzw: .*4 finite numbers"),
        ("0.5, 0, 1", "0, 1, 0, 0j", "xyzw: .*4 finite numbers"),
        ("0.5, 0", "0, 1, 0, 0", "xyz: .*3 finite numbers"),
        ("500, 0, 1000", "0, 1, 0, 0", "xyz: .*within 10 m"),
        ("[0.5], 0, 1", "0, 1, 0, 0", "xyz: .*3 finite numbers"),
        ("1:30, 0, 1", "0, 1, 0, 0", "xyz: .*3 finite numbers"),
        ("0.5, 0, 1", "0, 1, 0, 0]\nT_base_cam: [", "key 'T_base_cam' occurs twice"),
    ],
)
def test_poses_that_people_write_by_mistake_are_refused(tmp_path, xyz, xyzw, words):
    path = tmp_path / "c.yaml"
    inner = f"  xyz: [{xyz}]\n  xyzw: [{xyzw}]\n"
    path.write_text(f"camera_frame: cam\nbase_frame: b\nT_base_cam:\n{inner}")
    with pytest.raises(InputError, match=words):
        load_calibration(path)


def test_matrices_and_one_frame_for_both_are_refused(tmp_path):
    path, rest = tmp_path / "c.yaml", "T_base_cam: {xyz: [0.5, 0, 1], xyzw: [0, 1, 0, 0]}\n"
    path.write_text("camera_frame: cam\nbase_frame: b\nT_base_cam: [[1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]]\n")
    with pytest.raises(InputError, match="T_base_cam: .*must be xyz: 3 metres, xyzw"):
        load_calibration(path)
    path.write_text("camera_frame: b\nbase_frame: b\n" + rest)
    with pytest.raises(InputError, match="camera_frame: 'b', must differ from base_frame"):
        load_calibration(path)
    path.write_text("camera_frame: /cam\nbase_frame: /b\n" + rest)
    assert (load_calibration(path).camera_frame, load_calibration(path).base_frame) == ("cam", "b")


def test_intrinsics_and_poses_are_finite_numbers(tmp_path):
    for name, text, read in (
        ("camera.yaml", "{width: 8, height: 6, fx: .nan, fy: 7, cx: 3, cy: 2}", read_camera),
        ("camera.yaml", "{width: true, height: 6, fx: 7, fy: 7, cx: 3, cy: 2}", read_camera),
        ("camera.yaml", "{width: 8, height: 6, fx: 7, fy: 7, cx: 3, cy: 2, frame: [a]}", read_camera),
        ("camera.yaml", "!!int ''", read_camera),
        ("poses.yaml", f"a: {{xyz: [0, 0, {10**400}], xyzw: [0, 0, 0, 1]}}", read_poses),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=name):
            read(tmp_path / name)
