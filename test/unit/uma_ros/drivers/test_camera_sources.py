"""Sources of frames: the ZED through a stand-in for its SDK, a folder, and the session that opens, reopens and
counts."""

import sys
import tracemalloc
import zlib

import fake_sl
import numpy as np
import pytest
import yaml
from PIL import Image

from uma.types import InputError
from uma_ros.drivers.camera import zed
from uma_ros.drivers.camera.folder import FolderSettings, FolderSource, read_depth, read_image
from uma_ros.drivers.camera.source import FrameSession
from uma_ros.drivers.camera.zed import ZedSettings, ZedSource
from uma_ros.drivers.device import DeviceError, MissingPackage


@pytest.fixture
def bus(monkeypatch):
    monkeypatch.setattr(fake_sl, "BUS", fake_sl.Bus())
    return fake_sl.BUS


def zed_session(**settings) -> FrameSession:
    return FrameSession(ZedSource(ZedSettings(**settings), 15.0, fake_sl), 15.0)


# -- the ZED -----------------------------------------------------------------------------------------------------------


def test_frames_have_metres_nan_intrinsics_and_stamp(bus):
    session = zed_session(width=320, height=180)
    a, b = session.cycle(0.0), session.cycle(0.1)
    assert a.image.shape == (180, 320, 3) and a.encoding == "bgr8" and a.depth.dtype == np.float32
    assert (a.image[7, 9] == (0, 9, 7)).all() and (b.image[7, 9] == (1, 9, 7)).all(), (
        "the first frame is not overwritten by the second"
    )
    assert a.depth[5, 5] == 1.0 and b.depth[5, 5] == np.float32(1.01), (
        "metres, though the SDK's own unit is the millimetre"
    )
    assert np.isnan(a.depth[0, :3]).all() and np.isfinite(a.depth[1:]).all(), "NaN and both infinities are invalid"
    assert (a.camera.width, a.camera.fx, a.camera.cx) == (
        320,
        132.5,
        160.0,
    ) and a.camera.frame == "zed_left_camera_frame_optical"
    assert b.stamp_ns == bus.last_stamp and b.stamp_ns - a.stamp_ns == 66_666_667
    assert "31415926" in session.description and "320x180" in session.description


def test_the_settings_reach_the_sdk(bus):
    bus.serials = [1, 22]
    session = zed_session(
        serial=22,
        resolution="VGA",
        depth_mode="NEURAL_PLUS",
        confidence=60,
        min_depth=0.3,
        max_depth=1.5,
        width=0,
        height=0,
    )
    frame = session.cycle(0.0)
    init = bus.opened[0]
    assert (
        init.serial == 22
        and init.camera_resolution is fake_sl.RESOLUTION.VGA
        and init.depth_mode is fake_sl.DEPTH_MODE.NEURAL_PLUS
    )
    assert (init.depth_minimum_distance, init.depth_maximum_distance, init.camera_fps) == (
        0.3,
        1.5,
        15,
    ) and init.camera_image_flip is fake_sl.FLIP_MODE.OFF
    assert frame.image.shape == (376, 672, 3) and session.source._runtime.confidence_threshold == 60


def test_missing_camera_is_retried_with_backoff(bus):
    bus.serials = []
    session = zed_session(serial=22)
    assert (
        session.cycle(0.0) is None
        and "ZED 22: CAMERA_NOT_DETECTED" in session.trouble
        and "cameras: none" in session.trouble
    )
    bus.serials = [22]
    assert session.cycle(0.4) is None, "too early"
    assert session.cycle(0.6) is not None and not session.trouble


def test_a_camera_that_goes_away_is_closed_reopened_and_counted(bus):
    session = zed_session()
    session.cycle(0.0)
    bus.grabs = ["CAMERA_NOT_DETECTED"]
    assert session.cycle(0.1) is None and bus.num_open == 0 and session.counts["links_lost"] == 1
    assert session.cycle(1.0) is not None and bus.num_open == 1 and len(bus.opened) == 2
    bus.grabs = ["CAMERA_REBOOTING"]
    assert session.cycle(1.1) is None and session.counts["links_lost"] == 2, (
        "a warning for the SDK, but there is no frame"
    )


