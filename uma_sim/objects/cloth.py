"""A cloth as a MuJoCo flex: a grid of vertices with inextensible edges and the bending stiffness of denim."""

from __future__ import annotations

from dataclasses import dataclass

import mujoco
import numpy as np

from uma_sim.objects import contacts
from uma_sim.robot import gripper

PREFIX = "jeans_"
"""Prefix of the cloth's names."""

ROWS, COLUMNS = 10, 9
"""Vertices along the cloth's y (the folding direction) and along its negative x."""

RADIUS = 0.005
"""Half thickness of the cloth, metres, as of trousers with four layers of denim."""


HOLDS = 2
"""Largest number of vertices in a pinch."""

PINCH = np.array([0.018, 0.009, 0.022])
"""Half extents of the pinch volume about the pads' centre, metres: pad width, across the jaws, along the fingers."""


@dataclass(frozen=True)
class Cloth:
    """One cloth lying on the table. In its frame y is the folding direction, x runs along the crease, and the origin is
    its centre.

    Attributes:
        spacing: ``(x, y)`` metres between vertices.
        mass: kilograms.
        stiffness: Young's modulus of its bending, Pa.
        color: RGBA.
    """

    spacing: tuple[float, float]
    mass: float
    stiffness: float
    color: tuple[float, ...]

    @property
    def half_size(self) -> np.ndarray:
        """``(2,)`` metres from the centre to the edges along x and y."""
        return np.array([(COLUMNS - 1) * self.spacing[0], (ROWS - 1) * self.spacing[1]]) / 2

    def flat(self) -> np.ndarray:
        """Return ``(ROWS, COLUMNS, 2)`` x, y of the flat vertices in its frame."""
        half = self.half_size
        y, x = np.meshgrid(np.linspace(-half[1], half[1], ROWS), np.linspace(half[0], -half[0], COLUMNS), indexing="ij")
        return np.stack([x, y], -1)


def add_cloth(spec: mujoco.MjSpec, cloth: Cloth, position: np.ndarray, yaw: float) -> None:
    """Add ``cloth`` as the flex ``cloth`` with its centre at ``position`` (2,) on the table, rotated by ``yaw`` about
    base z.

    Its vertices touch the world by one small sphere each, because contacts of triangles are slow.
    """
    sx, sy = cloth.spacing
    text = f"""
    <mujoco><worldbody>
      <flexcomp name="cloth" type="grid" dim="2" count="{ROWS} {COLUMNS} 1" spacing="{sy} {sx} {sx}"
          mass="{cloth.mass}" radius="{RADIUS}">
        <contact selfcollide="none" contype="0" conaffinity="0"/>
        <edge equality="true"/>
        <elasticity young="{cloth.stiffness}" poisson="0.1" thickness="0.002" damping="0.001" elastic2d="bend"/>
      </flexcomp>
    </worldbody></mujoco>"""
    part = mujoco.MjSpec.from_string(text)
    part.flexes[0].rgba = cloth.color
    for body in part.bodies:
        if body.name.startswith("cloth_"):
            body.add_geom(type=mujoco.mjtGeom.mjGEOM_SPHERE, size=[RADIUS, 0, 0], mass=0.0, group=4, **contacts.SOFT)
    # The grid's first direction is the frame's x; ours is y.
    angle = yaw + np.pi / 2
    frame = spec.worldbody.add_frame(pos=[*position, RADIUS + 0.001], quat=[np.cos(angle / 2), 0, 0, np.sin(angle / 2)])
    spec.attach(part, prefix=PREFIX, frame=frame)
    for i in range(HOLDS):
        spec.add_equality(
            name=f"hold{i}",
            type=mujoco.mjtEq.mjEQ_CONNECT,
            objtype=mujoco.mjtObj.mjOBJ_BODY,
            name1="gripper/base",
            name2=f"{PREFIX}cloth_{i}",
            active=False,
            solref=[0.005, 1],
            solimp=[0.95, 0.99, 0.001, 0.5, 2],
        )
    # Elastic flexes do not support the integrator of the rigid tasks.
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_EULER


