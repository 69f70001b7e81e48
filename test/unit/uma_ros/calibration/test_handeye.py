"""Hand-eye calibration on rendered boards, where the truth is known: from pictures to the camera's place, through the
command."""

import re

import numpy as np
import pytest
import yaml
from PIL import Image
from scipy.spatial.transform import Rotation

from uma.geometry.se3 import invert, make_pose, quaternion
from uma.types import CameraModel, InputError
from uma_ros.calibration import calibrate as command
from uma_ros.calibration.files import Calibration, load_calibration, save_calibration
from uma_ros.calibration.handeye import BoardSettings, calibrate, difference, find_board, judge

cv2 = pytest.importorskip("cv2", reason="extra 'perception' is not installed")

CAMERA = CameraModel(1280, 720, 530.0, 530.0, 639.5, 359.5, "zed_left_camera_frame_optical")
BOARD = BoardSettings()
T_BASE_CAM = make_pose(Rotation.from_euler("xyz", [-2.2, 0.15, 1.9]).as_matrix(), np.array([0.95, 0.35, 0.55]))
T_FLANGE_BOARD = make_pose(Rotation.from_euler("xyz", [0.1, -0.15, 0.4]).as_matrix(), np.array([-0.12, -0.08, 0.14]))


def draw(T_cam_board: np.ndarray, rng, blur: float = 0.7, noise: float = 3.0) -> np.ndarray:
    """Return ``(720, 1280, 3)`` uint8: the board on grey in the camera image, smoothed by twofold oversampling."""
    per_m, over = 12000, 2
    board = BOARD.make().generateImage(
        (round(BOARD.columns * BOARD.square * per_m), round(BOARD.rows * BOARD.square * per_m)), marginSize=0
    )
    metres = np.array([[1 / per_m, 0, 0.5 / per_m], [0, 1 / per_m, 0.5 / per_m], [0, 0, 1]])  # of a pixel's middle
    K = np.array([[CAMERA.fx, 0, CAMERA.cx], [0, CAMERA.fy, CAMERA.cy], [0, 0, 1]])
    finer = np.array([[over, 0, (over - 1) / 2], [0, over, (over - 1) / 2], [0, 0, 1]])
    H = finer @ K @ np.column_stack([T_cam_board[:3, 0], T_cam_board[:3, 1], T_cam_board[:3, 3]]) @ metres
    big = cv2.warpPerspective(
        board, H, (CAMERA.width * over, CAMERA.height * over), flags=cv2.INTER_LINEAR, borderValue=128
    )
    small = cv2.resize(big, (CAMERA.width, CAMERA.height), interpolation=cv2.INTER_AREA).astype(np.float32)
    small = cv2.GaussianBlur(small, (0, 0), blur) * 0.8 + 25 + rng.normal(size=small.shape) * noise
    return np.repeat(np.clip(small, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def arm_poses(rng, count: int, turn: float = 0.5) -> list[np.ndarray]:
    """T_base_flange that show the board to the camera from 0.35 to 0.55 m, turned by up to ``turn`` rad about every
    axis."""
    poses = []
    for _ in range(count):
        z = rng.uniform(0.35, 0.55)
        middle = make_pose(np.eye(3), np.array([BOARD.columns, BOARD.rows, 0]) * BOARD.square / 2)
        place = make_pose(
            Rotation.from_rotvec(rng.uniform(-turn, turn, 3)).as_matrix(),
            np.array([rng.uniform(-0.3, 0.3) * z, rng.uniform(-0.15, 0.15) * z, z]),
        )
        poses.append(T_BASE_CAM @ place @ invert(middle) @ invert(T_FLANGE_BOARD))
    return poses


def shaken(T: np.ndarray, rng, mm: float = 0.2, degrees: float = 0.02) -> np.ndarray:
    """Return the measured pose of the arm, with an error."""
    return T @ make_pose(
        Rotation.from_rotvec(np.radians(degrees) * rng.normal(size=3)).as_matrix(), mm * 1e-3 * rng.normal(size=3)
    )


@pytest.fixture(scope="module")
def shots():
    """Return (name, measured pose, image) of 14 views."""
    rng = np.random.default_rng(7)
    poses = arm_poses(rng, 14)
    return [
        (f"view{i:02d}", shaken(T, rng), draw(invert(T_BASE_CAM) @ T @ T_FLANGE_BOARD, rng))
        for i, T in enumerate(poses)
    ]


@pytest.fixture(scope="module")
def views(shots):
    board = BOARD.make()
    return [view for name, T, rgb in shots if (view := find_board(rgb, board, CAMERA, T, name)) is not None]


def test_the_board_is_found_where_it_is(views, shots):
    assert len(views) >= 12
    for view in views:
        truth = invert(T_BASE_CAM) @ view.T_base_flange @ T_FLANGE_BOARD
        mm, degrees = difference(view.T_cam_board, truth)
        assert len(view.corners) >= 12 and mm < 3.0 and degrees < 0.6, view.name


def test_camera_is_found_within_1_mm_and_0_1_degree(views):
    found = calibrate(views, CAMERA)
    mm, degrees = difference(found.T_base_cam, T_BASE_CAM)
    board_mm, board_degrees = difference(found.T_flange_board, T_FLANGE_BOARD)
    print(
        f"camera off by {mm:.2f} mm, {degrees:.3f} degrees; sigma {found.sigma_mm:.2f} mm, "
        f"{found.sigma_deg:.3f} degrees; {found.rms_px:.2f} px RMS; board off by {board_mm:.2f} mm"
    )
    assert mm < 1.5 and degrees < 0.12 and board_mm < 1.5 and board_degrees < 0.2
    assert found.rms_px < 0.6 and mm < 4 * found.sigma_mm < 4.0, (
        "the stated uncertainty is neither too small nor useless"
    )


def test_from_exact_corners_the_truth_comes_back_exactly():
    from uma.geometry.camera import project
    from uma.geometry.se3 import apply
    from uma_ros.calibration.handeye import View

    rng = np.random.default_rng(1)
    corners = np.array([[x, y, 0.0] for x in range(1, 14) for y in range(1, 9)]) * 0.02
    exact = []
    for i, T in enumerate(arm_poses(rng, 10)):
        T_cam_board = invert(T_BASE_CAM) @ T @ T_FLANGE_BOARD
        exact.append(View(str(i), T, corners, project(apply(T_cam_board, corners), CAMERA), T_cam_board))
    found = calibrate(exact, CAMERA)
    mm, degrees = difference(found.T_base_cam, T_BASE_CAM)
    assert mm < 1e-3 and degrees < 1e-4 and found.rms_px < 1e-4


def test_one_wrong_arm_pose_is_named_and_ignored(views):
    from dataclasses import replace

    moved = replace(views[3], T_base_flange=views[3].T_base_flange @ make_pose(np.eye(3), np.array([0.02, 0.0, 0.0])))
    found = calibrate([*views[:3], moved, *views[4:]], CAMERA)
    mm, degrees = difference(found.T_base_cam, T_BASE_CAM)
    assert mm < 4.0 and degrees < 0.4 and max(found.view_px, key=found.view_px.get) == views[3].name


def test_too_few_or_too_similar_pictures_are_refused(views):
    with pytest.raises(InputError, match="5 images with a detected board, must be at least 8"):
        calibrate(views[:5], CAMERA)
    from dataclasses import replace

    one = views[0]
    alike = [
        replace(
            v,
            T_base_flange=make_pose(
                Rotation.from_euler("z", 0.1 * i).as_matrix() @ one.T_base_flange[:3, :3], v.T_base_flange[:3, 3]
            ),
        )
        for i, v in enumerate(views)
    ]
    with pytest.raises(InputError, match="about its two main axes"):
        calibrate(alike, CAMERA)


def test_a_picture_without_the_board_is_none():
    rng = np.random.default_rng(0)
    assert find_board(rng.integers(0, 255, (720, 1280, 3), dtype=np.uint8), BOARD.make(), CAMERA, np.eye(4)) is None


def test_moved_camera_shows_on_new_pictures(views):
    found = calibrate(views, CAMERA)
    moved = found.T_base_cam @ make_pose(Rotation.from_euler("y", 0.02).as_matrix(), np.array([0.01, 0.0, 0.0]))
    assert judge(views, CAMERA, found.T_base_cam) < found.rms_px * 1.05 < judge(views, CAMERA, moved)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"columns": 2}, "3 to 50"),
        ({"marker": 0.03}, "must be smaller"),
        ({"dictionary": "DICT_9"}, "'DICT_9', must be one of OpenCV's"),
        ({"columns": 40, "rows": 40}, "need 800 markers, DICT_5X5_100 has 100"),
    ],
)
def test_a_board_that_cannot_be_is_refused(changes, words):
    with pytest.raises(InputError, match=words):
        BoardSettings(**changes).make()