def test_damaged_frames_are_dropped_and_many_reopen_the_camera(bus):
    session = zed_session()
    session.cycle(0.0)
    bus.grabs = ["CORRUPTED_FRAME", "SUCCESS"]
    assert session.cycle(0.1) is None and "damaged" in session.trouble
    assert session.cycle(0.2) is not None and session.counts["corrupt"] == 1 and not session.trouble
    bus.grabs = ["CORRUPTED_FRAME"] * 30
    for i in range(30):
        assert session.cycle(0.3 + i * 0.1) is None
    assert session.counts["corrupt"] == 31 and session.counts["links_lost"] == 1 and not session.is_open


def test_warnings_that_leave_the_frame_good_pass(bus):
    session = zed_session()
    bus.grabs = ["POTENTIAL_CALIBRATION_ISSUE"]
    assert session.cycle(0.0) is not None


def test_stamp_gaps_count_as_drops_and_repeats_as_no_frame(bus):
    session = zed_session()
    t = 1_700_000_000_000_000_000
    bus.stamps = [t, t + 66_000_000, t + 270_000_000, t + 270_000_000, t + 336_000_000]
    assert [session.cycle(0.1 * i) is not None for i in range(5)] == [True, True, True, False, True]
    assert dict(session.counts) == {"good": 4, "dropped": 2, "corrupt": 0, "repeated": 1, "links_lost": 0}


def test_recording_is_stamped_now_and_ends_or_loops(bus, tmp_path):
    (tmp_path / "a.svo").write_bytes(b"SVO")
    session = zed_session(svo=str(tmp_path / "a.svo"))
    frames = [session.cycle(0.1 * i) for i in range(4)]
    assert (
        [f is not None for f in frames] == [True, True, True, False]
        and session.is_over
        and "ended" in session.trouble
        and bus.num_open == 0
    )
    assert frames[0].stamp_ns is None and session.source.period == pytest.approx(1 / 15)
    looped = zed_session(svo=str(tmp_path / "a.svo"), svo_loop=True)
    assert all(looped.cycle(0.1 * i) is not None for i in range(8))


def test_a_recording_that_is_none_is_refused_for_good(bus, tmp_path):
    with pytest.raises(DeviceError, match="no such file"):
        ZedSource(ZedSettings(svo=str(tmp_path / "none.svo")), 15.0, fake_sl)
    (tmp_path / "bad.svo").write_bytes(b"MP4")
    with pytest.raises(DeviceError, match="INVALID_SVO_FILE"):
        zed_session(svo=str(tmp_path / "bad.svo")).cycle(0.0)


def test_missing_sdk_names_its_source(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyzed", None)
    with pytest.raises(MissingPackage, match="pyzed is missing: install the ZED SDK.*get_python_api.py.*not on PyPI"):
        zed.load_sdk()


def test_the_unrelated_package_of_the_same_name_is_recognised(monkeypatch, tmp_path):
    (tmp_path / "pyzed.py").write_text("class Client: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pyzed", raising=False)
    with pytest.raises(MissingPackage, match="unrelated package from PyPI.*pip uninstall pyzed.*get_python_api.py"):
        zed.load_sdk()
    monkeypatch.delitem(sys.modules, "pyzed", raising=False)


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"confidence": 0}, "confidence: 0"),
        ({"width": 640, "height": 0}, "both or neither"),
        ({"min_depth": 2.0, "max_depth": 1.0}, "must be below max_depth 1.0"),
        ({"depth_mode": "BEST"}, "NEURAL_LIGHT"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(settings, words):
    with pytest.raises(InputError, match=words):
        ZedSettings(**settings)


# -- a folder ----------------------------------------------------------------------------------------------------------

CAMERA = {"width": 8, "height": 6, "fx": 7.0, "fy": 7.0, "cx": 3.5, "cy": 2.5}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "camera.yaml").write_text(yaml.safe_dump(CAMERA))
    for i in range(3):
        Image.fromarray(np.full((6, 8, 3), i, np.uint8)).save(tmp_path / f"{i}.png")
        if i < 2:
            Image.fromarray(np.array([[0, 1500] * 4] * 6, np.uint16)).save(tmp_path / f"{i}.depth.png")
        else:
            np.save(tmp_path / f"{i}.depth.npy", np.array([[np.inf, 1.5] * 4] * 6, np.float32))
    return tmp_path


