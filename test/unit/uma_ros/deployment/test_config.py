"""Configuration, calibration files and the node graph as data."""

import ast
import json
import re
from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from harness import ROOT
from scipy.spatial.transform import Rotation

from uma.geometry.se3 import make_pose
from uma.robot import DROID
from uma.settings import flatten, replaced
from uma.types import InputError
from uma_ros.calibration import files as calibration
from uma_ros.commands.inspect import parameters, show
from uma_ros.commands.reference import load_reference, save_reference
from uma_ros.deployment.graph import DRIVERS, GRAPHS, TASKS, Options, insertion, replay
from uma_ros.deployment.schema import NODES, settings_of
from uma_ros.runtime import textfile
from uma_ros.runtime.names import full_name
from uma_ros.runtime.resources import new_folder
from uma_ros.runtime.robot import (
    FROM_ROBOT,
    choose_robot,
    load_robot,
    recorded_robot,
    robot,
    robot_of,
    robot_values,
    with_frames,
)
from uma_ros.runtime.topics import Topics
from uma_train.execution.streamed import SimulatedController


def test_config_file_mirrors_every_nodes_settings():
    text = (ROOT / "config/parameters.yaml").read_text()
    assert text.strip() == parameters().strip(), "regenerate it with `uma inspect parameters > config/parameters.yaml`"
    data = yaml.safe_load(text)
    assert set(data) == {f"/**/{node}" for node in NODES}
    for node in NODES:
        flat = {k: v for k, (v, _) in flatten(settings_of(node)).items() if not k.startswith("topics.")}
        given = data[f"/**/{node}"]["ros__parameters"]
        got = {f"{k}.{kk}": vv for k, v in given.items() if isinstance(v, dict) for kk, vv in v.items()} | {
            k: v for k, v in given.items() if not isinstance(v, dict)
        }
        assert got == flat


def test_the_robot_s_file_mirrors_its_dataclass():
    text = (ROOT / "config/robot.yaml").read_text()
    assert text.strip() == show("robot").strip(), "regenerate it with `uma inspect robot > config/robot.yaml`"
    assert load_robot(ROOT / "config/robot.yaml") == robot() == DROID
    assert all(rule["description"] for _, rule in flatten(DROID).values())


def test_another_robot_s_file_is_read(tmp_path):
    (tmp_path / "r.yaml").write_text("gripper_joint: finger\nT_flange_ee: {xyz: [0, 0.01, 0.2]}\n")
    found = load_robot(tmp_path / "r.yaml")
    assert found.gripper_joint == "finger" and found.home == DROID.home
    assert found.T_flange_ee.matrix()[:3, 3].tolist() == [0.0, 0.01, 0.2]


@pytest.mark.parametrize("side", ["left", "right"])
def test_two_robots_differ_in_every_name(side):
    found = load_robot(ROOT / f"config/robot_{side}.yaml")
    plain = replace(DROID, frame_prefix=f"{side}_", joint_prefix=f"{side}_")
    assert found == plain.with_prefixes()
    names = {found.base_frame, found.flange_frame, found.ee_frame, found.camera_frame, found.gripper_joint}
    assert len(names) == 5 and all(name.startswith(f"{side}_") for name in (*names, *found.arm_joints))


def test_a_process_has_one_robot(tmp_path):
    try:
        left = choose_robot("config/robot_left.yaml")
        assert robot() == left and with_frames(settings_of("policy")).base_frame == "left_fr3_link0"
        assert recorded_robot(yaml.safe_load(yaml.safe_dump(robot_values()))) == left
        assert recorded_robot(None) == left, "a bag from before the robot was recorded"
        with robot_of(DROID):
            assert robot() == DROID
        assert robot() == left
    finally:
        assert choose_robot("") == DROID
    with pytest.raises(InputError, match=r"^robot: nowhere\.yaml: no such file"):
        choose_robot("nowhere.yaml")
    (tmp_path / "r.yaml").write_text("joint_prefx: left_")
    with pytest.raises(InputError, match=r"^robot .*r\.yaml: joint_prefx: .*did you mean 'joint_prefix'"):
        choose_robot(str(tmp_path / "r.yaml"))
    assert robot() == DROID


