"""Intrinsics that fit their image, raw images that are rectified, and depth in metres."""

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo

from uma.types import CameraModel, InputError
from uma_ros.drivers.camera.feeds import conforming
from uma_ros.messages import intrinsics
from uma_ros.messages.convert import camera_from, depth_from, image_to, observation_from, rectified_from, rgb_from
from uma_ros.messages.limits import CENTRES, FOCAL_LENGTHS, MAX_ASPECT, check_intrinsics

STAMP = Time(sec=1_700_000_000, nanosec=5)
WIDTH, HEIGHT, F, CX, CY = 640, 360, 263.5, 319.5, 179.5
BARREL = [-0.17, 0.02, 0.001, -0.001, 0.0]


def info(d=(), model="plumb_bob", k=(F, F, CX, CY), p=None, **more) -> CameraInfo:
    """camera_info of the raw image; ``p`` of a rectified one as (fx, fy, cx, cy)."""
    msg = CameraInfo(width=WIDTH, height=HEIGHT, distortion_model=model, d=[float(c) for c in d])
    fx, fy, cx, cy = map(float, k)
    msg.k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
    if p is not None:
        fx, fy, cx, cy = map(float, p)
        msg.p = [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]
    msg.header.frame_id = "cam"
    for key, value in more.items():
        setattr(msg, key, value)
    return msg


def part(x, y, width, height, **more) -> CameraInfo:
    msg = info(**more)
    msg.roi.x_offset, msg.roi.y_offset, msg.roi.width, msg.roi.height = x, y, width, height
    return msg


# -- plausible ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change, words",
    [
        ({"k": (0, 0, 0, 0)}, "fx: 0.0, .*k is all zeros.*not calibrated"),
        ({"k": (1054, 1054, 639, 359)}, "cx: 639, must be 64 to 576.*another image size"),
        ({"k": (F, F, CX, 719)}, "cy: 719, must be 36 to 324"),
        ({"k": (F, F, -1, CY)}, "cx: -1"),
        ({"k": (F, F, 0, 0)}, "cx: 0"),
        ({"k": (3.6, 3.6, CX, CY)}, "fx: 3.6 pixels, must be 128 to 12800"),
        ({"k": (0.4, 0.7, 0.5, 0.5)}, "fx: 0.4 pixels"),
        ({"k": (26350, 26350, CX, CY)}, "fx: 26350"),
        ({"k": (F, 3 * F, CX, CY)}, "within a factor of 2 of fy"),
        ({"k": (F, float("nan"), CX, CY)}, "fy: nan"),
        ({"k": (-F, F, CX, CY)}, "fx: -263.5"),
        ({"d": [float("nan")] * 5}, "d: .*must be finite"),
        ({"p": (F, F, 2 * WIDTH, CY)}, "cx: 1280"),
        ({"binning_x": 99}, "binning: 99x1"),
    ],
)
def test_intrinsics_that_do_not_fit_the_image_are_refused(change, words):
    with pytest.raises(InputError, match=f"camera_info.*{words}"):
        camera_from(info(**change))


@pytest.mark.parametrize("side", ["low", "high"])
def test_limits_of_intrinsics_hold_on_both_sides(side):
    i, out = (0, 0.99) if side == "low" else (1, 1.01)
    make = lambda f=F, fy=None, cx=CX, cy=CY: CameraModel(WIDTH, HEIGHT, f, fy or f, cx, cy)  # noqa: E731
    f, cx, cy = FOCAL_LENGTHS[i] * WIDTH, CENTRES[i] * WIDTH, CENTRES[i] * HEIGHT
    aspect = F * (MAX_ASPECT if i else 1 / MAX_ASPECT)
    for camera in (make(f), make(cx=cx), make(cy=cy), make(fy=aspect)):
        assert check_intrinsics(camera, "c") is camera
    for camera in (make(f * out), make(cx=cx * out), make(cy=cy * out), make(fy=aspect * out)):
        with pytest.raises(InputError):
            check_intrinsics(camera, "c")


def test_real_cameras_are_plausible():
    for w, h, fx, fy, cx, cy in (
        (1280, 720, 531.7, 531.7, 631.1, 356.9),  # ZED 2, rectified
        (320, 180, 132.9, 132.9, 159.5, 89.5),
        (640, 480, 615.3, 615.6, 325.4, 241.5),  # RealSense D435 colour
        (1920, 1080, 1364.0, 1364.2, 960.9, 551.5),
        (640, 576, 504.2, 504.3, 320.3, 333.5),  # Azure Kinect depth
        (848, 480, 286.2, 286.4, 421.4, 235.9),  # T265 fisheye
    ):
        assert check_intrinsics(CameraModel(w, h, fx, fy, cx, cy), "c")