def test_folder_plays_in_order_in_metres_and_ends_or_loops(folder):
    session = FrameSession(FolderSource(FolderSettings(str(folder), loop=False), 10.0), 10.0)
    frames = [session.cycle(0.1 * i) for i in range(4)]
    assert [f.image[0, 0, 0] for f in frames[:3]] == [0, 1, 2] and frames[3] is None and session.is_over
    for f in frames[:3]:
        assert (
            np.isnan(f.depth[:, 0]).all()
            and np.allclose(f.depth[:, 1], 1.5, atol=1e-6)
            and f.stamp_ns is None
            and f.encoding == "rgb8"
        )
    assert session.source.period == 0.1 and "3 frames of 8x6" in session.description
    looped = FrameSession(FolderSource(FolderSettings(str(folder)), 10.0), 10.0)
    assert [looped.cycle(0.1 * i).image[0, 0, 0] for i in range(5)] == [0, 1, 2, 0, 1]


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("camera.yaml", b"width: 8", "height"),
        ("camera.yaml", b"{width: 8, height: 6, fx: 7, fy: 7, cx: 3, cy: 2, k1: 0.1}", "must contain only"),
        ("camera.yaml", b"{width: 8, height: 6, fx: -7, fy: 7, cx: 3, cy: 2}", "fx"),
        ("camera.yaml", b"{width: 80000, height: 6, fx: 7, fy: 7, cx: 3, cy: 2}", "80000"),
        ("camera.yaml", b"{width: [8], height: 6, fx: 7, fy: 7, cx: 3, cy: 2}", "numbers"),
        ("camera.yaml", b"\x00\xff", "camera.yaml"),
        ("0.png", b"no picture", "0.png"),
        ("0.depth.png", b"", "0.depth.png"),
    ],
)
def test_a_bad_folder_is_refused_by_file(folder, name, content, words):
    (folder / name).write_bytes(content)
    with pytest.raises((DeviceError, InputError), match=words):
        FrameSession(FolderSource(FolderSettings(str(folder)), 10.0), 10.0).cycle(0.0)


def test_folder_without_frames_names_the_expected_files(tmp_path):
    (tmp_path / "camera.yaml").write_text(yaml.safe_dump(CAMERA))
    with pytest.raises(DeviceError, match="no NAME.png with"):
        FolderSource(FolderSettings(str(tmp_path)), 10.0).open()


def test_frames_of_another_size_than_the_cameras_are_refused(folder):
    Image.fromarray(np.zeros((6, 9, 3), np.uint8)).save(folder / "0.png")
    with pytest.raises(DeviceError, match=r"0.png: image: uint8 \(6, 9, 3\), must be uint8 \(6, 8, 3\)"):
        FrameSession(FolderSource(FolderSettings(str(folder)), 10.0), 10.0).cycle(0.0)


def test_heads_that_promise_huge_arrays_allocate_nothing(tmp_path):
    """A file of a few bytes with a header for four terabytes."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (999999, 999999), }"
    header += b" " * (118 - len(header) - 1) + b"\n"
    (tmp_path / "b.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\x00" * 16)
    with pytest.raises(InputError, match="b.npy"):
        read_depth(tmp_path / "b.npy")
    np.save(tmp_path / "c.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="c.npy"):
        read_depth(tmp_path / "c.npy")
    Image.new("1", (5000, 2)).save(tmp_path / "wide.png")
    with pytest.raises(InputError, match="5000x2 pixels"):
        read_image(tmp_path / "wide.png")


def test_lying_picture_header_allocates_nothing(tmp_path):
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[16:24] = (4000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(InputError, match="a.png: ValueError: 4000x4000 pixels in the header, more than"):
        read_image(tmp_path / "a.png")


def test_lying_picture_chunk_allocates_nothing(tmp_path):
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    at = data.index(b"IDAT")
    data[at - 4 : at] = (2**30).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(data)
    tracemalloc.start()
    try:
        try:
            read_image(tmp_path / "a.png")
        except InputError:
            pass
        assert tracemalloc.get_traced_memory()[1] < 20 * 2**20
    finally:
        tracemalloc.stop()