# -- the command -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def album(tmp_path_factory, shots):
    folder = tmp_path_factory.mktemp("album")
    (folder / "camera.yaml").write_text(
        yaml.safe_dump(
            {"width": 1280, "height": 720, "fx": 530.0, "fy": 530.0, "cx": 639.5, "cy": 359.5, "frame": "cam0"}
        )
    )
    poses = {}
    for name, T, rgb in shots:
        Image.fromarray(rgb).save(folder / f"{name}.png", compress_level=1)
        poses[name] = {"xyz": T[:3, 3].tolist(), "xyzw": quaternion(T).tolist()}
    Image.fromarray(np.full((720, 1280, 3), 90, np.uint8)).save(folder / "empty.png")
    poses["empty"] = {"xyz": [0.4, 0.0, 0.4], "xyzw": [1.0, 0.0, 0.0, 0.0]}
    (folder / "poses.yaml").write_text(yaml.safe_dump(poses))
    return folder


@pytest.fixture
def folder(tmp_path, album):
    for path in album.iterdir():
        if path.suffix == ".png":
            (tmp_path / path.name).symlink_to(path)
        else:
            (tmp_path / path.name).write_text(path.read_text())
    return tmp_path


def test_command_writes_calibration_picture_and_quality(folder, tmp_path, capsys):
    old = T_BASE_CAM @ make_pose(np.eye(3), np.array([0.03, 0.0, 0.0]))
    from datetime import UTC, datetime, timedelta

    tools = {("fr3_link8", "tcp"): make_pose(np.eye(3), np.array([0.0, 0.0, 0.16]))}
    save_calibration(
        Calibration("cam0", "fr3_link0", old, tools, datetime.now(UTC) - timedelta(days=40)), tmp_path / "old.yaml"
    )
    out = tmp_path / "new/c.yaml"
    assert (
        command.main(
            [
                str(folder),
                "--out",
                str(out),
                "--against",
                str(tmp_path / "old.yaml"),
                "--tools",
                str(tmp_path / "old.yaml"),
            ]
        )
        == 0
    )
    said = capsys.readouterr().out
    assert "no board in 1: empty" in said and "40.0 days old, limit 30" in said and "the camera has moved" in said
    assert float(re.search(r"differs by ([0-9.]+) mm", said)[1]) == pytest.approx(30.0, abs=1.5)
    found = load_calibration(out)
    mm, degrees = difference(found.T_base_cam, T_BASE_CAM)
    assert (
        mm < 1.5
        and degrees < 0.12
        and found.camera_frame == "cam0"
        and ("fr3_link8", "tcp") in found.tools
        and found.date is not None
    )
    picture = np.array(Image.open(out.with_suffix(".png")).convert("RGB")).astype(int)
    assert picture.shape == (720, 1280, 3)
    for colour in ((30, 110, 255), (230, 30, 30), (20, 200, 60)):
        assert (np.abs(picture - colour).max(-1) < 5).sum() > 50, f"{colour} is drawn"
    assert command.main([str(folder), "--out", str(out), "--against", str(out)]) == 0
    assert "it is still valid" in capsys.readouterr().out


