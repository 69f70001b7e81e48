"""Files by relative names, from any working folder and from each kind of installation."""

import subprocess
import sys

import pytest
from harness import ROOT

from uma.types import InputError
from uma_ros.bags.reader import typestore
from uma_ros.deployment.graph import GRAPHS, Options
from uma_ros.deployment.preparation import located, missing_module, prepared
from uma_ros.runtime import resources
from uma_ros.runtime.resources import exists, find, find_own

CONFIG = "config/parameters.yaml"


def test_the_package_s_files_are_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find(CONFIG) == ROOT / CONFIG and find("models/uma-small").is_dir() and exists("config/robot.yaml")
    assert not exists("config/nowhere.yaml")
    with pytest.raises(InputError, match=f"^nowhere.yaml: no such file or folder, searched {tmp_path}, {ROOT}"):
        find("nowhere.yaml")


def test_the_working_folder_comes_first(tmp_path, monkeypatch):
    (tmp_path / "config").mkdir()
    (tmp_path / CONFIG).touch()
    monkeypatch.chdir(tmp_path)
    assert find(CONFIG) == tmp_path / CONFIG and find_own(CONFIG) == ROOT / CONFIG
    assert find(str(ROOT / CONFIG)) == ROOT / CONFIG
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(ROOT)
    assert find(f"~/{CONFIG}") == tmp_path / CONFIG and exists(f"~/{CONFIG}")


def test_a_folder_of_other_messages_is_not_taken_for_our_own(tmp_path, monkeypatch):
    (tmp_path / "msg").mkdir()
    (tmp_path / "msg/Other.msg").write_text("not a definition")
    monkeypatch.chdir(tmp_path)
    typestore.cache_clear()
    try:
        assert "uma_ros/msg/PolicyStatus" in typestore().types
    finally:
        typestore.cache_clear()


@pytest.mark.parametrize("folder", ["", "src", "install/uma_ros/share"])
def test_an_installation_is_found_from_its_workspace(tmp_path, monkeypatch, folder):
    """As after `colcon build`: modules in lib, files in share, and the package in the ament index."""
    install = tmp_path / "install/uma_ros"
    share = install / "share/uma_ros"
    (install / "share/ament_index/resource_index/packages").mkdir(parents=True)
    (install / "share/ament_index/resource_index/packages/uma_ros").touch()
    (share / "config").mkdir(parents=True)
    (share / CONFIG).touch()
    (tmp_path / folder).mkdir(exist_ok=True)
    monkeypatch.setattr(resources, "SOURCE", install / "lib/python3.12/site-packages")
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(install))
    monkeypatch.chdir(tmp_path / folder)
    assert find(CONFIG) == share / CONFIG


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_start_from_any_folder_finds_everything(tmp_path, monkeypatch, graph):
    monkeypatch.chdir(tmp_path)
    options = Options(run_dir="run", checkpoint="models/uma-small", robot="config/robot_left.yaml")
    specs = prepared(graph, located(options), missing_module)
    assert {spec.parameters["robot"] for spec in specs} == {str(ROOT / "config/robot_left.yaml")}


def test_a_command_runs_from_any_folder(tmp_path):
    words = [sys.executable, "-m", "uma.cli", "inspect", "config/reference_insertion.yaml"]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert "6 keypoints in fr3_link0" in done.stdout, done.stderr
