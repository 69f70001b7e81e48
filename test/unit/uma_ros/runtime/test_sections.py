"""Sections of parameter files: for which node they are, held against rclpy, and what a node refuses."""

import pytest
import yaml

from uma.types import InputError
from uma_ros.runtime.sections import applies, check_command_line, sections, values_of

rclpy = pytest.importorskip("rclpy")

FILES = [
    "controller",
    "/controller",
    "/**",
    "/**/controller",
    "/*/controller",
    "/left/controller",
    "left/controller",
    "/left/*",
    "/left/**",
    "/right/controller",
    "/**/camera",
]


def section(node, **values):
    return {node: {"ros__parameters": values}}


def words_of(tmp_path, config, *overrides):
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    return ["x", "--ros-args", "--params-file", str(path), *(w for word in overrides for w in ("-p", word))]


def values_in_rclpy(words, namespace):
    """Return the values that rclpy gives a node named controller."""
    context = rclpy.Context()
    rclpy.init(context=context)
    try:
        node = rclpy.create_node(
            "controller", namespace=namespace, context=context, cli_args=words[1:], use_global_arguments=False
        )
        values = {name: p.value for name, p in node._parameter_overrides.items()}
        node.destroy_node()
    finally:
        rclpy.shutdown(context=context)
    return values


@pytest.mark.parametrize("namespace", ["", "/left", "/a/b"])
def test_sections_apply_as_in_rclpy(tmp_path, namespace):
    config = {}
    for i, name in enumerate(FILES):
        config |= section(name, **{f"own{i}": i, "last": i})
    found = values_in_rclpy(words_of(tmp_path, config), namespace)
    node = f"{namespace}/controller"
    assert [f"own{i}" in found for i in range(len(FILES))] == [applies(name, node) for name in FILES]
    given = [(name, values) for name, values in sections(config) if name != "controller"]  # bare, as in any namespace
    assert found["last"] == values_of(given, node)["last"]


def test_a_bare_section_counts_in_every_namespace_of_a_graph():
    given = [("controller", {"rate": 1.0}), ("/left/controller", {"rate": 2.0}), ("camera", {"rate": 3.0})]
    rates = [values_of(given, f"{namespace}/controller")["rate"] for namespace in ("", "/left", "/right")]
    assert rates == [1.0, 2.0, 1.0]


def test_a_bare_section_in_a_namespace_is_refused_by_a_node(tmp_path):
    words = words_of(tmp_path, section("controller", rate=100.0) | section("camera", rate=10.0))
    check_command_line(words, "/controller")
    with pytest.raises(InputError, match=r"p\.yaml: controller: .* this node is /left/controller; write /\*\*/contr"):
        check_command_line(words, "/left/controller")


IN_FRONT = section("/**", max_state_age=0.3) | section("controller", dry_run=False)


@pytest.mark.parametrize(
    "config, override, has_effect",
    [
        (IN_FRONT, "dry_run:=true", False),
        (IN_FRONT, "controller:dry_run:=true", True),
        (IN_FRONT, "max_state_age:=0.5", True),
        (dict(reversed(IN_FRONT.items())), "dry_run:=true", True),
        (section("controller", dry_run=False), "dry_run:=true", True),
        (section("/**/controller", dry_run=False) | section("controller", rate=1.0), "dry_run:=true", True),
    ],
)
def test_an_override_without_effect_is_refused(tmp_path, config, override, has_effect):
    """rcl puts `-p` into the section for all nodes, which a later section of the file overrides."""
    words = words_of(tmp_path, config, override)
    name, value = override.split(":")[-2], yaml.safe_load(override.rpartition("=")[2])
    assert (values_in_rclpy(words, "")[name] == value) is has_effect
    if has_effect:
        check_command_line(words, "/controller")
    else:
        with pytest.raises(InputError, match="^-p dry_run: without effect, because /controller in .*p.yaml sets False"):
            check_command_line(words, "/controller")


def test_an_override_that_changes_nothing_is_no_error(tmp_path):
    check_command_line(words_of(tmp_path, IN_FRONT, "dry_run:=false"), "/controller")
    check_command_line(words_of(tmp_path, IN_FRONT, "controller:dry_run:=true"), "/camera")