@pytest.mark.parametrize("node", ["policy", "controller", "extrinsics", "robot", "franka", "camera"])
def test_an_empty_frame_is_the_robot_s(node):
    frames = {n: key for n, key in FROM_ROBOT.items() if n in flatten(settings_of(node))}
    assert frames
    with robot_of(load_robot(ROOT / "config/robot_left.yaml")):
        filled = flatten(with_frames(settings_of(node)))
        assert {n: filled[n][0] for n in frames} == {n: getattr(robot(), key) for n, key in frames.items()}
    kept = with_frames(replaced(settings_of(node), {next(iter(frames)): "other"}))
    assert flatten(kept)[next(iter(frames))][0] == "other"


@pytest.mark.parametrize(
    "text, words",
    [
        ("[1]", "list, must be a mapping"),
        ("grip: 1", "grip: unknown setting"),
        ("gripper_closed: 0", "gripper_closed: 0, must be 0.01 to 10"),
        ("base_frame: ''", "base_frame: '', must be a name"),
        ("base_frame: 3", "base_frame: 3, must be a str"),
        ("home: [0, 0]", "home: 2 numbers, must be 7"),
        ("home: [0, 0, 0, 0, 0, 2, 0]", "home[3]: 0 rad, must be -3.0421 to -0.1518"),
        ("T_flange_ee: {xyz: [0, 0, 3]}", "T_flange_ee.xyz: 3, must be -1 to 1"),
        ("T_flange_ee: {xyz: [a, 0, 0]}", "T_flange_ee.xyz[0]: 'a', must be a float"),
        ("T_flange_ee: {xyzw: [0, 0, 1, 1]}", "must be a unit quaternion"),
        ("T_flange_ee: 4", "T_flange_ee: unknown setting"),
    ],
)
def test_a_wrong_robot_s_file_is_refused_by_entry(tmp_path, text, words):
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(InputError, match=r"^robot .*r\.yaml: .*" + re.escape(words)):
        load_robot(tmp_path / "r.yaml")


def test_a_directory_without_the_file_has_droid_s_robot(tmp_path, monkeypatch):
    monkeypatch.setattr("uma_ros.runtime.resources.roots", lambda: [tmp_path])
    assert choose_robot("") == DROID
    (tmp_path / "config").mkdir()
    (tmp_path / "config/robot.yaml").write_text("gripper_closed: 0.7")
    assert choose_robot("").gripper_closed == 0.7
    monkeypatch.undo()
    assert choose_robot("") == DROID


@pytest.mark.parametrize("node", NODES)
def test_parameters_have_descriptions_and_ranges(node):
    for key, (value, rule) in flatten(settings_of(node)).items():
        assert rule["description"], f"{node}.{key}"
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            assert rule["low"] is not None and rule["high"] is not None and rule["low"] <= value <= rule["high"], (
                f"{node}.{key}"
            )


def test_the_simulated_graph():
    options = Options(seed=4, record="bag", dry_run=True, checkpoint="models/x", rviz=True)
    specs = {s.name: s for s in insertion(options)}
    assert list(specs) == [
        "station", "camera", "extrinsics", "policy", "controller", "robot_state", "recorder", "rviz2"
    ]  # fmt: skip
    assert specs["station"].parameters["seed"] == 4 and "use_sim_time" not in specs["station"].parameters
    assert all(spec.parameters["use_sim_time"] for name, spec in specs.items() if name != "station")
    assert specs["controller"].parameters == {"use_sim_time": True, "autostart": True, "dry_run": True}
    assert specs["policy"].parameters["checkpoint"] == "models/x"
    assert specs["extrinsics"].parameters["calibration"] == specs["station"].parameters["calibration_file"]
    words = specs["controller"].command("c.yaml")
    assert words[1:3] == ["-m", "uma_ros.nodes.controller"] and "dry_run:=true" in words and "c.yaml" in words


@pytest.mark.parametrize("station, sim", [("sim", "true"), ("hardware", "false")])
def test_rviz_shows_the_package_s_view(station, sim):
    spec = insertion(Options(station=station, rviz=True))[-1]
    view = str(ROOT / "config/uma.rviz")
    own = ["--ros-args", "-p", f"use_sim_time:={sim}"]
    assert spec.command("c.yaml") == ["rviz2", "-d", view, "-f", DROID.base_frame, *own]
    drawn = {s.name: s.parameters for s in insertion(Options(rviz=True))}["robot_state"]
    assert drawn["meshes"], "rviz2 runs where the meshes are"
    assert not {s.name: s.parameters for s in insertion(Options())}["robot_state"]["meshes"]


