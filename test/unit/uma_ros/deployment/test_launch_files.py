"""The launch files on a stand-in for `launch`, which is not on PyPI; their arguments; the programs they start."""

import re
import types
from pathlib import Path

import pytest
import views
import yaml
from harness import ROOT
from launch_files import Launch

from uma.settings import flatten
from uma.types import InputError
from uma_ros.deployment.arguments import BOOLEANS, check_arguments, on_command_line, options_from
from uma_ros.deployment.graph import GRAPHS, Options
from uma_ros.deployment.preparation import PARAMETERS_OF_RUN
from uma_ros.deployment.schema import NODES
from uma_ros.runtime.exit_codes import REFUSED


@pytest.fixture
def prefix(tmp_path):
    """A folder with the programs of an installed package."""
    folder = tmp_path / "lib/uma_ros"
    folder.mkdir(parents=True)
    (tmp_path / "share/uma_ros").mkdir(parents=True)
    for node in NODES:
        (folder / node).touch(0o755)
    return tmp_path


@pytest.mark.parametrize("name", GRAPHS)
def test_launch_files_start_the_same_graph(name, monkeypatch, prefix):
    launch = Launch(name, monkeypatch, prefix)
    assert set(launch.arguments) == set(flatten(Options()))
    nodes = launch.start(run_dir=str(prefix), seed="5", dry_run="ON")
    specs = GRAPHS[name](Options(run_dir=str(prefix), seed=5, dry_run=True))
    assert [n.kwargs["executable"] for n in nodes] == [s.name for s in specs]
    written = yaml.safe_load((prefix / PARAMETERS_OF_RUN).read_text())
    for node, spec in zip(nodes, specs):
        assert node.kwargs["package"] == "uma_ros" and node.kwargs["parameters"] == [str(prefix / PARAMETERS_OF_RUN)]
        assert written[f"/**/{spec.name}"]["ros__parameters"].items() >= spec.parameters.items()
        assert node.kwargs["namespace"] is None and node.kwargs["remappings"] == []
        assert node.kwargs["arguments"] == []


def test_a_launch_opens_rviz_with_the_package_s_view(monkeypatch, prefix):
    launch = Launch("insertion", monkeypatch, prefix)
    with pytest.raises(InputError, match="rviz2: no executable"):
        launch.start(run_dir=str(prefix), rviz="true")
    (prefix / "lib/rviz2").mkdir()
    (prefix / "lib/rviz2/rviz2").touch(0o755)
    rviz = launch.start(run_dir=str(prefix), rviz="true")[-1].kwargs
    assert rviz["package"] == rviz["executable"] == "rviz2" and rviz["parameters"] == [{"use_sim_time": True}]
    assert rviz["arguments"] == ["-d", str(ROOT / "config/uma.rviz"), "-f", "fr3_link0"] and not rviz["remappings"]
    left = launch.start(run_dir=str(prefix), rviz="true", namespace="left", robot="config/robot_left.yaml")[-1].kwargs
    assert left["arguments"][-1] == "left_fr3_link0" and left["namespace"] == "/left"
    assert {("/uma/markers", "uma/markers"), ("/clock", "clock")} <= set(left["remappings"])
    shown = {topic for topic, _ in views.rviz_topics()}
    assert shown <= {topic for topic, _ in left["remappings"]}, "every topic of the view is the namespace's"


@pytest.mark.parametrize(
    "environment, choice, value",
    [
        ({}, "", "LOCALHOST"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}, "", "SUBNET"),
        ({"ROS_AUTOMATIC_DISCOVERY_RANGE": "SUBNET"}, "localhost", "LOCALHOST"),
        ({}, "subnet", "SUBNET"),
    ],
)
def test_the_start_sets_and_says_who_discovers_the_nodes(environment, choice, value, monkeypatch, prefix):
    launch = Launch("insertion", monkeypatch, prefix)
    sets, says, *nodes = launch.actions({"ROS_DOMAIN_ID": "7", **environment}, run_dir=str(prefix), discovery=choice)
    assert sets.args == ("ROS_AUTOMATIC_DISCOVERY_RANGE", value) and nodes
    who = {"LOCALHOST": "this host", "SUBNET": "the local network"}[value]
    assert says.kwargs["msg"].startswith(f"discovery: {who}, domain 7")
    assert ("discovery:=subnet" in says.kwargs["msg"]) is (value == "LOCALHOST")


def test_two_hosts_share_the_graph():
    """Each node of the graph runs on exactly one of the two hosts."""
    of = {host: [spec.name for spec in GRAPHS["insertion"](Options(host=host))] for host in ("all", "robot", "policy")}
    assert of["policy"] == ["policy"] and sorted(of["robot"] + of["policy"]) == sorted(of["all"])
    (policy,) = GRAPHS["insertion"](Options(host="policy", image_transport="compressed"))
    assert policy.parameters["image_transport"] == "compressed"
    with pytest.raises(InputError, match="record: 'bag', must be empty for host policy"):
        Options(host="policy", record="bag")