# -- binning and region of interest ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "msg, size, fx, centre",
    [
        (info(), (640, 360), F, (CX, CY)),
        (info(binning_x=1, binning_y=1), (640, 360), F, (CX, CY)),
        (info(binning_x=2, binning_y=2), (320, 180), F / 2, (159.5, 89.5)),
        (info(binning_x=4, binning_y=4), (160, 90), F / 4, (79.5, 44.5)),
        (part(100, 50, 320, 200), (320, 200), F, (219.5, 129.5)),
        (part(0, 0, 640, 360), (640, 360), F, (CX, CY)),
        (part(160, 90, 320, 180, binning_x=2, binning_y=2), (160, 90), F / 2, (79.5, 44.5)),
        (part(400, 200, 200, 100), (200, 100), F, (-80.5, -20.5)),
    ],
)
def test_binning_and_region_scale_and_shift_the_camera(msg, size, fx, centre):
    camera = camera_from(msg)
    assert (camera.width, camera.height) == size and camera.fx == camera.fy == fx
    assert (camera.cx, camera.cy) == pytest.approx(centre)


@pytest.mark.parametrize("roi", [(600, 0, 100, 100), (0, 300, 100, 100), (5, 0, 0, 0), (0, 0, 100, 0), (700, 0, 1, 1)])
def test_a_region_outside_the_image_is_refused(roi):
    with pytest.raises(InputError, match="camera_info.roi: .*must be a part of the 640x360 pixels"):
        camera_from(part(*roi))


def test_binned_images_become_plain_ones():
    rgb = image_to(np.zeros((180, 320, 3), np.uint8), "rgb8", "cam", STAMP)
    depth = image_to(np.ones((180, 320), np.float32), "32FC1", "cam", STAMP)
    same_rgb, _, new = conforming(rgb, depth, info(binning_x=2, binning_y=2), "/camera/image")
    assert same_rgb is rgb and (new.width, new.height, new.binning_x) == (320, 180, 0)
    assert camera_from(new).cx == pytest.approx(159.5)
    plain = info()
    assert conforming(rgb, depth, plain, "/camera/image")[2] is plain
    with pytest.raises(InputError, match="rgb: 320x180 pixels, must be 160x90 as in camera_info"):
        conforming(rgb, depth, info(binning_x=4, binning_y=4), "/camera/image")


# -- raw and rectified -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "msg, topic, raw",
    [
        (info(), "/camera/color/image_raw", False),
        (info([0.0] * 5), "/camera/color/image_raw", False),
        (info(BARREL), "", True),
        (info(BARREL, p=(F, F, CX, CY)), "", True),
        (info(BARREL, p=(F, F, CX, CY)), "/camera/color/image_raw", True),
        (info(BARREL, p=(240, 240, 318, 178)), "", False),
        (info(BARREL, p=(240, 240, 318, 178)), "/camera/color/image_raw", True),
        (info(BARREL), "/zed/zed_node/rgb/color/rect/image", False),
        (info(BARREL), "/zed/zed_node/rgb/image_rect_color", False),
        (info([1e-12] * 5), "", False),
    ],
)
def test_the_topic_and_the_matrices_say_what_is_raw(msg, topic, raw):
    assert intrinsics.is_raw(msg, topic) == raw


def test_of_a_raw_image_k_counts_and_of_a_rectified_one_p():
    msg = info(BARREL, p=(240, 240, 318, 178))
    assert camera_from(msg, topic="/camera/image_rect").fx == 240
    assert camera_from(msg, topic="/camera/image_raw").fx == F


def scene(d, model):
    """A raw image of a grid of dots and of depth 1 m on its left half, 2 m on its right, and the dots' true pixels."""
    cv2 = pytest.importorskip("cv2")
    K, D = np.array([[F, 0, CX], [0, F, CY], [0, 0, 1]]), np.array(d)
    true = np.array([(u, v) for u in range(60, 600, 60) for v in range(40, 340, 40)], float)
    rays = np.column_stack([(true[:, 0] - CX) / F, (true[:, 1] - CY) / F, np.ones(len(true))])
    if model == "equidistant":
        seen = cv2.fisheye.projectPoints(rays[:, None], np.zeros(3), np.zeros(3), K, D)[0][:, 0]
    else:
        seen = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), K, D)[0][:, 0]
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    for a, b in seen:
        rgb[..., 1] = np.maximum(rgb[..., 1], 255 * np.exp(-((u - a) ** 2 + (v - b) ** 2) / 4.0))
    depth = np.where(np.arange(WIDTH) < CX, 1.0, 2.0).astype(np.float32)[None].repeat(HEIGHT, 0)
    return rgb, depth, true, seen


