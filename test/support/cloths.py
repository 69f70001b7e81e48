"""A cloth that is set down in a given shape."""

import mujoco
import numpy as np

from uma_sim.station import Station


def put_vertices(station: Station, vertices: np.ndarray) -> None:
    """Set the cloth down in the shape of ``(ROWS, COLUMNS, 3)``, without letting time pass."""
    data = station.data
    before = station.object.vertices().reshape(-1, 3)
    bodies = station.object._bodies
    R = data.xmat[bodies[0]].reshape(3, 3)
    slides = station.model.jnt_qposadr[station.model.body_jntadr[bodies]][:, None] + np.arange(3)
    data.qpos[slides] += (vertices.reshape(-1, 3) - before) @ R
    data.qvel[:] = 0
    mujoco.mj_forward(station.model, data)
