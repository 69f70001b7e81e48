"""What is looked up before the first process starts, and the names in a parameter file."""

import pytest
import yaml
from harness import ROOT

from uma.settings import flatten
from uma.types import InputError
from uma_ros.deployment.graph import NodeSpec, Options
from uma_ros.deployment.preparation import missing_executable, missing_module, prepared, write_parameters
from uma_ros.deployment.schema import NODES, settings_of
from uma_ros.runtime.parameters import REMOVED, check_names
from uma_ros.runtime.sections import sections, shared_names

SHIPPED = str(ROOT / "config/parameters.yaml")


def start(tmp_path, config=None, **options):
    if config is not None:
        path = tmp_path / "parameters.yaml"
        path.write_text(config if isinstance(config, str) else yaml.safe_dump(config))
    chosen = Options(config=SHIPPED if config is None else str(path), run_dir=str(tmp_path / "run"), **options)
    return prepared("insertion", chosen, missing_module)


def section(node, **values):
    return {node: {"ros__parameters": values}}


def test_the_shipped_files_start(tmp_path):
    names = [spec.name for spec in start(tmp_path, managed=True, record=str(tmp_path / "bag"))]
    assert names == ["station", "camera", "extrinsics", "policy", "controller", "robot_state", "recorder", "manager"]
    assert not list(tmp_path.iterdir()), "a check leaves nothing behind"


@pytest.mark.parametrize(
    "options, words",
    [
        ({"checkpoint": "nowhere"}, "^checkpoint: nowhere: no such file"),
        ({"checkpoint": "config/parameters.yaml"}, "checkpoint: .*parameters.yaml, must be a folder"),
        ({"prompt": "nowhere.npz"}, "^prompt: nowhere.npz: no such file"),
        ({"record": "/"}, "^record: /, must be a folder that does not exist yet"),
        ({"record": "README.md/bag"}, "^record: README.md/bag, .*README.md is not a folder"),
        ({"station": "hardware"}, "^calibration: config/calibration.yaml: no such file"),
        ({"rviz": True}, "^rviz2: no such program in PATH"),
    ],
)
def test_a_missing_thing_is_named_before_the_start(tmp_path, monkeypatch, options, words):
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.chdir(ROOT)
    with pytest.raises(InputError, match=words):
        start(tmp_path, **options)


def test_an_unwritable_folder_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("os.access", lambda path, mode: False)  # root may write everywhere
    with pytest.raises(InputError, match="record: .*/bag, .* must be writable\nrun_dir: .*/run, .* must be writable"):
        start(tmp_path, record=str(tmp_path / "bag"))


def test_all_troubles_come_in_one_message(tmp_path):
    with pytest.raises(InputError) as error:
        start(tmp_path, section("camera", ratee=1.0), checkpoint="nowhere", prompt="nowhere")
    assert len(str(error.value).splitlines()) == 3


def test_programs_are_looked_up(tmp_path):
    spec = NodeSpec("policy", module="uma_ros.nodes.policy")
    program = tmp_path / "lib/uma_ros/policy"
    assert "no executable" in missing_executable(spec, lambda _: str(tmp_path))
    program.parent.mkdir(parents=True)
    program.touch(0o644)
    assert "is not executable" in missing_executable(spec, lambda _: str(tmp_path))
    program.chmod(0o755)
    assert missing_executable(spec, lambda _: str(tmp_path)) == missing_module(spec) == ""
    assert missing_module(NodeSpec("x", module="uma_ros.nodes.x")) == "x: no Python module uma_ros.nodes.x"

    def unknown(package):
        raise KeyError(package)

    assert missing_executable(NodeSpec("rviz2", package="rviz2"), unknown).startswith("rviz2: no package 'rviz2'")


@pytest.mark.parametrize(
    "config, options, on_hardware, in_sim",
    [
        (None, {}, 0.15, None),
        (section("controller", max_departure=0.0), {}, 0.15, 0.0),
        (section("controller", max_departure=0.4), {}, 0.4, 0.4),
        (section("/**", max_departure=0.4), {}, 0.4, 0.4),
        (section("/**/controller", max_departure=0.4), {}, 0.4, 0.4),
        (section("/left/controller", max_departure=0.4), {}, 0.15, None),
        (section("/left/controller", max_departure=0.4), {"namespace": "left"}, 0.4, 0.4),
        (None, {"max_departure": 0.0}, 0.0, None),
    ],
)
def test_hardware_checks_the_departure_by_default(tmp_path, config, options, on_hardware, in_sim):
    (tmp_path / "calibration.yaml").touch()
    config = (config or {}) | section("extrinsics", calibration=str(tmp_path / "calibration.yaml"))
    for station, value in (("hardware", on_hardware), ("sim", in_sim)):
        controller = next(s for s in start(tmp_path, config, station=station, **options) if s.name == "controller")
        assert controller.parameters.get("max_departure") == value


def test_a_serial_without_quotes_does_not_stop_a_start(tmp_path):
    (tmp_path / "calibration.yaml").touch()
    config = section("extrinsics", calibration=str(tmp_path / "calibration.yaml"), camera=23897859)
    assert start(tmp_path, config, station="hardware")


def test_a_missing_calibration_names_the_command_that_makes_one(tmp_path):
    with pytest.raises(InputError, match="no/such.yaml: .*`uma calibrate` makes one, calibration:=FILE chooses"):
        start(tmp_path, None, station="hardware", calibration="no/such.yaml")