@pytest.mark.parametrize(
    "given, is_own",
    [
        ({}, True),
        ({"description": "off"}, False),
        ({"station": "hardware"}, False),
        ({"station": "hardware", "drivers": "camera,gripper,robot"}, False),
        ({"station": "hardware", "drivers": "gripper,franka"}, True),
        ({"station": "hardware", "description": "own"}, True),
        ({"station": "hardware", "drivers": "franka", "description": "off"}, False),
    ],
)
def test_one_package_describes_the_robot(given, is_own):
    assert ("robot_state" in [s.name for s in insertion(Options(**given))]) is is_own


@pytest.mark.parametrize("task", TASKS)
def test_tasks_differ_in_the_simulated_station_alone(task):
    specs, others = TASKS[task](Options(seed=4)), insertion(Options(seed=4))
    assert specs[0].name == "station" and specs[0].parameters == {**others[0].parameters, "task": task}
    assert specs[1:] == others[1:] and TASKS[task](Options(station="hardware")) == insertion(
        Options(station="hardware")
    )


def test_hardware_graph_has_no_simulation_and_no_autostart():
    specs = {s.name: s for s in insertion(Options(station="hardware"))}
    assert not {"station", "camera"} & set(specs)
    assert "autostart" not in specs["controller"].parameters and not specs["policy"].parameters["use_sim_time"]


def test_drivers_start_by_name_and_unknown_ones_are_refused():
    plain = [s.name for s in insertion(Options(station="hardware"))]
    driven = insertion(Options(station="hardware", drivers=", ".join(DRIVERS), description="off"))
    assert [s.name for s in driven] == [*DRIVERS, *plain]
    for name in DRIVERS:
        assert name in NODES, "its parameters stand in the configuration file"
    with pytest.raises(InputError, match="drivers: 'griper', must be one of .*gripper"):
        Options(station="hardware", drivers="griper")
    with pytest.raises(InputError, match="must be empty for station sim"):
        Options(drivers="gripper")


def test_replay_is_the_policy_alone_on_its_own_topics():
    (policy,) = replay(Options())
    said = {k: v for k, v in policy.parameters.items() if k.startswith("topics.")}
    assert {k: v for k, v in policy.parameters.items() if k not in said} == {
        "use_sim_time": True,
        "require_controller": False,
        "finish_after_s": 0.0,
        "recorded_task": Topics().active_reference,
    }
    assert len(said) == 8 and all(topic == f"uma_replay/{key.removeprefix('topics.')}" for key, topic in said.items())
    assert not {getattr(Topics(), key.removeprefix("topics.")) for key in said} & set(said.values())


@pytest.mark.parametrize("name", GRAPHS)
def test_a_graph_in_a_namespace(name):
    plain, left = (
        GRAPHS[name](Options(run_dir="r")),
        GRAPHS[name](Options(run_dir="r", namespace="lab/left", robot="l")),
    )
    clock = () if name == "replay" else (("/clock", "clock"),)
    for before, spec in zip(plain, left, strict=True):
        assert spec.full_name == f"/lab/left/{before.name}" and before.full_name == f"/{before.name}"
        assert spec.remappings == clock and before.remappings == ()
        assert spec.parameters == {"robot": "l", **before.parameters}
        words = spec.command("c.yaml")
        assert ["-r", "__ns:=/lab/left"] == words[words.index("__ns:=/lab/left") - 1 :][:2]
        assert ("/clock:=clock" in words) == bool(clock) and "__ns" not in " ".join(before.command("c.yaml"))
    assert not [v for spec in left for k, v in spec.parameters.items() if k.startswith("topics.") and v[0] == "/"]


def test_hardware_in_a_namespace_has_the_clock_of_the_system():
    specs = insertion(Options(station="hardware", namespace="left", drivers="gripper"))
    assert all(spec.remappings == () and spec.namespace == "/left" for spec in specs)


def test_the_clock_of_a_namespace_is_the_station_s():
    nodes = insertion(Options(namespace="left", rviz=True))
    words = nodes[-1].command("c.yaml")
    assert words[0] == "rviz2" and {"__ns:=/left", "/clock:=clock", "/uma/markers:=uma/markers"} <= set(words)
    assert "-r" not in insertion(Options(rviz=True))[-1].command("c.yaml")


@pytest.mark.parametrize("name", ["", "/", "left", "/left", "lab/left", "_a1"])
def test_a_namespace_is_taken(name):
    assert Options(namespace=name).namespace == name


@pytest.mark.parametrize("name", ["1left", "left/", "//left", "left arm", "left-arm", "a//b", "lab/2", "~", "läb"])
def test_a_wrong_namespace_is_refused(name):
    with pytest.raises(InputError, match=f"^namespace: '{re.escape(name)}', must be names joined by /"):
        Options(namespace=name)
    with pytest.raises(InputError, match="^namespace: 201 characters, limit 200"):
        Options(namespace="a" * 201)