class ClothObject:
    """The cloth as the object of a task.

    Closing pads must meet a vertex and stop on it, as with any object. Friction alone lets a coarse cloth creep out of
    the grasp. So an equality constraint ties the pinched vertices, at most `HOLDS`, to the closed gripper. A missed
    pinch holds nothing.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        self._model, self._data = model, data
        self._bodies = np.array([model.body(f"{PREFIX}cloth_{i}").id for i in range(ROWS * COLUMNS)])
        self.bodies = frozenset(self._bodies.tolist())
        self._spheres = np.array([model.body_geomadr[b] for b in self._bodies])
        self._dofs = model.body_dofadr[self._bodies][:, None] + np.arange(3)
        self._pads = [model.geom(pad).id for pad in gripper.PADS]
        self._base = model.body("gripper/base").id
        self._holds = [model.equality(f"hold{i}").id for i in range(HOLDS)]
        rows, columns = (
            np.linspace(0, ROWS - 1, 4).round().astype(int),
            np.linspace(0, COLUMNS - 1, 4).round().astype(int),
        )
        self._tracked = (rows[:, None] * COLUMNS + columns).ravel()

    def tracked_indices(self) -> np.ndarray:
        """Return the ``(16,)`` vertex indices of `points`, row by row."""
        return self._tracked.copy()

    def vertices(self) -> np.ndarray:
        """Return ``(ROWS, COLUMNS, 3)`` in the base frame."""
        return self._data.xpos[self._bodies].reshape(ROWS, COLUMNS, 3)

    def points(self) -> np.ndarray:
        """Return ``(16, 3)`` current positions of four by four vertices, spread to the edges, base frame."""
        return self._data.xpos[self._bodies[self._tracked]].copy()

    def speed(self) -> float:
        """Speed of the fastest vertex, m/s."""
        return float(np.linalg.norm(self._data.qvel[self._dofs], axis=-1).max())

    def is_held(self) -> bool:
        """Whether a pinch holds it."""
        return bool(self._data.eq_active[self._holds].any())

    def held(self) -> np.ndarray:
        """Return the ``(n, 3)`` held vertices in the base frame; empty without a pinch."""
        active = [h for h in self._holds if self._data.eq_active[h]]
        return self._data.xpos[self._model.eq_obj2id[active]]

    def pads_in_contact(self) -> int:
        """Return 2 if a pinch holds it, else the number of pads in contact."""
        return 2 if self.is_held() else len({pad for pad, _ in self._touched()})

    def distance(self, point: np.ndarray) -> float:
        """Return the metres from ``point`` ``(3,)`` to the nearest vertex."""
        return float(np.linalg.norm(self._data.xpos[self._bodies] - point, axis=-1).min())

    def _touched(self) -> list[tuple[int, int]]:
        """Return (pad, vertex geom) of every contact between them."""
        geoms = self._data.contact.geom
        pairs = [(a, b) if a in self._pads else (b, a) for a, b in geoms.tolist() if a in self._pads or b in self._pads]
        return [(pad, other) for pad, other in pairs if other in self._spheres]

    def control(self, grip: float, command: float) -> None:
        """Start a pinch when the closing jaws meet vertices, and end it on an open command."""
        data, model = self._data, self._model
        if command < 0.5:
            data.eq_active[self._holds] = 0
            return
        if self.is_held() or not 0.6 < grip < 0.97:
            return
        R, p = data.xmat[self._base].reshape(3, 3), data.xpos[self._base]
        middle = data.geom_xpos[self._pads].mean(0)
        local = (data.xpos[self._bodies] - middle) @ R
        touched = {sphere for _, sphere in self._touched()}
        pinched = [
            i for i in range(len(self._bodies)) if (np.abs(local[i]) < PINCH).all() and int(self._spheres[i]) in touched
        ]
        for hold, i in zip(self._holds, sorted(pinched, key=lambda i: abs(local[i, 0])), strict=False):
            model.eq_obj2id[hold] = self._bodies[i]
            model.eq_data[hold, :3] = R.T @ (data.xpos[self._bodies[i]] - p)
            model.eq_data[hold, 3:6] = 0.0
            data.eq_active[hold] = 1