def test_wrong_square_size_is_poor_or_shifts_the_camera(folder, tmp_path, capsys):
    code = command.main([str(folder), "--out", str(tmp_path / "c.yaml"), "--square", "0.025", "--marker", "0.02"])
    assert code == 1 and "poor" in capsys.readouterr().out


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("poses.yaml", "[1, 2]", "must map 1 to 500"),
        ("poses.yaml", "{view00: {xyz: [0, 0], xyzw: [0, 0, 0, 1]}}", "view00"),
        ("poses.yaml", "{view00: {xyz: [0, 0, 0], xyzw: [0, 0, 0, 0]}}", "view00.*norm 0"),
        ("poses.yaml", "{../../secret: {xyz: [0, 0, 0], xyzw: [0, 0, 0, 1]}}", "must be the name of an image"),
        ("poses.yaml", "{gone: {xyz: [0, 0, 0], xyzw: [0, 0, 0, 1]}}", "gone.png"),
        (
            "camera.yaml",
            "{width: 640, height: 360, fx: 265, fy: 265, cx: 320, cy: 180}",
            "1280x720 pixels, must be 640x360",
        ),
    ],
)
def test_malformed_folders_are_refused_by_entry(folder, tmp_path, name, text, words):
    (folder / name).write_text(text)
    with pytest.raises(InputError, match=words):
        command.main([str(folder), "--out", str(tmp_path / "c.yaml")])


