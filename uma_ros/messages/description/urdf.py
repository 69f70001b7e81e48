"""URDF of a robot: XML with primitive shapes, and meshes of an installed package in their place."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from xml.etree import ElementTree as xml

import numpy as np

from uma_ros.messages.description.tree import COLORS, Box, Cylinder, Joint, Link, RobotTree, Solid


def mesh_folder() -> Path | None:
    """Return the folder of the FR3's meshes in the package franky-sim, which is not imported; None without it."""
    found = importlib.util.find_spec("franky_sim")
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent / "assets/meshes"
    return folder if folder.is_dir() else None


def urdf(tree: RobotTree, meshes: Path | None = None) -> str:
    """Return the URDF of a robot.

    Args:
        meshes: folder of mesh files on this machine. A link is drawn with its mesh if the file is there, and with its
            shapes otherwise. The collision geometry always has the shapes.
    """
    root = xml.Element("robot", name=tree.name)
    for name, color in COLORS.items():
        xml.SubElement(xml.SubElement(root, "material", name=name), "color", rgba=_numbers(color))
    for link in tree.links:
        _add_link(root, link, meshes)
    for joint in tree.joints:
        _add_joint(root, joint)
    xml.indent(root)
    return '<?xml version="1.0"?>\n' + xml.tostring(root, encoding="unicode")


def _add_link(root: xml.Element, link: Link, meshes: Path | None) -> None:
    element = xml.SubElement(root, "link", name=link.name)
    mesh = meshes / link.mesh if meshes and link.mesh else None
    if mesh and mesh.is_file():
        geometry = xml.SubElement(xml.SubElement(element, "visual"), "geometry")
        xml.SubElement(geometry, "mesh", filename=mesh.as_uri())
    else:
        for solid in link.solids:
            visual = _add_solid(element, "visual", solid)
            xml.SubElement(visual, "material", name=solid.color)
    for solid in link.solids:
        _add_solid(element, "collision", solid)


def _add_solid(link: xml.Element, kind: str, solid: Solid) -> xml.Element:
    element = xml.SubElement(link, kind)
    _add_origin(element, solid.T_link_shape)
    geometry, shape = xml.SubElement(element, "geometry"), solid.shape
    if isinstance(shape, Box):
        xml.SubElement(geometry, "box", size=_numbers(shape.size))
    elif isinstance(shape, Cylinder):
        xml.SubElement(geometry, "cylinder", radius=_numbers([shape.radius]), length=_numbers([shape.length]))
    else:
        xml.SubElement(geometry, "sphere", radius=_numbers([shape.radius]))
    return element


def _add_joint(root: xml.Element, joint: Joint) -> None:
    turn = joint.turn
    element = xml.SubElement(root, "joint", name=joint.name, type="revolute" if turn else "fixed")
    xml.SubElement(element, "parent", link=joint.parent)
    xml.SubElement(element, "child", link=joint.child)
    _add_origin(element, joint.T_parent_child)
    if turn is None:
        return
    xml.SubElement(element, "axis", xyz=_numbers(turn.axis))
    limits = {"lower": turn.lower, "upper": turn.upper, "velocity": turn.speed, "effort": turn.effort}
    xml.SubElement(element, "limit", {name: _numbers([value]) for name, value in limits.items()})
    if turn.follows:
        xml.SubElement(element, "mimic", joint=turn.follows, multiplier=_numbers([turn.factor]))


def _add_origin(element: xml.Element, T: np.ndarray) -> None:
    xml.SubElement(element, "origin", xyz=_numbers(T[:3, 3]), rpy=_numbers(roll_pitch_yaw(T[:3, :3])))


def roll_pitch_yaw(R: np.ndarray) -> tuple[float, float, float]:
    """Return the angles of a rotation ``(3, 3)`` about the fixed axes x, y, z in this order, rad, as URDF has them.

    Where the pitch is a quarter turn, the yaw is 0.
    """
    across = math.hypot(R[0, 0], R[1, 0])
    pitch = math.atan2(-R[2, 0], across)
    if across < 1e-9:
        return math.atan2(-R[1, 2], R[1, 1]), pitch, 0.0
    return math.atan2(R[2, 1], R[2, 2]), pitch, math.atan2(R[1, 0], R[0, 0])


def _numbers(values) -> str:
    return " ".join(f"{round(float(v), 12) + 0.0:.12g}" for v in values)
