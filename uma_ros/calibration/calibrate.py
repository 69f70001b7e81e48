"""`uma calibrate PATH`: where the camera stands, from pictures of a ChArUco board in the gripper.

PATH is a bag of the recorder, or of `ros2 bag record`, with the colour image, its camera_info and the flange's pose:
the moments when the arm stood still are taken. Or it is a folder that holds camera.yaml (width, height, fx, fy, cx, cy,
frame), NAME.png (rectified) and poses.yaml: NAME -> {xyz: [m, m, m], xyzw: [quaternion]}, the flange (fr3_link8) in the
base when the picture was taken.

Move the arm between the pictures so that the board turns about two axes at least, by 20 degrees and more, and fills
different parts of the image; let it come to rest for each. A marker needs about 15 pixels: DROID's board in a 1280
pixel wide image must be nearer than 0.55 m.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import MISSING, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from uma.geometry.camera import project
from uma.geometry.se3 import apply, from_quaternion, invert
from uma.settings import from_words, setting
from uma.types import CameraModel, InputError
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
from uma_ros.drivers.camera.folder import read_camera, read_image
from uma_ros.drivers.device import MissingPackage
from uma_ros.runtime.robot import robot
from uma_ros.runtime.textfile import numbers, read_value

HELP = (__doc__ or "").split(":", 1)[1].strip()
MAX_VIEWS = 500
GOOD_PX = 1.0
"""Pixels (RMS) beyond which a calibration is called poor."""


def read_poses(path: Path) -> dict[str, np.ndarray]:
    """Name -> ``(4, 4)`` T_base_flange. Raises `InputError` naming the entry."""
    data = read_value(path, "")
    if not isinstance(data, dict) or not 1 <= len(data) <= MAX_VIEWS:
        raise InputError(f"{path}: must map 1 to {MAX_VIEWS} names of pictures to poses")
    poses = {}
    for name, entry in data.items():
        try:
            poses[str(name)] = from_quaternion(numbers(entry["xyz"], "xyz", 3), numbers(entry["xyzw"], "xyzw", 4))
        except (TypeError, KeyError, ValueError) as error:
            raise InputError(f"{path}: {name}: {error}; must be xyz: 3 metres, xyzw: a unit quaternion") from None
    return poses


def read_folder(folder: Path) -> tuple[CameraModel, Iterator[tuple[str, np.ndarray, np.ndarray]]]:
    """The camera, and (name, ``(4, 4)`` T_base_flange, ``(H, W, 3)`` picture) of each entry in poses.yaml. Raises
    `InputError` naming the entry."""
    camera, poses = read_camera(folder / "camera.yaml"), read_poses(folder / "poses.yaml")
    for name in poses:
        if Path(name).name != name:
            raise InputError(f"{folder / 'poses.yaml'}: {name}: must be the name of a picture in this folder")
    return camera, ((name, T, read_image(folder / f"{name}.png")) for name, T in poses.items())


def read_views(path: Path, settings: BoardSettings) -> tuple[CameraModel, list[View], list[str]]:
    """The camera, the pictures of a folder or a bag in which the board was found, and the names of the others."""
    if (path / "metadata.yaml").exists() or path.suffix == ".mcap":
        from uma_ros.calibration.stills import read_stills

        camera, pictures = read_stills(path)
    else:
        camera, pictures = read_folder(path)
    board, views, missed = settings.make(), [], []
    for name, T, rgb in pictures:
        if rgb.shape[:2] != (camera.height, camera.width):
            raise InputError(
                f"{name}: {rgb.shape[1]}x{rgb.shape[0]} pixels, must be {camera.width}x{camera.height} as "
                "its intrinsics say"
            )
        view = find_board(rgb, board, camera, T, name)
        missed.append(name) if view is None else views.append(view)
    return camera, views, missed


def picture_of(path: Path, name: str) -> np.ndarray:
    """``(H, W, 3)`` the picture ``name`` once more: they are not all kept."""
    if (path / f"{name}.png").exists():
        return read_image(path / f"{name}.png")
    from uma_ros.calibration.stills import read_stills

    return next(rgb for other, _, rgb in read_stills(path)[1] if other == name)


# A 2F-85 as three boxes in the frame of the flange, m: centre and half edges; for the eye, not for collisions.
GRIPPER = (
    ((0.0, 0.0, 0.045), (0.0375, 0.0375, 0.045)),
    ((0.05, 0.0, 0.125), (0.011, 0.011, 0.035)),
    ((-0.05, 0.0, 0.125), (0.011, 0.011, 0.035)),
)


def gripper_lines(turn: float = 0.0) -> list[np.ndarray]:
    """``(2, 3)`` m: edges of a coarse 2F-85 in the frame of the flange, turned by ``turn`` rad about its axis."""
    lines, c, s = [], np.cos(turn), np.sin(turn)
    R = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    for centre, half in GRIPPER:
        corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * half + centre
        for i in range(8):
            lines += [np.stack([corners[i], corners[i | bit]]) @ R.T for bit in (1, 2, 4) if not i & bit]
    return lines


def overlay(rgb: np.ndarray, view: View, camera: CameraModel, found: HandEye, path: Path, turn: float = 0.0) -> None:
    """The picture with the gripper (blue), the corners as they should be seen (green) and as they are (red). They must
    lie on each other."""
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
        f"{view.name}: {found.view_px[view.name]:.2f} px   blue: gripper   red: seen   green: as calibrated",
        fill=(255, 255, 255),
    )
    picture.save(path)


def age_days(calibration: Calibration, now: datetime) -> float | None:
    """Days since the calibration; None if its file does not say."""
    return None if calibration.date is None else (now - calibration.date).total_seconds() / 86400


def compare(
    old: Calibration, views: list[View], camera: CameraModel, found: HandEye, max_age: float, now: datetime
) -> str:
    """One line about an earlier calibration: its age, how it differs, and how well it explains the new pictures."""
    mm, degrees = difference(old.T_base_cam, found.T_base_cam)
    age, off = age_days(old, now), judge(views, camera, old.T_base_cam)
    words = "of unknown age" if age is None else f"{age:.1f} days old{f', limit {max_age:g}' if age > max_age else ''}"
    verdict = (
        "the camera has moved, or that calibration was wrong"
        if off > max(3 * found.rms_px, GOOD_PX)
        else "it still holds"
    )
    return (
        f"the earlier calibration is {words}; it differs by {mm:.1f} mm and {degrees:.2f} degrees and is off by "
        f"{off:.2f} px on these pictures: {verdict}"
    )


@dataclass(frozen=True, kw_only=True)
class CalibrateOptions(BoardSettings):
    """The options of `uma calibrate`, those of the board among them."""

    path: str = setting(MISSING, "a bag, or a folder of pictures")
    out: str = setting("calibration.yaml", "the calibration; beside it goes a picture of the same name, .png")
    base_frame: str = setting("", "frame of the robot's base; empty: as in config/robot.yaml")
    tools: str = setting("", "a calibration of ours from which the tools are taken over")
    against: str = setting("", "an earlier calibration, to be compared and checked for its age")
    camera: str = setting("", "key of the camera in that file, if it is DROID's")
    max_age_days: float = setting(30.0, "days after which an earlier calibration is too old", 0.0, 36500.0)
    gripper_turn: float = setting(0.0, "rad; of the drawn gripper about the flange's axis", -7.0, 7.0)


def main(argv: list[str]) -> int:
    """Exit code: 0, or 1 if the calibration is poor; it is written all the same, under its own name."""
    args = from_words(CalibrateOptions, argv, "uma calibrate", HELP)
    now = datetime.now(UTC)
    try:
        camera, views, missed = read_views(Path(args.path), args)
    except MissingPackage as error:
        raise InputError(str(error)) from None
    out, base_frame = Path(args.out), args.base_frame or robot().base_frame
    tools = load_calibration(args.tools).tools if args.tools else {}
    found = calibrate(views, camera)
    save_calibration(Calibration(camera.frame, base_frame, found.T_base_cam, tools, now), out)
    worst = max(views, key=lambda v: found.view_px[v.name])
    picture = out.with_suffix(".png")
    overlay(picture_of(Path(args.path), worst.name), worst, camera, found, picture, args.gripper_turn)
    num_corners = sum(len(r) for r in residuals(views, camera, found.T_base_cam, found.T_flange_board))
    print(
        f"{len(views)} pictures, {num_corners} "
        f"corners{f'; no board in {len(missed)}: ' + ', '.join(missed) if missed else ''}"
    )
    print(
        f"camera at {found.T_base_cam[:3, 3].round(4).tolist()} m in {base_frame}, to "
        f"{found.sigma_mm:.2f} mm and {found.sigma_deg:.3f} degrees (1 sigma)"
    )
    print(
        f"corners are off by {found.rms_px:.2f} px (RMS), {found.max_px:.2f} px at most; worst picture "
        f"{worst.name}: {found.view_px[worst.name]:.2f} px"
    )
    if args.against:
        print(compare(load_calibration(args.against, args.camera), views, camera, found, args.max_age_days, now))
    print(f"written: {out}, {picture}")
    if found.rms_px > GOOD_PX:
        print(
            f"poor: over {GOOD_PX:g} px. Is the board flat, its size as given, the arm at rest in every "
            "picture, the image rectified?"
        )
        return 1
    return 0
