"""Set up the project in .venv: packages from PyPI, compiled ROS 2 interfaces, and an importable source tree.

`make setup` runs it, and so do `make demo` and `make test`. It needs only Python's standard library. A step with
unchanged inputs is skipped, so that a second start takes a second. The full output is in .venv/setup.log.
"""

from __future__ import annotations

import ctypes
import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMPS = VENV / "setup_stamps.json"
LOG = VENV / "setup.log"
VERSIONS = ((3, 12), (3, 11))
INTERFACES = {
    "tf2_msgs": ROOT / "third_party/tf2_msgs",
    "control_msgs": ROOT / "third_party/control_msgs",
    "uma_ros": ROOT,
}
FOREIGN = (
    "PYTHONPATH",
    "PYTHONHOME",
    "AMENT_PREFIX_PATH",
    "CMAKE_PREFIX_PATH",
    "COLCON_PREFIX_PATH",
    "LD_LIBRARY_PATH",
    "ROS_DISTRO",
    "_ROS_WHEELS_BOOTSTRAP_COMPLETE",
)
"""Variables of a sourced ROS 2 workspace or another Python, which would mix its libraries with those in .venv."""


class SetupError(SystemExit):
    """A failed step: prints the problem and its solution, and ends the program with code 1."""

    def __init__(self, message: str) -> None:
        print(f"\nset-up stopped: {message}", file=sys.stderr)
        super().__init__(1)


def clean_environment() -> dict[str, str]:
    return {k: v for k, v in os.environ.items() if k not in FOREIGN}


# -- system requirements --


def find_python() -> str | None:
    """Return a Python 3.11 or 3.12, preferably the running one."""
    candidates = [sys.executable] if sys.version_info[:2] in VERSIONS and sys.prefix == sys.base_prefix else []
    candidates += [f"python{a}.{b}" for a, b in VERSIONS] + ["python3"]
    for candidate in candidates:
        path = shutil.which(candidate)
        if path is None:
            continue
        query = "import sys; print(sys.version_info[0], sys.version_info[1], sys.base_prefix == sys.prefix)"
        answer = subprocess.run(
            [path, "-c", query], capture_output=True, text=True
        ).stdout.split()  # a pyenv shim may exist and fail to run
        if len(answer) == 3 and (int(answer[0]), int(answer[1])) in VERSIONS and answer[2] == "True":
            return path
    return None


def python_has(python: str, code: str) -> bool:
    return subprocess.run([python, "-c", code], capture_output=True).returncode == 0


