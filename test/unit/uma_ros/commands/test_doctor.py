"""`uma doctor` on machines of folders, variables and modules that a test makes."""

import os
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest

from uma_ros.calibration.entries import Calibration
from uma_ros.calibration.files import save_calibration
from uma_ros.commands import doctor
from uma_ros.commands.doctor import (
    Machine,
    calibration,
    discovery,
    gpu,
    main,
    packages,
    real_time,
    ros,
    serial,
    vendors,
)
from uma_sim.scene import CAMERA_POSITION, CAMERA_TARGET, look_at


def loader(**modules):
    """Return a loader of given modules; an exception is raised, and others are missing."""

    def load(name: str):
        found = modules.get(name.replace(".", "_"), ModuleNotFoundError(f"No module named {name!r}"))
        if isinstance(found, Exception):
            raise found
        return found

    return load


def only(found):
    (one,) = found
    return one


@pytest.mark.parametrize(
    ("span", "level", "words"),
    [
        ("", "ok", "this host"),
        ("SUBNET", "ok", "the local network"),
        ("OFF", "lack", "nobody"),
        ("subnet", "lack", "'subnet'"),
    ],
)
def test_discovery_is_told_in_words(span, level, words):
    found = only(discovery(Machine(environment={"ROS_AUTOMATIC_DISCOVERY_RANGE": span, "ROS_DOMAIN_ID": "7"})))
    assert found.level == level and words in found.text and "domain 7" in found.text


def test_a_missing_interface_is_built():
    rows = list(ros(Machine(load=loader(rclpy=object()), environment={"ROS_DISTRO": "jazzy"})))
    assert [(r.level, r.name) for r in rows] == [("ok", "ROS 2"), ("lack", "interfaces")]
    assert "colcon build" in rows[1].remedy and rows[0].text == "jazzy"
    assert only(ros(Machine(load=loader()))).remedy.startswith("source /opt/ros")


def test_a_scipy_of_another_numpy_is_named():
    broken = loader(numpy=1, torch=1, cv2=1, scipy_spatial=ImportError("numpy.core.multiarray failed to import"))
    rows = {r.name: r for r in packages(Machine(load=broken))}
    assert rows["scipy"].level == "lack" and "built for another NumPy" in rows["scipy"].text
    assert rows["numpy"].level == rows["opencv"].level == "ok"


@pytest.mark.parametrize(("is_hardware", "level"), [(False, "note"), (True, "lack")])
def test_vendors_are_needed_on_hardware_alone(is_hardware, level):
    rows = list(vendors(Machine(load=loader(pymodbus=1), is_hardware=is_hardware)))
    assert [r.level for r in rows] == [level, level, "ok"] and all(r.remedy for r in rows[:2])


def test_a_gpu_that_torch_cannot_use_is_a_lack(tmp_path):
    torch = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: False))
    assert only(gpu(Machine(load=loader(torch=torch), root=tmp_path))).level == "note"
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/nvidia0").touch()
    assert only(gpu(Machine(load=loader(torch=torch), root=tmp_path))).level == "lack"
    torch.cuda = SimpleNamespace(is_available=lambda: True, get_device_name=lambda i: "RTX")
    assert only(gpu(Machine(load=loader(torch=torch), root=tmp_path))).text == "RTX"


def test_a_serial_port_needs_permission(tmp_path, monkeypatch):
    assert "ttyUSB" in only(serial(Machine(root=tmp_path))).text
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/ttyUSB0").touch()
    assert only(serial(Machine(root=tmp_path))).level == "ok"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    found = only(serial(Machine(root=tmp_path, is_hardware=True)))
    assert found.level == "lack" and "dialout" in found.remedy


def test_a_kernel_without_real_time_is_told(tmp_path):
    assert next(real_time(Machine(root=tmp_path))).level == "note"
    (tmp_path / "sys/kernel").mkdir(parents=True)
    (tmp_path / "sys/kernel/realtime").write_text("1\n")
    assert next(real_time(Machine(root=tmp_path, is_hardware=True))).level == "ok"


@pytest.mark.parametrize(("days", "level"), [(2, "ok"), (45, "note")])
def test_an_old_calibration_is_doubted(tmp_path, days, level):
    made = datetime(2026, 11, 1, tzinfo=UTC)
    T = look_at(CAMERA_POSITION, CAMERA_TARGET)
    save_calibration(Calibration("zed_left_camera_frame_optical", "fr3_link0", T, date=made), tmp_path / "c.yaml")
    found = only(calibration(Machine(calibration=str(tmp_path / "c.yaml"), now=made + timedelta(days=days))))
    assert found.level == level and f"{days} days old" in found.text


def test_an_unreadable_calibration_is_a_lack(tmp_path):
    (tmp_path / "c.yaml").write_text("[]")
    found = only(calibration(Machine(calibration=str(tmp_path / "c.yaml"))))
    assert found.level == "lack" and "must be a mapping" in found.text and "uma calibrate" in found.remedy


def test_the_exit_code_tells_whether_something_lacks(monkeypatch, capsys):
    assert main([]) == 0 and "nothing is lacking for the simulation" in capsys.readouterr().out
    monkeypatch.setattr(doctor, "CHECKS", (lambda m: iter([doctor.Finding("lack", "arm", "no [arm]", "buy one")]),))
    assert main([]) == 1
    shown = capsys.readouterr().out
    assert "lacks  arm: no [arm]" in shown and "buy one" in shown and "1 lacking" in shown
