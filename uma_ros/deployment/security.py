"""`python -m uma_ros.deployment.security`: write the SROS 2 policy of the running nodes.

Every node has its own enclave with its topics, services and actions. The names come from the ROS graph of the running
nodes, so that the policy matches them exactly. Parameters are services in ROS 2 (`~/set_parameters` and five more).
Every node serves its own and calls none.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as xml

import rclpy
from rclpy.node import Node

from uma_ros.runtime.names import check_namespace, full_name

VERSION = "0.2.0"
"""Version of the policy format."""
ACTION = "/_action/"
KINDS = (
    ("topics", "topic", "publish", "publish"),
    ("topics", "topic", "subscribe", "subscribe"),
    ("services", "service", "reply", "reply"),
    ("services", "service", "request", "request"),
    ("actions", "action", "execute", "execute"),
    ("actions", "action", "call", "call"),
)
"""Group and entry of the XML, its qualifier, and the field of `Profile` with its names."""


@dataclass(frozen=True)
class Profile:
    """Permissions of a node: names of topics, services and actions.

    Attributes:
        node: name of the node.
        namespace: its namespace, such as /left; / is the root.
    """

    node: str
    publish: tuple[str, ...] = ()
    subscribe: tuple[str, ...] = ()
    reply: tuple[str, ...] = ()
    request: tuple[str, ...] = ()
    execute: tuple[str, ...] = ()
    call: tuple[str, ...] = ()
    namespace: str = "/"

    def rules(self) -> dict[str, tuple[str, ...]]:
        return {name: getattr(self, name) for *_, name in KINDS}


def observe(node: Node, name: str, namespace: str = "/") -> Profile:
    """Return the profile of the running node ``name`` in a namespace, as ``node`` discovers it.

    Raises:
        RuntimeError: there is no such node.
    """
    try:
        found = {
            "publish": node.get_publisher_names_and_types_by_node(name, namespace),
            "subscribe": node.get_subscriber_names_and_types_by_node(name, namespace),
            "reply": node.get_service_names_and_types_by_node(name, namespace),
            "request": node.get_client_names_and_types_by_node(name, namespace),
        }
    except Exception as error:  # rclpy raises its own type
        raise RuntimeError(f"no node {full_name(name, namespace)!r} in this ROS domain: {error}") from None
    names = {kind: sorted({topic for topic, _ in topics}) for kind, topics in found.items()}
    actions = {kind: sorted({n.split(ACTION)[0] for n in listed if ACTION in n}) for kind, listed in names.items()}
    plain = {kind: tuple(n for n in listed if ACTION not in n) for kind, listed in names.items()}
    executed, called = tuple(actions["reply"]), tuple(actions["request"])
    return Profile(name, **plain, execute=executed, call=called, namespace=namespace)


def settled(
    node: Node, names: Sequence[str], patience: float = 60.0, quiet: float = 3.0, namespace: str = "/"
) -> list[Profile]:
    """Wait until all nodes of a namespace run and no profile changes for ``quiet`` seconds. Return the profiles.

    Raises:
        RuntimeError: this does not happen within ``patience`` seconds.
    """
    deadline, last, since = time.monotonic() + patience, None, time.monotonic()
    while time.monotonic() < deadline:
        try:
            now = [observe(node, name, namespace) for name in names]
        except RuntimeError:
            now = None
        if now is None or now != last or any(not p.publish for p in now):
            last, since = now, time.monotonic()
        elif time.monotonic() - since > quiet:
            return now
        rclpy.spin_once(node, timeout_sec=0.2)
    raise RuntimeError(f"the nodes {', '.join(names)} were still changing after {patience:g} s")


def policy_xml(profiles: Sequence[Profile]) -> str:
    """Return the policy file, with one enclave per profile: the node's full name, ``/NODE`` or ``/left/NODE``."""
    root = xml.Element("policy", version=VERSION)
    enclaves = xml.SubElement(root, "enclaves")
    for p in sorted(profiles, key=lambda p: p.node):
        profile = xml.SubElement(
            xml.SubElement(xml.SubElement(enclaves, "enclave", path=full_name(p.node, p.namespace)), "profiles"),
            "profile",
            ns=p.namespace,
            node=p.node,
        )
        for group, entry, qualifier, name in KINDS:
            if names := p.rules()[name]:
                rule = xml.SubElement(profile, group, {qualifier: "ALLOW"})
                for each in names:
                    xml.SubElement(rule, entry).text = each
    xml.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + xml.tostring(root, encoding="unicode") + "\n"


def main(argv: list[str] | None = None) -> int:
    """Run the command. Return 1 if a node is missing."""
    parser = argparse.ArgumentParser(
        prog="uma_ros.deployment.security",
        description="Write the SROS 2 policy of the running nodes in this ROS domain.",
    )
    parser.add_argument("nodes", nargs="+", help="names of nodes, such as policy controller")
    parser.add_argument("--namespace", default="", help="namespace of the nodes, such as left; empty: the root")
    parser.add_argument("--out", default="config/sros2_policy.xml")
    args = parser.parse_args(argv)
    check_namespace(args.namespace)
    rclpy.init()
    try:
        profiles = settled(Node("security"), args.nodes, namespace=full_name(args.namespace))
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        rclpy.try_shutdown()
    Path(args.out).write_text(policy_xml(profiles))
    return 0


if __name__ == "__main__":
    sys.exit(main())