def has_library(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def missing_packages(python: str | None) -> list[str]:
    """Return the Debian/Ubuntu names of missing system packages."""
    missing = []
    if python is None:
        version = {"jammy": "3.11", "noble": "3.12"}.get(os_release().get("VERSION_CODENAME", ""), "3")
        missing += [f"python{version}", f"python{version}-venv", f"python{version}-dev"]
    else:
        tag = subprocess.run(
            [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True
        ).stdout.strip()
        if not python_has(python, "import venv, ensurepip"):
            missing.append(f"python{tag}-venv")
        if not python_has(
            python, "import os, sysconfig; open(os.path.join(sysconfig.get_path('include'), 'Python.h'))"
        ):
            missing.append(f"python{tag}-dev")
    if shutil.which("g++") is None:
        missing.append("g++")
    if shutil.which("make") is None:
        missing.append("make")
    libraries = {"libegl1": "libEGL.so.1", "libegl-mesa0": "libEGL_mesa.so.0", "libgl1": "libGL.so.1"}
    missing += [package for package, library in libraries.items() if not has_library(library)]
    if not any(
        glob.glob(f"/usr/lib/*/{pattern}")
        for pattern in ("dri/swrast_dri.so", "dri/kms_swrast_dri.so", "libgallium*.so")
    ):
        missing.append("libgl1-mesa-dri")
    return missing


def os_release() -> dict[str, str]:
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError:
        return {}
    return {k: v.strip('"') for k, _, v in (line.partition("=") for line in lines)}


def check_system() -> str:
    """Return the path of a usable Python, after installing missing packages if permitted."""
    python = find_python()
    missing = missing_packages(python)
    if not missing:
        return python
    install = "apt-get install -y --no-install-recommends " + " ".join(missing)
    debian = {"debian", "ubuntu"} & {os_release().get("ID", ""), *os_release().get("ID_LIKE", "").split()}
    if not debian or shutil.which("apt-get") is None:
        raise SetupError(
            f"missing system packages (Debian names): {', '.join(missing)}; install these and run the command again"
        )
    if os.geteuid() == 0:
        prefix = []
    elif shutil.which("sudo") and subprocess.run(["sudo", "-n", "true"], capture_output=True).returncode == 0:
        prefix = ["sudo", "-n"]
    else:
        raise SetupError(
            f"missing system packages: {', '.join(missing)}. Run this, then the command again:\n\n    sudo {install}\n"
        )
    print(f"Missing system packages: {', '.join(missing)}; installing: {' '.join([*prefix, install])}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    update = subprocess.run([*prefix, "apt-get", "update", "-qq"], env=environment)
    if update.returncode or subprocess.run([*prefix, *install.split(), "-qq"], env=environment).returncode:
        raise SetupError(f"the installation failed, see the messages above. Required: sudo {install}")
    python = find_python()
    still = missing_packages(python)
    if still:
        raise SetupError(
            f"still missing after the installation: {', '.join(still)}; Python 3.11 or 3.12 is required "
            f"(found: {python})"
        )
    return python


# -- steps -------------------------------------------------------------------------------------------------------------


def run(command: list[str], what: str, show=None) -> None:
    """Run ``command`` with its output in the log; ``show`` turns an output line into a short progress note."""
    live = sys.stdout.isatty()
    with LOG.open("a") as log:
        log.write(f"\n$ {' '.join(command)}\n")
        log.flush()
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=clean_environment(), cwd=ROOT
        )
        last, tail = 0.0, []
        for line in process.stdout:
            log.write(line)
            tail = [*tail[-14:], line.rstrip()]
            note = show(line) if show else None
            if note and (live or time.monotonic() - last > 10):
                last = time.monotonic()
                print(f"\r\033[K      {note}" if live else f"      {note}", end="" if live else "\n", flush=True)
        if live:
            print("\r\033[K", end="", flush=True)
        if process.wait():
            raise SetupError(f"{what} failed (code {process.returncode}). The end of {LOG}:\n" + "\n".join(tail))


def pip_note(line: str) -> str | None:
    words = line.split()
    if words[:1] in (["Collecting"], ["Downloading"]):
        return f"{words[0].lower()} {words[1].rsplit('/', 1)[-1]}"
    if line.startswith("Installing collected packages"):
        return f"installing {len(words) - 3} packages"
    return None


def install_packages(python: str) -> None:
    pip = [
        python,
        "-m",
        "pip",
        "install",
        "--progress-bar",
        "off",
        "--disable-pip-version-check",
        "-c",
        "tools/constraints.txt",
    ]
    torch = next(
        line.strip()
        for line in (ROOT / "tools/requirements.txt").read_text().splitlines()
        if line.startswith("torch==")
    )
    run([*pip, torch], "installing torch", pip_note)
    run([*pip, "-r", "tools/requirements.txt"], "installing the packages", pip_note)


def patch_wheels(python: str) -> None:
    """Replace the build machine's Python paths in the CMake files of the ROS wheels by those of ``python``."""
    query = "import sysconfig; print(sysconfig.get_path('include')); print(sysconfig.get_path('purelib'))"
    include, site = subprocess.run(
        [python, "-c", query], capture_output=True, text=True, env=clean_environment(), check=True
    ).stdout.split("\n")[:2]
    for path in (VENV / "share").rglob("*.cmake"):
        text = path.read_text()
        new = re.sub(r"/opt/python/cp3\d+-cp3\d+/include/python3\.\d+", include, text)
        new = re.sub(r"/opt/python/cp3\d+-cp3\d+/lib/python3\.\d+/site-packages", site, new)
        if new != text:
            path.write_text(new)


def build_interfaces(name: str, source: Path, python: str) -> None:
    cmake, build = str(VENV / "bin/cmake"), VENV / "build" / name
    shutil.rmtree(build, ignore_errors=True)
    environment = [
        f"{k}={v}" for k, v in {"AMENT_PREFIX_PATH": VENV, "PATH": f"{VENV}/bin:{os.environ['PATH']}"}.items()
    ]
    options = [
        f"-DCMAKE_PREFIX_PATH={VENV}",
        f"-DCMAKE_INSTALL_PREFIX={VENV}",
        f"-DPython3_EXECUTABLE={python}",
        "-DBUILD_TESTING=OFF",
        "-DUMA_INTERFACES_ONLY=ON",
    ]
    run(
        ["env", *environment, cmake, "-S", str(source), "-B", str(build), "-Wno-dev", "--no-warn-unused-cli", *options],
        f"configuring {name}",
    )
    run(
        [
            "env",
            *environment,
            cmake,
            "--build",
            str(build),
            "--target",
            "install",
            "--parallel",
            str(os.cpu_count() or 2),
        ],
        f"building {name}",
    )
    if name == "uma_ros":
        # Without this file, the folder of generated messages extends the package in the source tree, which has the
        # __init__.py.
        for path in VENV.glob("lib/python3*/site-packages/uma_ros/__init__.py"):
            path.unlink()


def install_tree(python: str) -> None:
    """Make the source tree importable and put the command ``uma`` into .venv/bin.

    ``pip install -e`` is not usable. It takes the generated uma_ros.msg for an older version of the package, and its
    import hook follows the folder with those messages.
    """
    site = next(VENV.glob("lib/python3*/site-packages"))
    (site / "uma_source.pth").write_text(f"{ROOT}\n")
    command = VENV / "bin/uma"
    template = (ROOT / "tools/program.py.in").read_text()
    command.write_text(template.replace("@Python3_EXECUTABLE@", str(python)).replace("@module@", "uma.cli"))
    command.chmod(0o755)


def digest(*paths: Path) -> str:
    sha = hashlib.sha256(f"{ROOT} {sys.version_info[:2]}".encode())
    for path in sorted(p for base in paths for p in ([base] if base.is_file() else base.rglob("*")) if p.is_file()):
        sha.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return sha.hexdigest()


def main() -> None:
    began = time.monotonic()
    tools, here = ROOT / "tools", Path(__file__)
    packages = digest(here, tools / "requirements.txt", tools / "constraints.txt")
    interfaces = {
        "tf2_msgs": [INTERFACES["tf2_msgs"]],
        "control_msgs": [INTERFACES["control_msgs"]],
        "uma_ros": [ROOT / "msg", ROOT / "srv", ROOT / "action", ROOT / "CMakeLists.txt"],
    }
    wanted = {"packages": packages, **{name: digest(here, *paths) + packages for name, paths in interfaces.items()}}
    wanted["tree"] = digest(here)
    try:
        done = json.loads(STAMPS.read_text())
    except (OSError, ValueError):
        done = {}
    steps = [name for name in wanted if done.get(name) != wanted[name]]
    if not steps:
        return
    system_python = check_system()
    python = str(VENV / "bin/python")
    if not done and VENV.exists() and not python_has(python, "import pip"):
        shutil.rmtree(VENV)
    if not VENV.exists():
        print("Setting up in .venv: about 2 GB and 2 to 6 minutes; this happens once.", flush=True)
        subprocess.run([system_python, "-m", "venv", str(VENV)], check=True, env=clean_environment())
    labels = {
        "packages": "packages from PyPI (torch, MuJoCo, ROS 2 Jazzy)",
        "tree": "the command uma, with imports from this folder",
    }
    for number, name in enumerate(steps, 1):
        print(
            f"[{number}/{len(steps)}] {labels.get(name, f'interfaces {name}')} ... ({time.monotonic() - began:.0f} s)",
            flush=True,
        )
        if name == "packages":
            install_packages(python)
            patch_wheels(python)
        elif name == "tree":
            install_tree(python)
        else:
            build_interfaces(name, INTERFACES[name], python)
        done[name] = wanted[name]
        STAMPS.write_text(json.dumps(done))
    print(f"Ready after {time.monotonic() - began:.0f} s.", flush=True)


if __name__ == "__main__":
    main()