@pytest.mark.parametrize("name", GRAPHS)
def test_a_launch_in_a_namespace_has_its_own_names(name, monkeypatch, prefix, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    launch = Launch(name, monkeypatch, prefix)
    clock = [] if name == "replay" else [("/clock", "clock")]  # the clock of a replay is the bag player's
    for given, wanted in (
        ({"namespace": "left"}, "/left"),
        ({"ros_namespace": "/lab"}, "/lab"),  # of an including launch file
        ({"namespace": "left", "ros_namespace": "/lab"}, "/lab/left"),
        ({"namespace": "/left", "ros_namespace": "/lab"}, "/left"),
    ):
        for node in launch.start(**given):
            assert node.kwargs["namespace"] == wanted and node.kwargs["remappings"] == clock
            folder = Path(node.kwargs["parameters"][0]).parent
            assert folder.parent == tmp_path / "home/.ros/uma" and folder.name.endswith(wanted.replace("/", "_"))


@pytest.mark.parametrize("keep_going", [False, True])
def test_the_end_of_a_node_ends_the_launch_unless_told(keep_going, monkeypatch, prefix):
    launch = Launch("insertion", monkeypatch, prefix)
    nodes = launch.start(run_dir=str(prefix), record=str(prefix / "bag"), keep_going=str(keep_going))
    running, closing = types.SimpleNamespace(is_shutdown=False), types.SimpleNamespace(is_shutdown=True)
    for node in nodes:
        for code in (0, REFUSED, -9):
            event, ends = types.SimpleNamespace(returncode=code), node.kwargs["on_exit"]
            is_refused_recording = node.kwargs["name"] == "recorder" and code == REFUSED
            assert ends(event, closing) == []
            if keep_going and not is_refused_recording:
                assert ends(event, running) == []
            elif code == 0:
                assert [type(action).__name__ for action in ends(event, running)] == ["Shutdown"]
            else:  # the exit code of the launch
                with pytest.raises(RuntimeError, match=f"^{node.kwargs['name']} ended with code {code}$"):
                    ends(event, running)


@pytest.mark.parametrize(
    "given, words",
    [
        ({"dry_run": "maybe"}, "dry_run: 'maybe', must be one of true, 1, yes, on, false"),
        ({"dryrun": "true"}, "dryrun: unknown launch argument; did you mean 'dry_run'?"),
        ({"managed": "true", "missing": "manager"}, "manager: no executable .*manager; build the package again"),
        ({"checkpoint": "nowhere"}, "checkpoint: nowhere: no such file"),
        ({"config": "nowhere.yaml"}, "nowhere.yaml: no such file"),
    ],
)
def test_a_launch_that_cannot_work_starts_nothing(given, words, monkeypatch, prefix):
    if missing := given.pop("missing", ""):
        (prefix / "lib/uma_ros" / missing).unlink()
    with pytest.raises(InputError, match=words):
        Launch("insertion", monkeypatch, prefix).start(run_dir=str(prefix), **given)


def test_installed_programs_are_all_nodes_of_the_package():
    text = (ROOT / "CMakeLists.txt").read_text()
    listed = re.search(r"set\(nodes ([^)]*)\)", text)[1].split()
    there = {path.stem for path in (ROOT / "uma_ros/nodes").glob("*.py")} - {"__init__"}
    assert sorted(listed) == sorted(there) == sorted(NODES)
    assert "foreach(program ${nodes} uma)" in text and text.count("install(PROGRAMS") == 2
    assert re.search(r"install\(PROGRAMS \S+/programs/uma DESTINATION bin\)", text), "`uma` is on the path"


# -- texts of arguments ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [n for n, (v, _) in flatten(Options()).items() if isinstance(v, bool)])
def test_booleans_are_read_strictly(name):
    for word, value in BOOLEANS.items():
        assert getattr(options_from({name: word.upper()}), name) is value
    for word in ("", "o", "2", "ture", "None"):
        with pytest.raises(InputError, match=f"^{name}: '{word}', must be one of .*true.*off"):
            options_from({name: word})


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("seed", "1.5", "seed: '1.5', must be a whole number"),
        ("seed", "-1", "seed: -1, must be 0 to"),
        ("station", "Hardware", "station: 'Hardware', must be one of sim, hardware"),
        ("drivers", "camera", "must be empty for station sim"),
        ("rvizz", "true", "rvizz: unknown launch argument, must be one of .*; did you mean 'rviz'?"),
    ],
)
def test_a_wrong_argument_is_refused_by_name_and_value(name, text, words):
    with pytest.raises(InputError, match=words):
        options_from({name: text})


def test_only_the_own_command_line_is_held_to_the_arguments():
    words = ["/opt/ros2", "launch", "uma_ros", "insertion.launch.py", "dry_run:=true", "zork:=1"]
    assert on_command_line(words, "insertion.launch.py") == ["dry_run", "zork"]
    assert on_command_line(words, "folding.launch.py") == []
    known = flatten(Options())
    with pytest.raises(InputError, match="zork: unknown launch argument"):
        check_arguments(["zork"], known)
    check_arguments([], known, ["zork", "robot_ip", "global_params"])  # of an including launch file
    with pytest.raises(InputError, match="did you mean 'dry_run'"):
        check_arguments([], known, ["dry-run"])