def test_two_graphs_of_one_second_have_folders_of_their_own(monkeypatch):
    monkeypatch.setattr(
        "uma_ros.runtime.resources.datetime", SimpleNamespace(now=lambda: datetime(2026, 1, 2, 3, 4, 5))
    )
    folders = [new_folder(namespace) for namespace in ("", "left", "/right", "lab/left")]
    assert folders == [f"runs/2026-01-02_03-04-05{end}" for end in ("", "_left", "_right", "_lab_left")]


def test_every_own_name_is_relative():
    """Absolute are /tf_static, as in tf2, and /diagnostics and /clock of ROS itself."""
    topics = flatten(Topics())
    assert [name for name, (value, _) in topics.items() if value.startswith("/")] == ["tf", "tf_static"]
    for node in NODES:
        names = {k: v for k, (v, _) in flatten(settings_of(node)).items() if isinstance(v, str) and v.startswith("/")}
        assert names.keys() <= {"topics.tf", "topics.tf_static", "robotiq.port"}
    found = set()
    for path in (ROOT / "uma_ros").rglob("*.py"):
        if path.parent.parent.name == "teach" or path.parent.name == "teach":
            continue  # routes and drawings of the page are no names in ROS
        nodes = list(ast.walk(ast.parse(path.read_text())))
        inner = {part for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values[1:]}
        texts = (node.value for node in nodes if isinstance(node, ast.Constant) and node not in inner)
        found |= {text for text in texts if re.fullmatch(r"/[a-z_]+(/[a-z_]*)*", str(text))}
    assert found <= {"/tf_static", "/tf", "/diagnostics", "/clock", "/_action/", "/dev/"}, (
        "the last two are no names in ROS"
    )


def test_full_names():
    assert Topics().in_namespace().status == "/uma/status" and Topics().in_namespace("/").status == "/uma/status"
    left = Topics().in_namespace("left")
    assert left.status == "/left/uma/status" and left.tf_static == "/tf_static" == left.origins()["calibration"]
    assert left.origins()["robot"] == "/left/current_pose" and full_name("/x", "left") == "/x"
    with pytest.raises(InputError, match="^topics.rgb: 'a b', must be a topic name"):
        Topics(rgb="a b").resolved(lambda name: 1 / (" " not in name) and name)


def test_an_unknown_station_is_refused():
    with pytest.raises(InputError, match="'real', must be one of sim, hardware"):
        Options(station="real")


# -- files -------------------------------------------------------------------------------------------------------------


def test_our_calibration_survives_the_disk(tmp_path):
    T = make_pose(Rotation.random(random_state=1).as_matrix(), np.array([0.5, -0.5, 0.4]))
    tools = {("fr3_link8", "tcp"): make_pose(Rotation.random(random_state=2).as_matrix(), np.array([0, 0, 0.16]))}
    calibration.save_calibration(calibration.Calibration("cam", "fr3_link0", T, tools), tmp_path / "c.yaml")
    again = calibration.load_calibration(tmp_path / "c.yaml")
    assert np.allclose(again.T_base_cam, T, atol=1e-12) and np.allclose(
        again.tools["fr3_link8", "tcp"], tools["fr3_link8", "tcp"], atol=1e-12
    )


def test_droids_calibration_is_extrinsic_xyz_camera_to_base(tmp_path):
    rx, ry, rz = -1.9, 0.2, 0.8
    (tmp_path / "calibration_info.json").write_text(
        json.dumps(
            {
                "23897859_left": {"pose": [0.3, 0.5, 0.4, rx, ry, rz], "timestamp": 1.7e9},
                "23897859_right": {"pose": [0, 0, 0, 0, 0, 0], "timestamp": 1.7e9},
            }
        )
    )
    found = calibration.load_calibration(tmp_path / "calibration_info.json")
    about = lambda axis, a: Rotation.from_rotvec(a * np.eye(3)[axis]).as_matrix()  # noqa: E731
    assert np.allclose(found.T_base_cam[:3, :3], about(2, rz) @ about(1, ry) @ about(0, rx))
    assert (
        np.allclose(found.T_base_cam[:3, 3], [0.3, 0.5, 0.4])
        and found.date.year == 2023
        and "extrinsic xyz" in found.convention
    )


