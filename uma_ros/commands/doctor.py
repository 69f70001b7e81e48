"""`uma doctor`: what this machine has and lacks, each lack with the line that mends it."""

from __future__ import annotations

import argparse
import importlib
import os
import resource
import shutil
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from uma.types import InputError
from uma_ros.deployment.discovery import HOSTS, RANGE, discovery_range

OLD_DAYS = 30
"""Age of a calibration from which it is doubted, days."""

FREE_GB = 10.0
"""Least free space for recordings; a minute of the whole graph takes about 1 GB uncompressed."""

MARKS = {"ok": ("green", "ok"), "note": ("yellow", "note"), "lack": ("red", "lacks")}
"""Level -> colour and word of its mark. A note is a lack that some uses of the software do not mind."""


@dataclass(frozen=True)
class Finding:
    """One line of the report; ``remedy`` is empty if there is nothing to mend."""

    level: str
    name: str
    text: str
    remedy: str = ""


@dataclass
class Machine:
    """What the checks look at.

    Attributes:
        root: folder of ``/dev``, ``/sys``, ``/proc`` and ``/etc``.
        environment: environment variables.
        load: name -> module; raises ImportError.
        is_hardware: the robot is driven from here, so its needs are no notes.
        calibration, camera: file and key of the camera's calibration.
        now: the time.
    """

    root: Path = Path("/")
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    load: Callable[[str], Any] = importlib.import_module
    is_hardware: bool = False
    calibration: str = ""
    camera: str = ""
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    def import_error(self, name: str) -> str:
        """Return why a module cannot be imported; empty if it can."""
        try:
            self.load(name)
        except Exception as error:  # a broken library raises anything at its import
            return f"{type(error).__name__}: {error}".splitlines()[0]
        return ""

    def needed(self, name: str, text: str, remedy: str) -> Finding:
        """Return a lack on hardware, and a note elsewhere."""
        return Finding("lack" if self.is_hardware else "note", name, text, remedy)


