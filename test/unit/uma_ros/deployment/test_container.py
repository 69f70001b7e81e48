"""The container files name what exists. The image itself is built where a container engine is."""

import json
import re
import subprocess

import pytest
from harness import ROOT

DOCKERFILE = ROOT / "tools/docker/Dockerfile"


def test_what_the_image_copies_is_there():
    lines = re.findall(r"^COPY (.+)$", DOCKERFILE.read_text(), re.MULTILINE)
    sources = [source for line in lines for source in line.split()[:-1]]
    assert {"package.xml", "tools/install_robot.sh", "tools/docker/entrypoint.sh", "."} <= set(sources)
    assert all((ROOT / source).exists() for source in sources)


def test_the_image_makes_the_environment_that_its_entry_uses():
    entry = (ROOT / "tools/docker/entrypoint.sh").read_text()
    place = re.search(r"UMA_VENV=(\S+)", DOCKERFILE.read_text())[1]
    assert f"{{UMA_VENV:-{place}}}" in entry and "tools/install_robot.sh $UMA_VENV" in DOCKERFILE.read_text()


def test_the_development_container_builds_that_image():
    folder = ROOT / ".devcontainer"
    build = json.loads((folder / "devcontainer.json").read_text())["build"]
    assert (folder / build["dockerfile"]).resolve() == DOCKERFILE
    assert (folder / build["context"]).resolve() == ROOT


@pytest.mark.parametrize("script", sorted(str(p.relative_to(ROOT)) for p in (ROOT / "tools").rglob("*.sh")))
def test_scripts_are_valid_shell(script):
    first = (ROOT / script).read_text().splitlines()[0]
    assert first.startswith("#!")
    subprocess.run([first[2:], "-n", str(ROOT / script)], check=True)
