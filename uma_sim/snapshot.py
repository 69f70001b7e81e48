"""A scene in motion as a file, from which the same station goes on."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import mujoco
import numpy as np

from uma.types import InputError
from uma_sim.station import Station
from uma_sim.tasks import MODULES, make_station

STATE = mujoco.mjtState.mjSTATE_INTEGRATION
"""Everything from which MuJoCo computes the next step."""
HELD = ("eq_obj2id", "eq_data")
"""Arrays of the model that a pinch of the cloth changes."""


def save_snapshot(station: Station, path: str | Path) -> None:
    """Write the state of a station (``.npz``), through a temporary file and a rename."""
    state = np.empty(mujoco.mj_stateSize(station.model, STATE))
    mujoco.mj_getState(station.model, station.data, state, STATE)
    meta = {"task": station.task.name, "seed": station.seed}
    part = Path(path).with_suffix(".part")
    with open(part, "wb") as file:
        np.savez(
            file,
            meta=np.frombuffer(json.dumps(meta).encode(), np.uint8),
            state=state,
            **{name: getattr(station.model, name) for name in HELD},
            **{name: np.asarray(value) for name, value in station.motion().items()},
        )
    os.replace(part, path)


def load_snapshot(path: str | Path, noise: bool = True) -> Station:
    """Build the station of a snapshot; the caller closes it. Its noise is drawn anew.

    Raises:
        InputError: no snapshot, or one of another scene.
    """
    try:
        with np.load(path, allow_pickle=False) as z:
            values = {name: z[name] for name in z.files}
        meta = json.loads(bytes(values.pop("meta")).decode())
        task, seed = str(meta["task"]), int(meta["seed"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"snapshot: {path}: not a snapshot of a scene: {error}") from None
    if task not in MODULES:
        raise InputError(f"snapshot: {path}: task {task!r}, must be one of {', '.join(MODULES)}")
    station = make_station(seed, task, noise=noise)
    try:
        state, size = values.pop("state"), mujoco.mj_stateSize(station.model, STATE)
        if state.shape != (size,) or not np.isfinite(state).all():
            raise InputError(f"snapshot: {path}: a state of shape {state.shape}, must be {size} finite numbers")
        mujoco.mj_setState(station.model, station.data, state, STATE)
        for name in HELD:
            getattr(station.model, name)[:] = values.pop(name)
        station.resume(values)
    except (KeyError, ValueError) as error:
        station.close()
        raise error if isinstance(error, InputError) else InputError(f"snapshot: {path}: {error}") from None
    return station