def test_droid_calibrations_follow_the_same_convention(tmp_path):
    pose, path = [0.3, 0.5, 0.4, -1.9, 0.2, 0.8], tmp_path / "cam2base_extrinsics.json"
    one = {
        "23897859": pose,
        "23897859_metric_type": "IoU",
        "23897859_quality_metric": 0.9,
        "relative_path": "success/2023",
    }
    path.write_text(json.dumps({"LAB+1+2023-08-17": one}))
    (tmp_path / "calibration_info.json").write_text(json.dumps({"23897859_left": {"pose": pose, "timestamp": 1.7e9}}))
    droid = calibration.load_calibration(tmp_path / "calibration_info.json")
    found = calibration.load_calibration(path)
    assert (
        np.array_equal(found.T_base_cam, droid.T_base_cam) and found.date is None and "recalibrated" in found.convention
    )
    two = {"23897859_left": pose, "23897859_right": [0.0] * 6, "quality": [1, 2]}
    path.write_text(json.dumps({"LAB+1+2023-08-17": one, "LAB+2+2023-08-18": two}))
    assert np.array_equal(calibration.load_calibration(path, "LAB+1+2023-08-17/23897859").T_base_cam, droid.T_base_cam)
    assert np.array_equal(calibration.load_calibration(path, "LAB+2+2023-08-18/23897859").T_base_cam, droid.T_base_cam)
    for camera, words in (
        ("", "EPISODE/SERIAL with one of the file's 2 episodes"),
        ("LAB+2+2023-08-18/", "one of LAB.*23897859_left"),
        ("LAB+1+2023-08-17/1", "one of"),
    ):
        with pytest.raises(InputError, match=words):
            calibration.load_calibration(path, camera)
    path.write_text(json.dumps({"E": {"23897859": [1, 2]}}))
    with pytest.raises(InputError, match="E/23897859: .*6 finite numbers"):
        calibration.load_calibration(path)


def test_a_calibration_of_absurd_size_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(textfile, "MAX_JSON", 100)
    (tmp_path / "c.json").write_text("[" + "0," * 100 + "0]")
    with pytest.raises(InputError, match="bytes, limit 100"):
        calibration.load_calibration(tmp_path / "c.json")


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("a.yaml", "[1, 2]", "must be a mapping"),
        ("b.yaml", "camera_frame: c\nbase_frame: b\nT_base_cam: {xyz: [0, 0, 0], xyzw: [0, 0, 0, 0]}", "norm 0"),
        ("c.yaml", "camera_frame: c\nbase_frame: b\nT_base_cam: {xyz: [0, 0], xyzw: [0, 0, 0, 1]}", "T_base_cam"),
        ("d.yaml", "base_frame: b\nT_base_cam: {xyz: [0, 0, 0], xyzw: [0, 0, 0, 1]}", "camera_frame"),
        ("e.json", '{"1_left": {"pose": [1, 2]}}', "6 finite numbers"),
        ("f.json", '{"1_left": {"pose": [0,0,0,0,0,0]}, "2_left": {"pose": [0,0,0,0,0,0]}}', "one of 1_left, 2_left"),
        ("g.json", "{", "g.json"),
        ("h.json", '{"1_left": {"pose": "x"}}', "6 finite numbers"),
        ("i.json", '{"1_left": {"pose": [0,0,0,0,0,0], "timestamp": "soon"}}', "seconds since 1970"),
        ("missing.yaml", None, "missing.yaml"),
    ],
)
def test_a_bad_calibration_is_refused_by_entry(tmp_path, name, text, words):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words):
        calibration.load_calibration(tmp_path / name)


@pytest.mark.parametrize("task", TASKS)
def test_the_example_reference_reads_and_survives_the_disk(task, tmp_path):
    example = load_reference(ROOT / f"config/reference_{task}.yaml")
    assert len(example.waypoints) == 6 and example.frame == "fr3_link0"
    save_reference(example, tmp_path / "r.yaml")
    again = load_reference(tmp_path / "r.yaml")
    assert (
        all(np.array_equal(a, b) for a, b in zip(example.waypoints, again.waypoints))
        and again.object_label == example.object_label
    )


def test_the_benchmark_runs_the_controller_s_own_defaults():
    station = SimpleNamespace(time=0.0, T_link8_tcp=np.eye(4))
    simulated = flatten(SimulatedController(station, 0.13).controller.settings)
    node = flatten(with_frames(settings_of("controller")))
    different = {name for name, (value, _) in simulated.items() if value != node[name][0]}
    assert different == {"autostart"} and simulated["rate"][0] == 125.0
    assert {name for name in node if not name.startswith("topics.")} == set(simulated)