def test_bag_moments_are_those_of_a_still_arm(tmp_path, shots):
    pytest.importorskip("rosbags", reason="extra 'bags' is not installed")
    from geometry_msgs.msg import PoseStamped
    from rclpy.serialization import serialize_message
    from sensor_msgs.msg import CameraInfo, Image

    from uma_ros.bags.writer import BagWriter
    from uma_ros.messages.convert import camera_to, image_to, pose_to, stamp_from
    from uma_ros.runtime.topics import CAMERA_OUT, STATE_OUT, Topics

    topics, bag = Topics().in_namespace(), BagWriter(tmp_path / "bag")
    for topic, kind, qos in (
        (topics.rgb, Image, CAMERA_OUT),
        (topics.camera_info, CameraInfo, CAMERA_OUT),
        (topics.robot_pose, PoseStamped, STATE_OUT),
    ):
        bag.add_topic(topic, kind, qos)

    def write(topic, t, msg):
        msg.header.stamp = stamp_from(t)
        bag.write(topic, round(t * 1e9), serialize_message(msg))

    for i, (_, T, rgb) in enumerate(shots):
        t = 1000.0 + 2.0 * i
        write(topics.camera_info, t, camera_to(CAMERA, stamp_from(t)))
        for k in range(20):  # a second of standing, then a second of moving
            there = T @ make_pose(np.eye(3), np.array([0.0, 0.0, 0.01 * max(k - 9, 0)]))
            write(topics.robot_pose, t + 0.1 * k, PoseStamped(pose=pose_to(there)))
        for late in (0.45, 1.5):  # one picture while it stands, one while it moves
            write(topics.rgb, t + late, image_to(rgb if late < 1 else rgb[::-1], "rgb8", "cam", stamp_from(t + late)))
    bag.close()
    camera, views, missed = command.read_views(tmp_path / "bag", BOARD)
    assert len(views) + len(missed) == len(shots) and len(views) >= 12 and camera.fx == CAMERA.fx
    mm, degrees = difference(calibrate(views, camera).T_base_cam, T_BASE_CAM)
    assert mm < 1.5 and degrees < 0.12
    assert command.picture_of(tmp_path / "bag", views[2].name).shape == (720, 1280, 3)


def test_the_gripper_is_drawn_around_the_flanges_axis():
    lines = np.concatenate(command.gripper_lines())
    assert lines[:, 2].min() >= 0 and 0.15 < lines[:, 2].max() < 0.17 and np.abs(lines.mean(0)[:2]).max() < 1e-9
