"""The Franka Research 3 arm as an `MjSpec`, from the model of the `franky-sim` package."""

from __future__ import annotations

from pathlib import Path

import mujoco
import numpy as np

from uma.geometry import fr3

VELOCITY_LIMIT = np.array([2.0, 1.6, 2.0, 2.0, 3.5, 2.8, 3.5])
"""``(7,)`` rad/s; below the FR3's own limits, like a Cartesian controller on the real arm."""

STIFFNESS = np.array([4500.0, 4500.0, 3500.0, 3500.0, 2000.0, 2000.0, 2000.0])
TIME_CONSTANT = 0.05
"""Lag of the joints behind their command, seconds (damping over stiffness of the position actuators)."""

ROBOT_CONTACT = (4, 3)
"""contype, conaffinity of the robot: contacts with the world (1) and the object (2), none with itself."""


def _franky_assets() -> Path:
    try:
        import franky_sim
    except ImportError as error:
        raise ImportError(
            "the simulated station needs the FR3 model of the 'franky-sim' package: pip install 'uma[sim]'"
        ) from error
    return Path(franky_sim.__file__).parent / "assets"


def arm_spec(visual: bool = False) -> mujoco.MjSpec:
    """Return the FR3 without a hand, with a site ``flange`` at ``fr3_link8`` and one position actuator per joint.

    Args:
        visual: draw the detailed visual meshes (for pictures; slow) instead of the collision meshes.
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
            # Alternating shades, as on the real arm, distinguish the links of the plain collision meshes.
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
