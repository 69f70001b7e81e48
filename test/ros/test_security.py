"""The SROS 2 policy: what the nodes of a live simulated graph use, and nothing else."""

import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree as xml

sys.path[:0] = [str(Path(__file__).resolve().parents[1])]
import conftest  # noqa: E402, F401  (a ROS domain of its own on this host)
import pytest  # noqa: E402
from harness import ROOT, Graph  # noqa: E402

from uma_ros.deployment.security import KINDS, VERSION, Profile, policy_xml, settled  # noqa: E402

POLICY = ROOT / "config/sros2_policy.xml"


def read_policy(path: str | Path) -> list[Profile]:
    """The profiles of a policy file that `policy_xml` wrote."""
    profiles = []
    for profile in xml.parse(path).getroot().iter("profile"):
        rules = {
            name: tuple(
                sorted(
                    e.text
                    for rule in profile.findall(group)
                    if rule.get(qualifier) == "ALLOW"
                    for e in rule.findall(entry)
                )
            )
            for group, entry, qualifier, name in KINDS
        }
        profiles.append(Profile(profile.get("node"), **rules, namespace=profile.get("ns")))
    return profiles


def observed(folder: Path) -> list[Profile]:
    """The profiles of the whole graph with a recorder and a manager, and with a remote operator's heartbeat and the
    gates, which are off by default."""
    gates = {"controller": {"heartbeat_s": 60.0, "max_departure": 0.5, "confirm": "task"}}
    gates["recorder"] = {"demonstrations": str(folder / "demonstrations")}
    graph = Graph(folder, changes=gates, record=str(folder / "bag"), managed=True, description="own")
    try:
        graph.client.wait(lambda: "policy" in graph.client.status and graph.client.scene, 90.0, "the graph")
        return settled(graph.client.node, list(graph.specs), 120.0)
    finally:
        graph.close()


@pytest.fixture(scope="module")
def live(tmp_path_factory):
    return observed(tmp_path_factory.mktemp("security"))


def test_committed_policy_is_exactly_what_the_graph_uses(live):
    told = {p.node: p.rules() for p in read_policy(POLICY)}
    used = {p.node: p.rules() for p in live}
    assert told == used, "regenerate it: python test/ros/test_security.py"


def test_only_the_controller_may_send_targets(live):
    for p in live:
        assert ("/target_pose" in p.publish) == (p.node == "controller")
        assert not {"/uma/start", "/uma/recover", "/uma/confirm"} & set(p.request), p.node
        assert ("/uma/action_chunk_base" in p.publish) == (p.node == "extrinsics")
        assert "/clock" not in p.publish or p.node == "station"


def test_the_file_has_the_structure_of_the_format():
    """The schema of the format (policy.xsd, 0.2.0): elements, their nesting and their attributes."""
    root = xml.parse(POLICY).getroot()
    assert (root.tag, root.attrib) == ("policy", {"version": VERSION}) and [e.tag for e in root] == ["enclaves"]
    assert len(root[0]) >= 6
    for enclave in root[0]:
        assert enclave.tag == "enclave" and set(enclave.attrib) == {"path"} and enclave.get("path").startswith("/")
        assert [e.tag for e in enclave] == ["profiles"] and [e.tag for e in enclave[0]] == ["profile"]
        profile = enclave[0][0]
        assert profile.attrib == {"ns": "/", "node": enclave.get("path")[1:]}
        for group in profile:
            entry, qualifiers = {
                "topics": ("topic", {"publish", "subscribe"}),
                "services": ("service", {"reply", "request"}),
                "actions": ("action", {"call", "execute"}),
            }[group.tag]
            assert (
                len(group)
                and {e.tag for e in group} == {entry}
                and all(e.text.startswith("/") and " " not in e.text for e in group)
            )
            assert (
                len(group.attrib) == 1 and set(group.attrib) <= qualifiers and set(group.attrib.values()) == {"ALLOW"}
            )


def test_a_policy_survives_the_disk(tmp_path):
    profiles = [Profile("a", ("/x",), ("/y", "/z"), ("/a/s",), (), ("/act",), ()), Profile("b", call=("/act",))]
    profiles += [Profile("c", ("/left/x",), namespace="/left")]
    (tmp_path / "p.xml").write_text(policy_xml(profiles))
    assert read_policy(tmp_path / "p.xml") == profiles
    assert [e.get("path") for e in xml.parse(tmp_path / "p.xml").iter("enclave")] == ["/a", "/b", "/left/c"]


if __name__ == "__main__":  # regenerates the committed file
    with tempfile.TemporaryDirectory() as home:
        POLICY.write_text(policy_xml(observed(Path(home))))
