"""The Franka Research 3 arm as an `MjSpec`, from the model that the `franky-sim` package ships."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np

from uma.geometry import fr3

VELOCITY_LIMIT = np.array([2.0, 1.6, 2.0, 2.0, 3.5, 2.8, 3.5])
"""``(7,)`` rad/s; below the FR3's own limits, as a Cartesian controller on the real arm is set."""

STIFFNESS = np.array([4500.0, 4500.0, 3500.0, 3500.0, 2000.0, 2000.0, 2000.0])
TIME_CONSTANT = 0.05
"""Seconds by which the joints lag behind their command (damping over stiffness of the position actuators)."""

ROBOT_CONTACT = (4, 3)
"""contype, conaffinity of the robot: it meets the world (1) and the object (2), and never itself."""


def _franky_assets() -> Path:
    try:
        import franky_sim
    except ImportError as error:
        raise ImportError(
            "the simulated station needs the FR3 model of the 'franky-sim' package: pip install 'uma[sim]'"
        ) from error
    return Path(franky_sim.__file__).parent / "assets"


def arm_spec(visual: bool = False) -> mujoco.MjSpec:
    """The FR3 without a hand, with a site ``flange`` at ``fr3_link8`` and one position actuator per joint.

    Args:
        visual: keep the detailed visual meshes (for pictures; slow to draw) instead of drawing the collision meshes.
    """
    assets = _franky_assets()
    spec = mujoco.MjSpec.from_file(str(assets / "fr3.xml"))
    spec.meshdir = str(assets / "meshes")
    spec.compiler.degree = False
    for element in [*spec.keys, *spec.equalities, *spec.tendons, *spec.excludes, spec.actuator("hand")]:
        spec.delete(element)
    spec.delete(spec.body("hand"))
    for geom in list(spec.geoms):
        is_visual = geom.classname.name == "visual"
        if is_visual and not visual:
            spec.delete(geom)
        elif not is_visual:
            geom.contype, geom.conaffinity = ROBOT_CONTACT
            # Alternating shades, as on the real arm, so that the plain collision meshes still read as links.
            geom.rgba = [0.93, 0.93, 0.94, 1] if int(geom.meshname[4]) % 2 == 0 else [0.80, 0.81, 0.83, 1]
    kept = {geom.meshname for geom in spec.geoms}
    for mesh in list(spec.meshes):
        if mesh.name not in kept:
            spec.delete(mesh)
    for body in spec.bodies:
        body.gravcomp = 1.0  # as on the real arm, whose controller compensates gravity
    for actuator, kp in zip(spec.actuators, STIFFNESS, strict=True):
        actuator.gainprm[0] = kp
        actuator.biasprm[1], actuator.biasprm[2] = -kp, -kp * TIME_CONSTANT
    spec.body("fr3_link7").add_site(name="flange", pos=[0, 0, fr3.FLANGE], group=4)
    return spec
