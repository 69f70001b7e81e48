"""`uma calibrate PATH`: calibrate the camera's extrinsics from images of a ChArUco board in the gripper.

PATH is a bag or a folder. A bag of the recorder or of `ros2 bag record` contains the colour image, its camera_info and
the flange pose. The command uses the images during which the arm stood still. A folder contains camera.yaml (width,
height, fx, fy, cx, cy, frame), rectified images NAME.png or NAME.jpg, and poses.yaml or poses.json. The latter maps
each NAME to the flange (fr3_link8) in the base frame: {xyz: [m, m, m], xyzw: [quaternion]}, or DROID's
cartesian_position [x, y, z, rx, ry, rz] with extrinsic xyz Euler angles in radians.

Between the images, turn the board by at least 20 degrees about at least two axes. Let it fill different parts of the
image, and let the arm come to rest. A marker needs about 15 pixels: in an image 1280 pixels wide, DROID's board must be
nearer than 0.55 m.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from uma.geometry.camera import project
from uma.geometry.se3 import apply, from_quaternion, invert
from uma.settings import from_words, setting
from uma.types import CameraModel, InputError
from uma_ros.bags.storage import OF_BAG, TOPIC, is_bag
from uma_ros.calibration.entries import euler_pose
from uma_ros.calibration.files import Calibration, load_calibration, save_calibration
from uma_ros.calibration.handeye import (
    BoardSettings,
    HandEye,
    View,
    calibrate,
    difference,
    find_board,
    judge,
    residuals,
)
from uma_ros.calibration.plausible import pose_doubts
from uma_ros.drivers.camera.folder import read_camera, read_image
from uma_ros.drivers.device import MissingPackage
from uma_ros.runtime.robot import ROBOT, choose_robot, robot
from uma_ros.runtime.textfile import numbers, read_value

if TYPE_CHECKING:
    from uma_ros.runtime.topics import Topics

HELP = (__doc__ or "").split(":", 1)[1].strip()
MAX_VIEWS = 500
GOOD_PX = 1.0
"""Largest reprojection error (RMS) of a good calibration, pixels."""


def read_poses(path: Path) -> dict[str, np.ndarray]:
    """Read name -> ``(4, 4)`` T_base_flange. Raises `InputError` with the entry."""
    data = read_value(path, "")
    if not isinstance(data, dict) or not 1 <= len(data) <= MAX_VIEWS:
        raise InputError(f"{path}: must map 1 to {MAX_VIEWS} names of images to poses")
    poses = {}
    for name, entry in data.items():
        if isinstance(entry, list):
            poses[str(name)] = euler_pose(entry, f"{path}: {name}")
            continue
        try:
            poses[str(name)] = from_quaternion(numbers(entry["xyz"], "xyz", 3), numbers(entry["xyzw"], "xyzw", 4))
        except (TypeError, KeyError, ValueError) as error:
            raise InputError(f"{path}: {name}: {error}; must be xyz: 3 metres, xyzw: a unit quaternion") from None
    return poses


def read_folder(folder: Path) -> tuple[CameraModel, Iterator[tuple[str, np.ndarray, np.ndarray]]]:
    """Return the camera, and (name, ``(4, 4)`` T_base_flange, ``(H, W, 3)`` image) of each entry in poses.yaml.

    Raises:
        InputError: with the entry.
    """
    given = folder / "poses.json" if (folder / "poses.json").exists() else folder / "poses.yaml"
    camera, poses = read_camera(folder / "camera.yaml"), read_poses(given)
    for name in poses:
        if Path(name).name != name:
            raise InputError(f"{given}: {name}: must be the name of an image in this folder")
    return camera, ((name, T, read_image(image_of(folder, name))) for name, T in poses.items())


def image_of(folder: Path, name: str) -> Path:
    """Return the path of the image ``name``, given with or without its suffix; NAME.png if there is none."""
    names = [name, *(f"{name}{suffix}" for suffix in (".png", ".jpg", ".jpeg", ".PNG", ".JPG", ".JPEG"))]
    found = [folder / n for n in names if Path(n).suffix.lower() in (".png", ".jpg", ".jpeg") and (folder / n).exists()]
    return found[0] if found else folder / f"{name}.png"


def read_views(
    path: Path, settings: BoardSettings, topics: Topics | None = None
) -> tuple[CameraModel, list[View], list[str]]:
    """Return the camera, the views of a folder or a bag with a detected board, and the names of the other images.

    Args:
        topics: topics of a bag; None = the default names.
    """
    if is_bag(path):
        from uma_ros.calibration.stills import read_stills

        camera, pictures = read_stills(path, topics)
    else:
        camera, pictures = read_folder(path)
    board, views, missed = settings.make(), [], []
    for name, T, rgb in pictures:
        if rgb.shape[:2] != (camera.height, camera.width):
            raise InputError(
                f"{name}: {rgb.shape[1]}x{rgb.shape[0]} pixels, must be {camera.width}x{camera.height} as in "
                "the intrinsics"
            )
        view = find_board(rgb, board, camera, T, name)
        missed.append(name) if view is None else views.append(view)
    return camera, views, missed


def picture_of(path: Path, name: str, topics: Topics | None = None) -> np.ndarray:
    """Read the ``(H, W, 3)`` image ``name`` again."""
    if image_of(path, name).exists():
        return read_image(image_of(path, name))
    from uma_ros.calibration.stills import read_stills

    return next(rgb for other, _, rgb in read_stills(path, topics)[1] if other == name)


GRIPPER = (
    ((0.0, 0.0, 0.045), (0.0375, 0.0375, 0.045)),
    ((0.05, 0.0, 0.125), (0.011, 0.011, 0.035)),
    ((-0.05, 0.0, 0.125), (0.011, 0.011, 0.035)),
)
"""A 2F-85 as three boxes in the flange frame, for drawing only: centre and half edge lengths, m."""


def gripper_lines(turn: float = 0.0) -> list[np.ndarray]:
    """Return the edges of `GRIPPER`, each ``(2, 3)`` m in the flange frame, turned by ``turn`` rad about its axis."""
    lines, c, s = [], np.cos(turn), np.sin(turn)
    R = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    for centre, half in GRIPPER:
        corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * half + centre
        for i in range(8):
            lines += [np.stack([corners[i], corners[i | bit]]) @ R.T for bit in (1, 2, 4) if not i & bit]
    return lines


def overlay(rgb: np.ndarray, view: View, camera: CameraModel, found: HandEye, path: Path, turn: float = 0.0) -> None:
    """Write the image with the gripper (blue), the projected corners (green) and the detected corners (red).

    Green and red corners of a good calibration coincide.
    """
    from PIL import Image, ImageDraw

    picture = Image.fromarray(rgb).convert("RGB")
    draw = ImageDraw.Draw(picture)
    T_cam_flange = invert(found.T_base_cam) @ view.T_base_flange
    for line in gripper_lines(turn):
        ends = project(apply(T_cam_flange, line), camera)
        if np.isfinite(ends).all() and np.abs(ends).max() < 4 * max(camera.width, camera.height):
            draw.line([tuple(map(float, p)) for p in ends], fill=(30, 110, 255), width=2)
    for points, colour, radius in (
        (view.pixels, (230, 30, 30), 2.5),
        (project(apply(T_cam_flange @ found.T_flange_board, view.corners), camera), (20, 200, 60), 1.0),
    ):
        for u, v in points:
            draw.ellipse((u - radius, v - radius, u + radius, v + radius), outline=colour)
    draw.rectangle((0, 0, camera.width, 16), fill=(0, 0, 0))
    draw.text(
        (4, 2),
        f"{view.name}: {found.view_px[view.name]:.2f} px   blue: gripper   red: detected   green: projected",
        fill=(255, 255, 255),
    )
    picture.save(path)


def age_days(calibration: Calibration, now: datetime) -> float | None:
    """Return the days since the calibration; None if it has no date."""
    return None if calibration.date is None else (now - calibration.date).total_seconds() / 86400


def compare(
    old: Calibration, views: list[View], camera: CameraModel, found: HandEye, max_age: float, now: datetime
) -> str:
    """Return one line about an earlier calibration: age, difference, reprojection error on the new images."""
    mm, degrees = difference(old.T_base_cam, found.T_base_cam)
    age, off = age_days(old, now), judge(views, camera, old.T_base_cam)
    words = "of unknown age" if age is None else f"{age:.1f} days old{f', limit {max_age:g}' if age > max_age else ''}"
    verdict = (
        "the camera has moved, or the calibration was wrong"
        if off > max(3 * found.rms_px, GOOD_PX)
        else "it is still valid"
    )
    return (
        f"the earlier calibration is {words}; it differs by {mm:.1f} mm and {degrees:.2f} degrees; its error on these "
        f"images is {off:.2f} px: {verdict}"
    )


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions(BoardSettings):
    """Options of `uma calibrate`, including the board."""

    path: str = setting(MISSING, "bag, or folder of images")
    out: str = setting("calibration.yaml", "calibration file; an image of the worst view has the same name with .png")
    base_frame: str = setting("", "base frame of the robot; empty: as in the robot file")
    robot: str = setting("", ROBOT)
    tools: str = setting("", "calibration file (YAML) whose tools are copied")
    against: str = setting("", "earlier calibration for a comparison")
    camera: str = setting("", "key of the camera in the earlier calibration, as of `uma inspect --camera`")
    max_age_days: float = setting(30.0, "days; largest age of the earlier calibration", 0.0, 36500.0)
    topic: list[str] = setting([], TOPIC)
    namespace: str = setting("", OF_BAG)
    gripper_turn: float = setting(0.0, "rad; angle of the drawn gripper about the flange's axis", -7.0, 7.0)


def _topics(path: Path, words: list[str], namespace: str) -> Topics | None:
    """Return the topics of a bag; None for a folder of images, which needs no ROS."""
    if not is_bag(path):
        return None
    from uma_ros.bags.candidates import chosen_topics, graph_topics
    from uma_ros.bags.reader import bag_channels

    return chosen_topics(words, graph_topics(bag_channels(path), namespace))


def main(argv: list[str]) -> int:
    """Run the command. Return 0, or 1 for a poor or implausible calibration, which is written too."""
    args = from_words(CalibrateOptions, argv, "uma calibrate", HELP)
    now = datetime.now(UTC)
    try:
        choose_robot(args.robot)
        topics = _topics(Path(args.path), args.topic, args.namespace)
        camera, views, missed = read_views(Path(args.path), args, topics)
    except MissingPackage as error:
        raise InputError(str(error)) from None
    out, base_frame = Path(args.out), args.base_frame or robot().base_frame
    tools = load_calibration(args.tools).tools if args.tools else {}
    found = calibrate(views, camera)
    save_calibration(Calibration(camera.frame, base_frame, found.T_base_cam, tools, now), out)
    worst = max(views, key=lambda v: found.view_px[v.name])
    picture = out.with_suffix(".png")
    overlay(picture_of(Path(args.path), worst.name, topics), worst, camera, found, picture, args.gripper_turn)
    num_corners = sum(len(r) for r in residuals(views, camera, found.T_base_cam, found.T_flange_board))
    print(
        f"{len(views)} images, {num_corners} "
        f"corners{f'; no board in {len(missed)}: ' + ', '.join(missed) if missed else ''}"
    )
    print(
        f"camera at {found.T_base_cam[:3, 3].round(4).tolist()} m in {base_frame}, "
        f"standard deviation {found.sigma_mm:.2f} mm and {found.sigma_deg:.3f} degrees"
    )
    print(
        f"reprojection error {found.rms_px:.2f} px (RMS), {found.max_px:.2f} px at most; worst image "
        f"{worst.name}: {found.view_px[worst.name]:.2f} px"
    )
    if args.against:
        print(compare(load_calibration(args.against, args.camera), views, camera, found, args.max_age_days, now))
    print(f"written: {out}, {picture}")
    doubts = pose_doubts(found.T_base_cam)
    for doubt in doubts:
        print(f"implausible camera: {doubt}")
    if found.rms_px > GOOD_PX:
        print(
            f"poor calibration: error over {GOOD_PX:g} px. Is the board flat and its size correct? Is the arm at rest "
            "in every image? Are the images rectified?"
        )
        return 1
    return 1 if doubts else 0