@pytest.mark.parametrize(
    "model, d",
    [
        ("plumb_bob", BARREL),
        ("plumb_bob", BARREL[:4]),
        ("rational_polynomial", [0.1, -0.05, 0.0, 0.0, 0.01, 0.2, -0.02, 0.01]),
        ("equidistant", [-0.02, 0.004, -0.001, 0.0]),
    ],
)
def test_a_raw_image_is_rectified_with_its_depth(model, d):
    rgb, depth, true, seen = scene(d, model)
    if model == "plumb_bob":
        assert np.linalg.norm(true - seen, axis=1).max() > 6.0, "pixels; as if rectified they were wrong by as much"
    messages = image_to(rgb, "rgb8", "cam", STAMP), image_to(depth, "32FC1", "cam", STAMP)
    camera, image, z = rectified_from(*messages, info(d, model), "/camera/color/image_raw")
    assert (camera.fx, camera.cx) == (F, CX)
    v, u = np.mgrid[-4:5, -4:5]
    for a, b in true.astype(int):
        near = image[b - 4 : b + 5, a - 4 : a + 5, 1].astype(float)
        at = [(near * grid).sum() / near.sum() for grid in (u, v)]
        assert np.abs(at).max() < 0.3, f"dot at {(a, b)} is off by {at}"
    assert set(np.unique(z[np.isfinite(z)])) == {1.0, 2.0}, "no depth between two surfaces"
    observation = observation_from(*messages, info(d, model), np.eye(4), 0.0, topic="/camera/color/image_raw")
    assert np.array_equal(observation.rgb, image)
    new_rgb, new_depth, new = conforming(*messages, info(d, model), "/camera/color/image_raw")
    assert np.array_equal(rgb_from(new_rgb), image) and np.array_equal(depth_from(new_depth), z, equal_nan=True)
    assert not any(new.d) and camera_from(new, topic="/camera/color/image_raw").fx == F


@pytest.mark.parametrize(
    "model, d, words",
    [
        ("", BARREL, "distortion_model: '', must be one of plumb_bob"),
        ("inverse_brown_conrady", BARREL, "'inverse_brown_conrady'.*image_proc"),
        ("thin_prism_fisheye", BARREL, "'thin_prism_fisheye'"),
        ("plumb_bob", [0.1], "d: 1 coefficients of plumb_bob, must be 4 or 5"),
        ("equidistant", BARREL, "d: 5 coefficients of equidistant, must be 4"),
        ("rational_polynomial", BARREL, "must be 8 or 12 or 14"),
    ],
)
def test_a_distortion_that_is_not_known_is_refused(model, d, words):
    with pytest.raises(InputError, match=f"camera_info.*{words}"):
        camera_from(info(d, model), topic="/camera/image_raw")
    assert camera_from(info(d, model), topic="/camera/image_rect").fx == F


def test_without_opencv_a_raw_image_is_refused(monkeypatch):
    monkeypatch.setattr(intrinsics, "opencv", lambda: None)
    with pytest.raises(InputError, match=r"needs OpenCV: pip install 'uma\[perception\]'; or publish a rectified"):
        camera_from(info(BARREL), topic="/camera/image_raw")
    assert camera_from(info(), topic="/camera/image_raw").fx == F


# -- depth -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values, encoding, words",
    [
        (
            np.full((9, 9), 500.0, np.float32),
            "32FC1",
            "depth: median 500 m, must be at most 20 m; is it in millimetres",
        ),
        (np.full((9, 9), 21.0, np.float32), "32FC1", "median 21 m"),
        (np.full((9, 9), 40000, np.uint16), "16UC1", "median 40 m"),
    ],
)
def test_depth_of_another_unit_is_refused(values, encoding, words):
    with pytest.raises(InputError, match=words):
        depth_from(image_to(values, encoding, "cam", STAMP))


@pytest.mark.parametrize(
    "values, encoding, expected",
    [
        (np.array([[500, 65535, 0, 65534]], np.uint16), "16UC1", [[0.5, np.nan, np.nan, 65.534]]),
        (np.array([[0.5, 65.535, np.nan]], np.float32), "32FC1", [[0.5, 65.535, np.nan]]),
        (np.array([[19.0, np.inf, -np.inf]], np.float32), "32FC1", [[19.0, np.nan, np.nan]]),
        (np.full((2, 2), np.nan, np.float32), "32FC1", np.full((2, 2), np.nan)),
        (np.full((2, 2), 65535, np.uint16), "mono16", np.full((2, 2), np.nan)),
    ],
)
def test_invalid_depth_is_nan(values, encoding, expected):
    got = depth_from(image_to(values, encoding, "cam", STAMP))
    assert got.dtype == np.float32 and np.allclose(got, expected, equal_nan=True)


@pytest.mark.parametrize("name", ["a.npy", "a.png"])
def test_depth_of_files_has_the_same_limits(tmp_path, name):
    from PIL import Image

    from uma_ros.drivers.camera.folder import read_depth

    def write(values):
        if name == "a.npy":
            np.save(tmp_path / name, values.astype(np.float32))
        else:
            Image.fromarray((values * 1000 if values.max() < 100 else values).astype(np.uint16)).save(tmp_path / name)
        return read_depth(tmp_path / name)

    assert np.allclose(write(np.full((9, 9), 0.5)), 0.5)
    if name == "a.png":
        assert np.isnan(write(np.full((9, 9), 65535.0))).all()
    with pytest.raises(InputError, match="median .*millimetres"):
        write(np.full((9, 9), 30000.0))
