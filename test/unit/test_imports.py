"""Who may import whom, and how light `import uma` is."""

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = {
    "uma": {"uma"},
    "uma_sim": {"uma", "uma_sim"},
    "uma_train": {"uma", "uma_sim", "uma_train"},
    "uma_ros": {"uma", "uma_sim", "uma_ros"},
}
ONLY_IN = {"rclpy": "uma_ros", "mujoco": "uma_sim"}
ROS = {
    "rclpy",
    "std_msgs",
    "sensor_msgs",
    "geometry_msgs",
    "tf2_msgs",
    "control_msgs",
    "std_srvs",
    "diagnostic_msgs",
    "visualization_msgs",
    "rosgraph_msgs",
    "franka_msgs",
    "controller_manager_msgs",
}
HEAVY = {"cv2", "transformers", "open3d", "pyzed", "pylibfranka", "pymodbus", "serial", "viser"}
FILES = sorted(path for package in ALLOWED for path in (ROOT / package).rglob("*.py"))


def imports(path: Path):
    """(line, module, is at the top level of the module)."""
    tree = ast.parse(path.read_text())
    top = set(map(id, tree.body))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name, id(node) in top
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.lineno, node.module, id(node) in top


def test_there_is_something_to_check():
    assert len(FILES) > 20


@pytest.mark.parametrize("package", ALLOWED)
def test_the_direction_of_imports(package):
    wrong = []
    for path in FILES:
        if path.relative_to(ROOT).parts[0] != package:
            continue
        for line, module, at_top in imports(path):
            head = module.split(".")[0]
            where = f"{path.relative_to(ROOT)}:{line} imports {module}"
            if head in ALLOWED and head not in ALLOWED[package]:
                wrong.append(f"{where}: {package} may import {', '.join(sorted(ALLOWED[package]))}")
            if head in ONLY_IN and package != ONLY_IN[head]:
                wrong.append(f"{where}: belongs in {ONLY_IN[head]} alone")
            if head in ROS and package != "uma_ros":
                wrong.append(f"{where}: ROS belongs in uma_ros alone")
            if head in HEAVY and at_top:
                wrong.append(f"{where}: heavy, to be imported inside the function that needs it")
            if package == "uma_ros" and head == "uma_sim" and path.name != "station.py":
                wrong.append(f"{where}: only the simulated station's node may")
    assert not wrong, "\n".join(wrong)


def test_models_holds_no_python():
    assert not list((ROOT / "models").rglob("*.py"))


def test_import_uma_is_light():
    code = (
        "import sys, time; t = time.process_time(); import uma, uma.types; print(time.process_time() - t); "
        "assert 'torch' not in sys.modules and 'scipy' not in sys.modules"
    )
    began = time.monotonic()
    # numpy is loaded first: what is measured is our own share, in processor time: the machine may be busy with other
    # things.
    times = [
        float(
            subprocess.run(
                [sys.executable, "-c", "import numpy; " + code], capture_output=True, text=True, check=True
            ).stdout
        )
        for _ in range(3)
    ]
    assert min(times) < 0.05, f"{times} s (measured over {time.monotonic() - began:.1f} s)"


def test_command_table_names_functions_and_loads_nothing():
    code = (
        "import sys; from uma.cli import COMMANDS, main; assert main(['--help']) == 0; assert not {'torch', "
        "'rclpy', 'mujoco', 'uma_train', 'uma_ros'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    from uma.cli import COMMANDS, INSPECTED

    for name, (target, text) in [*COMMANDS.items(), *INSPECTED.items()]:
        module, _, function = target.partition(":")
        path = ROOT / (module.replace(".", "/") + ".py")
        names = {n.name for n in ast.parse(path.read_text()).body if isinstance(n, ast.FunctionDef)}
        assert function in names and text, f"{name}: {target}"