def python(m: Machine) -> Iterator[Finding]:
    """Python's version, and whether packages can be installed into it."""
    number = ".".join(str(v) for v in sys.version_info[:3])
    if not (3, 11) <= sys.version_info[:2] <= (3, 12):
        yield Finding("lack", "Python", f"{number}, must be 3.11 or 3.12", "use the distribution's python3.12")
    elif sys.prefix == sys.base_prefix and (Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED").exists():
        yield Finding(
            "lack",
            "Python",
            f"{number}, the system's own: pip refuses to install into it",
            "python3 -m venv --system-site-packages ~/uma && . ~/uma/bin/activate",
        )
    else:
        yield Finding("ok", "Python", f"{number} in {sys.prefix}")


def packages(m: Machine) -> Iterator[Finding]:
    """Python packages that every use needs."""
    for name, module in (("numpy", "numpy"), ("scipy", "scipy.spatial"), ("torch", "torch"), ("opencv", "cv2")):
        if why := m.import_error(module):
            remedy = "tools/install_robot.sh on a robot PC, `make setup` elsewhere"
            if "numpy" in why and name != "numpy":
                why += " (built for another NumPy than the one in front of it)"
            yield Finding("lack", name, why, remedy)
        else:
            yield Finding("ok", name, _version({"opencv": "opencv-python-headless"}.get(name, name)))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "installed"


def ros(m: Machine) -> Iterator[Finding]:
    """ROS 2 and the interfaces of this package."""
    if why := m.import_error("rclpy"):
        yield Finding(
            "lack", "ROS 2", why, "source /opt/ros/jazzy/setup.bash, or `make setup` without an installed ROS"
        )
        return
    yield Finding("ok", "ROS 2", m.environment.get("ROS_DISTRO", "from Python packages"))
    if why := m.import_error("uma_ros.msg"):
        yield Finding("lack", "interfaces", why, "colcon build --packages-select uma_ros && . install/setup.bash")
    else:
        yield Finding("ok", "interfaces", "uma_ros.msg")


def discovery(m: Machine) -> Iterator[Finding]:
    """Who discovers the nodes."""
    span, domain = discovery_range("", m.environment), m.environment.get("ROS_DOMAIN_ID", "")
    text = f"the nodes are discovered by {HOSTS.get(span, repr(span))}, domain {domain or 0}"
    if span in HOSTS and span != "OFF":
        yield Finding("ok", "discovery", text, f"for a second PC: export {RANGE}=SUBNET" if span == "LOCALHOST" else "")
    else:
        yield Finding("lack", "discovery", text, f"export {RANGE}=LOCALHOST, or SUBNET")


def gpu(m: Machine) -> Iterator[Finding]:
    """The device of the policy."""
    if m.import_error("torch"):
        return
    torch = m.load("torch")
    if torch.cuda.is_available():
        yield Finding("ok", "GPU", torch.cuda.get_device_name(0))
    elif (m.root / "dev/nvidia0").exists():
        yield Finding(
            "lack", "GPU", "a device is there, but torch cannot use it", "pip install torch with CUDA; see nvidia-smi"
        )
    else:
        yield Finding("note", "GPU", "none; small presets run at 15 Hz on two CPU cores")


def vendors(m: Machine) -> Iterator[Finding]:
    """Libraries of camera, arm and gripper; each is needed by one backend alone."""
    for name, module, remedy in (
        ("ZED SDK", "pyzed.sl", "install the ZED SDK, then run its get_python_api.py; or camera source:=topics"),
        ("libfranka", "pylibfranka", "pip install 'pylibfranka>=0.21,<0.22'; or the franka_ros2 driver"),
        ("Modbus", "pymodbus", "pip install 'pymodbus>=3.10,<4' pyserial; or another gripper driver"),
    ):
        why = m.import_error(module)
        yield m.needed(name, why, remedy) if why else Finding("ok", name, "installed")


def serial(m: Machine) -> Iterator[Finding]:
    """The serial port of the gripper."""
    ports = sorted((m.root / "dev").glob("ttyUSB*")) + sorted((m.root / "dev").glob("ttyACM*"))
    if not ports:
        yield m.needed("serial port", "no /dev/ttyUSB* and no /dev/ttyACM*", "plug in the gripper's USB adapter")
    for port in ports:
        if os.access(port, os.R_OK | os.W_OK):
            yield Finding("ok", "serial port", f"/dev/{port.name}")
        else:
            yield m.needed(
                "serial port", f"/dev/{port.name}: no permission", 'sudo usermod -aG dialout "$USER", then log in again'
            )


def real_time(m: Machine) -> Iterator[Finding]:
    """What a 1 kHz loop needs."""
    switch = m.root / "sys/kernel/realtime"
    if switch.is_file() and switch.read_text().strip() == "1":
        yield Finding("ok", "real-time kernel", "PREEMPT_RT")
    else:
        remedy = "sudo pro enable realtime-kernel; or `variant: async` of the node franka, which needs none"
        yield m.needed("real-time kernel", "no PREEMPT_RT", remedy)
    most = resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
    if most in (-1, resource.RLIM_INFINITY) or most >= 80:
        yield Finding("ok", "real-time priority", "permitted")
    else:
        remedy = 'echo "$USER - rtprio 99" | sudo tee -a /etc/security/limits.conf, then log in again'
        yield m.needed("real-time priority", f"up to {most}, must be 80 or more", remedy)


def calibration(m: Machine) -> Iterator[Finding]:
    """The camera's calibration and its age."""
    remedy = "uma calibrate --help; then calibration:=FILE at the start"
    if not m.calibration:
        yield m.needed("calibration", "no file given (--calibration FILE)", remedy)
        return
    from uma_ros.calibration.calibrate import age_days
    from uma_ros.calibration.files import load_calibration
    from uma_ros.calibration.plausible import check_plausible

    try:
        found = check_plausible(load_calibration(m.calibration, m.camera), m.calibration)
    except (InputError, OSError) as error:
        yield Finding("lack", "calibration", str(error), remedy)
        return
    age = age_days(found, m.now)
    if age is None:
        yield Finding("note", "calibration", f"{m.calibration}: without a date", remedy)
    elif age > OLD_DAYS:
        yield Finding("note", "calibration", f"{m.calibration}: {age:.0f} days old, doubted from {OLD_DAYS}", remedy)
    else:
        yield Finding("ok", "calibration", f"{m.calibration}: {age:.0f} days old")


def space(m: Machine) -> Iterator[Finding]:
    """Free space where recordings go."""
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    text = f"{free:.0f} GB free here"
    if free < FREE_GB:
        yield Finding("note", "disk", f"{text}, at least {FREE_GB:g} for recordings", "choose record:=FOLDER elsewhere")
    else:
        yield Finding("ok", "disk", text)


CHECKS: tuple[Callable[[Machine], Iterator[Finding]], ...] = (
    python,
    packages,
    ros,
    discovery,
    gpu,
    vendors,
    serial,
    real_time,
    calibration,
    space,
)


def examine(machine: Machine) -> list[Finding]:
    """Return the findings of every check."""
    return [finding for check in CHECKS for finding in check(machine)]


def show(findings: list[Finding], console: Console) -> None:
    """Print one line per finding, and its remedy below."""
    for f in findings:
        colour, word = MARKS[f.level]
        console.print(
            f"[{colour}]{word:>7}[/]  ", escape(f"{f.name}: {f.text}"), sep="", highlight=False, soft_wrap=True
        )
        if f.remedy:
            console.print(f"           {f.remedy}", style="dim", highlight=False, markup=False, soft_wrap=True)


def main(argv: list[str]) -> int:
    """``uma doctor``; the exit code is 1 if something is lacking."""
    parser = argparse.ArgumentParser(prog="uma doctor", description=__doc__)
    parser.add_argument("--hardware", action="store_true", help="the robot is driven from this machine")
    parser.add_argument("--calibration", default="", help="calibration file of the camera")
    parser.add_argument("--camera", default="", help="the camera's key in a calibration of several cameras")
    args = parser.parse_args(argv)
    findings = examine(Machine(is_hardware=args.hardware, calibration=args.calibration, camera=args.camera))
    show(findings, Console())
    lacking = sum(f.level == "lack" for f in findings)
    print(f"{lacking} lacking" if lacking else "nothing is lacking" + ("" if args.hardware else " for the simulation"))
    return 1 if lacking else 0