# -- parameter files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "config, words",
    [
        (section("extrinsics", calibrationn="x"), "extrinsics: calibrationn: unknown.*did you mean 'calibration'?"),
        (section("controller", safety={"max_step": 1.0}), "safety.max_step: unknown.*mean 'safety.max_step_m'?"),
        (section("/**/camera", ratee=15.0), "camera: ratee: unknown parameter; did you mean 'rate'?"),
        (section("gripper", ratee=15.0), "gripper: ratee: unknown parameter"),
        (section("/**", max_stat_age=0.3), r"/\*\*: max_stat_age: unknown.*mean 'max_state_age'?"),
        (section("contoller", rate=100.0), "contoller: unknown node; did you mean 'controller'?"),
        (section("controller", rate=5000.0), "controller: rate: 5000.0, must be 20 to 1000"),
        (section("controller", dry_run="maybe"), "controller: dry_run: 'maybe', must be a bool"),
        ({"controller": {"rate": 100.0}}, "controller/rate: float, must be a mapping with a section ros__parameters"),
        ("- 1", "file: list, must be a mapping"),
        ("{", "no YAML"),
    ],
)
def test_a_misspelt_parameter_ends_the_start(tmp_path, config, words):
    with pytest.raises(InputError, match=words):
        start(tmp_path, config)


@pytest.mark.parametrize(
    "config",
    [
        "",
        section("zed_node", general={"camera_model": "zed2i"}),
        section("camera2", serial=5),
        section("controller_manager", update_rate=1000),
        section("/**", use_sim_time=True, max_state_age=0.3, topics={"rgb": "/image"}),
        section("controller", use_sim_time=True, managed=False, **{"qos_overrides./a.publisher.depth": 5}),
        section("/**", lead_s=0.1),
    ],
)
def test_what_others_use_is_no_error(tmp_path, config):
    assert start(tmp_path, config)


@pytest.mark.parametrize("node", REMOVED)
def test_an_older_file_is_read_with_a_warning(tmp_path, node):
    old = dict.fromkeys(REMOVED[node], 0.1)
    assert start(tmp_path, section(node, **old))
    warnings = check_names(node, old, flatten(settings_of(node)))
    assert [w.split(":")[0] for w in warnings] == list(old)
    assert all("removed in " in w and "without effect" in w for w in warnings)


@pytest.mark.parametrize("node", NODES)
def test_removed_names_are_gone(node):
    assert not set(REMOVED.get(node, {})) & set(flatten(settings_of(node)))


def test_a_node_refuses_unknown_names_of_its_own():
    known = ["rate", "safety.max_step_m"]
    with pytest.raises(InputError, match="^ratee: unknown parameter of camera; did you mean 'rate'?"):
        check_names("camera", ["use_sim_time", "ratee"], known)
    assert check_names("camera", ["seed"], known, shared=["seed"]) == []
    (warning,) = check_names("camera", ["ratee"], known, shared=["ratee"])
    assert "given for all nodes; did you mean 'rate'?" in warning


def test_parameters_of_launch_count_as_the_node_s_own(tmp_path):
    """launch_ros writes the parameters of one node to a section for all nodes."""
    paths = [tmp_path / "p.yaml", tmp_path / "launch_params_x1"]
    for path, name in zip(paths, ("shared", "own")):
        path.write_text(yaml.safe_dump(section("/**", **{name: 1}) | section("camera", rate=2.0)))
    words = ["camera", "--ros-args", *(word for path in paths for word in ("--params-file", str(path)))]
    assert shared_names(words) == {"shared"} and shared_names(["camera"]) == set()


# -- namespaces --------------------------------------------------------------------------------------------------------


BOTH = {
    **section("/**", max_state_age=0.1),
    **section("controller", rate=100.0),
    **section("/**/controller", hold_limit=2.0),
    **section("/left/controller", hold_limit=3.0, max_state_age=0.2),
    **section("/right/controller", hold_limit=4.0),
}


@pytest.mark.parametrize(
    "namespace, wanted",
    [("", (100.0, 2.0, 0.1)), ("left", (100.0, 3.0, 0.2)), ("right", (100.0, 4.0, 0.1)), ("a/b", (100.0, 2.0, 0.1))],
)
def test_a_file_applies_in_a_namespace(tmp_path, namespace, wanted):
    specs = {spec.name: spec for spec in start(tmp_path, BOTH, namespace=namespace)}
    values = specs["controller"].parameters
    assert tuple(values[name] for name in ("rate", "hold_limit", "max_state_age")) == wanted
    assert specs["policy"].parameters["max_state_age"] == 0.1
    assert "max_state_age" not in specs["camera"].parameters, "the camera has no such parameter"


@pytest.mark.parametrize("namespace", ["", "left"])
def test_the_graph_s_own_values_win_over_a_file(tmp_path, namespace):
    config = section("/**", dry_run=False, use_sim_time=False) | section("/**/controller", dry_run=False)
    specs = start(tmp_path, config, namespace=namespace, dry_run=True)
    write_parameters(specs, tmp_path / "all.yaml")
    written = dict(sections(yaml.safe_load((tmp_path / "all.yaml").read_text())))
    own = written["/**/controller"]
    assert own["dry_run"] is True and own["use_sim_time"] is True and list(written) == [f"/**/{s.name}" for s in specs]
