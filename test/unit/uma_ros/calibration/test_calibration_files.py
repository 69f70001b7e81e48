"""Calibration files of DROID, easy_handeye and our own: their conventions, and what is refused by name."""

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
import yaml
from scipy.spatial.transform import Rotation

from uma.geometry.se3 import invert, make_pose
from uma.types import InputError
from uma_ros.calibration.files import load_calibration
from uma_ros.calibration.plausible import (
    FARTHEST,
    LOWEST,
    NEAREST,
    WIDEST,
    WORKSPACE,
    check_plausible,
    date_doubt,
    inversion_doubt,
    pose_doubts,
    view_angle,
)

EXT1 = np.array(
    [
        [-0.92534965, -0.18470403, 0.33107771, 0.28599041],
        [-0.37860741, 0.40505897, -0.83221611, 0.58516839],
        [0.01960767, -0.89543936, -0.44475149, 0.38252172],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
EXT2 = np.array(
    [
        [0.74222416, -0.1709973, 0.64796853, 0.17787727],
        [-0.66519003, -0.30542575, 0.68134964, -0.56333355],
        [0.08139733, -0.93673637, -0.34044007, 0.30114697],
        [0.0, 0.0, 0.0, 1.0],
    ]
)
"""Fixed cameras of a DROID station, camera to base."""
WRIST = [0.07, 0.03, 0.05, -0.2, 0.1, -1.5]
"""A wrist camera in the flange, as DROID's calibration_info.json holds it: 0.09 m from the origin."""


def six(T: np.ndarray) -> list[float]:
    """DROID's 6-vector of a pose."""
    return [*T[:3, 3].tolist(), *Rotation.from_matrix(T[:3, :3]).as_euler("xyz").tolist()]


def looking(place, at=(0.5, 0.0, 0.1)) -> np.ndarray:
    """T_base_cam at ``place`` that looks at a point, upright."""
    z = np.subtract(at, place) / np.linalg.norm(np.subtract(at, place))
    side = np.cross(z, [0.0, 0.0, 1.0])
    x = side / np.linalg.norm(side) if np.linalg.norm(side) > 1e-6 else np.array([0.0, -1.0, 0.0])
    return make_pose(np.stack([x, np.cross(z, x), z], axis=1), np.array(place, float))


def written(tmp_path, name: str, value) -> str:
    path = tmp_path / name
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return str(path)


# -- plausible ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("T", [EXT1, EXT2, looking((1.2, 0.4, 0.6)), looking((0.5, 0.0, 1.4)), looking((-0.3, 0, 0.7))])
def test_cameras_of_real_stations_are_plausible(T):
    assert pose_doubts(T) == []


def test_the_simulated_cameras_are_plausible():
    from uma_sim.tasks import make_station

    for task in ("insertion", "sweeping", "folding"):
        assert pose_doubts(make_station(3, task).T_base_cam) == []


@pytest.mark.parametrize(
    "good, bad, words",
    [
        (looking((0, 0, NEAREST + 0.01)), looking((0, 0, NEAREST - 0.01)), "0.19 m from the base"),
        (looking((FARTHEST - 0.01, 0, 0.1)), looking((FARTHEST + 0.01, 0, 0.1)), "3.01 m from the base"),
        (looking((1.0, 0.5, LOWEST + 0.01)), looking((1.0, 0.5, LOWEST - 0.01)), "-0.01 m over the table"),
    ],
)
def test_limits_of_a_fixed_camera_hold_on_both_sides(good, bad, words):
    assert pose_doubts(good) == []
    assert any(doubt.startswith(words) for doubt in pose_doubts(bad))


def test_a_camera_that_looks_past_the_workspace_is_implausible():
    place = np.array([0.5, 0.0, 1.1])
    assert len(WORKSPACE) == 9 and view_angle(looking(place)) < 1.0
    back = looking(place) @ make_pose(np.diag([-1.0, 1.0, -1.0]), np.zeros(3))
    assert any("past the workspace" in doubt for doubt in pose_doubts(back))
    assert pose_doubts(looking(place)) == []


@pytest.mark.parametrize("margin, is_doubted", [(-1.0, False), (1.0, True)])
def test_the_widest_view_holds_on_both_sides(margin, is_doubted):
    low, high = 0.0, np.pi

    def turned(angle: float) -> np.ndarray:
        return looking((1.3, 0, 0.5)) @ make_pose(Rotation.from_euler("x", angle).as_matrix(), np.zeros(3))

    for _ in range(50):  # the turn at which the nearest point is WIDEST away
        middle = (low + high) / 2
        low, high = (middle, high) if view_angle(turned(middle)) < WIDEST + margin else (low, middle)
    assert any("past the workspace" in doubt for doubt in pose_doubts(turned(low))) == is_doubted


@pytest.mark.parametrize(
    "T, words",
    [
        (np.eye(4), "no calibration"),
        (make_pose(np.eye(3), np.array([0.07, 0.03, 0.05])), "wrist camera"),
        (make_pose(EXT1[:3, :3], EXT1[:3, 3] * 10), "other units"),
    ],
)
def test_an_implausible_camera_says_what_it_may_be(tmp_path, T, words):
    from uma_ros.calibration.files import Calibration

    with pytest.raises(InputError, match=f"c.yaml: cam: .*{words}.*uma calibrate.*calibration:=FILE.*camera:=KEY"):
        check_plausible(Calibration("cam", "fr3_link0", T), "c.yaml")


@pytest.mark.parametrize("T", [EXT2, looking((1.2, 0.9, 0.6))])
def test_an_inverted_pose_is_a_warning(T):
    assert inversion_doubt(T) == ""
    assert "is it base to camera" in inversion_doubt(invert(T)), "whether or not the pose itself is plausible"


@pytest.mark.parametrize("days, is_future", [(-400, False), (0, False), (0.9, False), (1.1, True), (900, True)])
def test_a_date_ahead_of_the_clock_is_named(days, is_future):
    now = datetime(2026, 12, 1, tzinfo=UTC)
    assert bool(date_doubt(now + timedelta(days=days), now)) == is_future
    assert date_doubt(None, now) == ""


# -- DROID -------------------------------------------------------------------------------------------------------------

INFO = {
    "22008760_left": {"pose": six(EXT1), "timestamp": 1.69e9},
    "22008760_right": {"pose": six(EXT1), "timestamp": 1.69e9},
}
EPISODE = {"AUTOLab+0d4edc4b+2023-07-07-09h-42m-23s": {"22008760": six(EXT1), "22008760_metric_type": "IoU"}}
METADATA = {
    "uuid": "AUTOLab+0d4edc4b+2023-07-07-09h-42m-23s",
    "lab": "AUTOLab",
    "date": "2023-07-07",
    "timestamp": "2023-07-07-09h-42m-23s",
    "wrist_cam_serial": "18026681",
    "ext1_cam_serial": "22008760",
    "ext2_cam_serial": "24400334",
    "wrist_cam_extrinsics": [0.456, -0.099, 0.149, 2.8, -0.1, 1.1],
    "ext1_cam_extrinsics": six(EXT1),
    "ext2_cam_extrinsics": six(EXT2),
}


@pytest.mark.parametrize(
    "name, value, camera, T",
    [
        ("calibration_info.json", INFO, "", EXT1),
        ("calibration_info.json", INFO, "22008760", EXT1),
        ("calibration_info.yaml", "22008760_left: {pose: [0.5, 0.6, 0.4, 1, 2, 3]}", "", None),
        ("cam2base.json", EPISODE, "", EXT1),
        ("cam2base.yaml", "LAB: {22008760: [0.5, 0.6, 0.4, 1, 2, 3]}", "LAB/22008760", None),
        ("cam2base.yaml", "LAB: {22008760: [0.5, 0.6, 0.4, 1, 2, 3]}", "22008760", None),
        ("metadata_x.json", METADATA, "ext1", EXT1),
        ("metadata_x.json", METADATA, "ext2", EXT2),
        ("metadata_x.json", METADATA, "24400334", EXT2),
        ("metadata_x.json", METADATA, "24400334_left", EXT2),
        ("metadata_x.json", {**METADATA, "ext1_cam_serial": 22008760}, 22008760, EXT1),
        ("metadata_x.yaml", yaml.safe_dump(METADATA), "ext2", EXT2),
    ],
)
def test_droids_cameras_are_found_by_key_and_serial(tmp_path, name, value, camera, T):
    found = load_calibration(written(tmp_path, name, value), camera)
    assert "extrinsic xyz" in found.convention and found.base_frame == "fr3_link0"
    assert T is None or np.allclose(found.T_base_cam, T, atol=1e-6)


@pytest.mark.parametrize(
    "name, value, camera, words",
    [
        ("i.json", INFO, "22008760_right", "right lens.*choose 22008760_left, or set camera_frame"),
        ("i.json", INFO, "18026681", "must be one of 22008760_left, 22008760_right"),
        ("i.json", {"1_left": {"pose": [0.0] * 6}}, "", "1_left: all zeros"),
        ("i.json", {"1_left": {"pose": [0.5, 0.5, 0.4, -110.0, 5.0, 130.0]}}, "", "radians.*are they degrees"),
        ("i.json", {"1_left": {"pose": six(EXT1), "timestamp": 1.69e12}}, "", "seconds since 1970; are they milli"),
        ("i.json", {"1_left": {"pose": six(EXT1), "timestamp": 1.69e18}}, "", "nanoseconds"),
        ("i.json", {"1_left": {"pose": [500, 500, 400, 1, 1, 1]}}, "", "within 10 m"),
        ("i.json", {"1_left": {"pose": [None] * 6}}, "", "6 finite numbers"),
        ("i.json", {}, "", "entries none; must be the file of `uma calibrate`, DROID's"),
        ("i.json", {"T_cam_gripper": [[1]], "xyz": [0, 0, 0]}, "", "entries 'T_cam_gripper', 'xyz'; must be"),
        ("e.json", {"E": {"1_right": six(EXT1)}}, "", "right lens"),
        ("e.json", {"E": {"1": [0.0] * 6}}, "", "E/1: all zeros"),
        ("e.json", {"E": {"1": six(EXT1), "2": six(EXT2)}}, "", "must be one of E/1, E/2"),
        ("k.json", {"E": {"1": [531.7, 531.7, 639.5, 359.5]}}, "", "6 finite numbers.*are they intrinsics"),
        ("m.json", METADATA, "", r"ext1, ext2 or a serial, one of ext1 \(22008760\), ext2 \(24400334\)"),
        ("m.json", METADATA, "wrist", "is on the wrist and moves; choose ext1 or ext2"),
        ("m.json", METADATA, "18026681", "is on the wrist"),
        ("m.json", METADATA, "22008760_right", "must be ext1, ext2 or a serial"),
        ("m.json", {**METADATA, "ext1_cam_extrinsics": [0.0] * 6}, "ext1", "ext1_cam_extrinsics: all zeros"),
        ("m.json", {**METADATA, "ext1_cam_extrinsics": []}, "ext1", "6 finite numbers"),
    ],
)
def test_droids_files_are_refused_by_entry(tmp_path, name, value, camera, words):
    with pytest.raises(InputError, match=words) as error:
        load_calibration(written(tmp_path, name, value), camera)
    assert name in str(error.value) and len(str(error.value)) < 800


def test_the_right_lens_has_a_frame_of_its_own(tmp_path):
    path = written(tmp_path, "i.json", INFO)
    found = load_calibration(path, "22008760_right", "zed_right_camera_frame_optical")
    assert found.camera_frame == "zed_right_camera_frame_optical"


# -- easy_handeye ------------------------------------------------------------------------------------------------------

EASY2 = """parameters:
  name: fr3_zed
  calibration_type: eye_on_base
  robot_base_frame: fr3_link0
  robot_effector_frame: fr3_link8
  tracking_base_frame: camera_color_optical_frame
  tracking_marker_frame: charuco_board
  freehand_robot_movement: true
  move_group_namespace: /
  move_group: manipulator
transform:
  translation: {x: 1.2, y: -0.1, z: 0.6}
  rotation: {x: 0.0, y: 0.0, z: 0.7071068, w: 0.7071068}
"""
EASY1 = """eye_on_hand: false
namespace: /fr3_eye_on_base/
robot_base_frame: fr3_link0
tracking_base_frame: camera_color_optical_frame
transformation: {x: 1.2, y: -0.1, z: 0.6, qx: 0.0, qy: 0.0, qz: 0.7071068, qw: 0.7071068}
"""


@pytest.mark.parametrize(
    "name, text", [("a.calib", EASY2), ("a.yaml", EASY1), ("b.yaml", "parameters:\n  x: 1\n" + EASY1)]
)
def test_easy_handeye_is_camera_to_base_as_quaternion(tmp_path, name, text):
    if name == "b.yaml":  # its parameters in a mapping of their own
        head, tail = EASY1.split("transformation")
        text = "parameters:\n" + "".join(f"  {line}\n" for line in head.splitlines()) + "transformation" + tail
    found = load_calibration(written(tmp_path, name, text))
    assert np.allclose(found.T_base_cam[:3, 3], [1.2, -0.1, 0.6])
    assert np.allclose(found.T_base_cam[:3, 0], [0, 1, 0], atol=1e-6), "a quarter turn about z"
    assert (found.camera_frame, found.base_frame) == ("camera_color_optical_frame", "fr3_link0")
    assert "camera to base" in found.convention and found.date is None


@pytest.mark.parametrize(
    "text, old, new, words",
    [
        (EASY2, "eye_on_base", "eye_in_hand", "'eye_in_hand': the camera is on the hand"),
        (EASY1, "eye_on_hand: false", "eye_on_hand: true", "the camera is on the hand"),
        (EASY2, "camera_color_optical_frame", "camera_link", "tracking_base_frame: 'camera_link', must be an optical"),
        (EASY2, "  robot_base_frame: fr3_link0\n", "", "robot_base_frame: None, must be a text"),
        (EASY2, "x: 1.2", "x: far", "transform.translation"),
        (EASY2, "x: 1.2", "x: 1200", "within 10 m"),
        (EASY2, "z: 0.7071068, w: 0.7071068", "z: 0.0, w: 0.0", "transform.rotation"),
        (EASY2, ", w: 0.7071068", "", "transform.rotation: .*4 finite"),
        (EASY2, "translation: {x: 1.2, y: -0.1, z: 0.6}", "translation: 5", "transform.translation: 5"),
        (EASY1, "qw: 0.7071068", "w: 0.7071068", "transform.rotation"),
    ],
)
def test_easy_handeye_is_refused_by_entry(tmp_path, text, old, new, words):
    assert old in text
    with pytest.raises(InputError, match=words):
        load_calibration(written(tmp_path, "a.calib", text.replace(old, new)))


# -- node and command --------------------------------------------------------------------------------------------------


def test_inspect_shows_a_camera_and_what_is_wrong_with_it(tmp_path, capsys):
    from uma.cli import main

    path = written(tmp_path, "calibration_info.json", {**INFO, "18026681_left": {"pose": WRIST, "timestamp": 4e9}})
    assert main(["inspect", path, "--camera", "22008760"]) == 0
    text = capsys.readouterr().out
    assert "0.286" in text and "refused" not in text
    assert main(["inspect", path, "--camera", "18026681_left"]) == 0
    text = capsys.readouterr().out
    assert "wrist camera" in text and "in the future" in text and "uma calibrate" in text
    assert main(["inspect", path]) == 2
    assert "must be one of 22008760_left" in capsys.readouterr().err


def test_hardware_options_choose_file_and_camera():
    from uma_ros.deployment.graph import Options, insertion

    options = Options(station="hardware", calibration="x.json", camera="22008760_left")
    extrinsics = next(node for node in insertion(options) if node.name == "extrinsics")
    assert extrinsics.parameters["calibration"] == "x.json" and extrinsics.parameters["camera"] == "22008760_left"
    with pytest.raises(InputError, match="calibration: 'x.json', must be empty for station sim"):
        Options(calibration="x.json")


def test_a_serial_without_quotes_is_text():
    from uma.settings import as_kind

    assert as_kind(22008760, "") == "22008760" and as_kind("22008760_left", "") == "22008760_left"
    assert as_kind(True, "") is True and as_kind(5, 3) == 5 and as_kind((1, 2), [0]) == [1, 2]
    assert as_kind(5, [0]) == 5 and as_kind("ab", [0]) == "ab"


# -- photographs of a board --------------------------------------------------------------------------------------------


def photographs(folder, poses: dict, suffix: str) -> None:
    from PIL import Image

    folder.mkdir()
    (folder / "camera.yaml").write_text("{width: 64, height: 48, fx: 50, fy: 50, cx: 31.5, cy: 23.5}")
    (folder / "poses.json").write_text(json.dumps(poses))
    for name in poses:
        Image.new("RGB", (64, 48), (90, 90, 90)).save(folder / f"{name.split('.')[0]}{suffix}")


@pytest.mark.parametrize(
    "suffix, name", [(".jpg", "a"), (".JPG", "a"), (".jpeg", "a.jpeg"), (".png", "a"), (".png", "a.png")]
)
def test_photographs_with_droids_poses_are_read(tmp_path, suffix, name):
    from uma_ros.calibration.calibrate import read_folder

    photographs(tmp_path / "f", {name: six(EXT1)}, suffix)
    _, pictures = read_folder(tmp_path / "f")
    ((found, T, rgb),) = pictures
    assert found == name and np.allclose(T, EXT1, atol=1e-6) and rgb.shape == (48, 64, 3)


@pytest.mark.parametrize(
    "pose, words", [([0.0] * 6, "all zeros"), ([0.5] * 5, "6 finite"), ([0.5, 0, 0, 90, 0, 0], "degrees")]
)
def test_droids_poses_of_photographs_are_refused_by_name(tmp_path, pose, words):
    from uma_ros.calibration.calibrate import read_folder

    photographs(tmp_path / "f", {"a": pose}, ".jpg")
    with pytest.raises(InputError, match=f"poses.json: a: .*{words}"):
        read_folder(tmp_path / "f")


@pytest.mark.parametrize(
    "fx, words", [("0", "must be finite and > 0"), ("3.6", "fx: 3.6 pixels, must be 12.8 to 1280")]
)
def test_intrinsics_of_a_folder_are_judged(tmp_path, fx, words):
    from uma_ros.drivers.camera.folder import read_camera

    written(tmp_path, "camera.yaml", f"{{width: 64, height: 48, fx: {fx}, fy: {fx}, cx: 31.5, cy: 23.5}}")
    with pytest.raises(InputError, match=f"camera.yaml: .*{words}"):
        read_camera(tmp_path / "camera.yaml")


def test_raw_stills_of_a_bag_are_rectified(tmp_path):
    pytest.importorskip("cv2")
    from geometry_msgs.msg import PoseStamped
    from rclpy.serialization import serialize_message
    from sensor_msgs.msg import CameraInfo, Image

    from uma.types import CameraModel
    from uma_ros.bags.candidates import chosen_topics
    from uma_ros.bags.writer import BagWriter
    from uma_ros.calibration.stills import read_stills
    from uma_ros.messages.convert import image_to, pose_to, stamp_from
    from uma_ros.messages.intrinsics import camera_to
    from uma_ros.runtime.topics import STATUS

    topics = chosen_topics(["rgb=/camera/image_raw", "camera_info=/camera/camera_info", "robot_pose=/pose"])
    model = CameraModel(64, 48, 30.0, 30.0, 31.5, 23.5, "cam")
    rgb = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    bag = BagWriter(tmp_path / "bag")
    for topic, kind in ((topics.rgb, Image), (topics.camera_info, CameraInfo), (topics.robot_pose, PoseStamped)):
        bag.add_topic(topic, kind, STATUS)
    info = camera_to(model, stamp_from(1.0))
    info.d = [-0.2, 0.05, 0.0, 0.0, 0.0]
    bag.write(topics.camera_info, 10**9, serialize_message(info))
    for k in range(20):
        pose = PoseStamped(pose=pose_to(EXT1))
        pose.header.stamp = stamp_from(1.0 + 0.1 * k)
        bag.write(topics.robot_pose, 10**9 + k, serialize_message(pose))
    bag.write(topics.rgb, 2 * 10**9, serialize_message(image_to(rgb, "rgb8", "cam", stamp_from(2.0))))
    bag.close()
    camera, pictures = read_stills(tmp_path / "bag", topics)
    ((_, T, picture),) = pictures
    assert camera == model and np.allclose(T, EXT1, atol=1e-6)
    middle = np.s_[20:28, 28:36]
    assert np.abs(picture[middle].astype(int) - rgb[middle]).mean() < 40 < np.abs(picture.astype(int) - rgb).mean()
