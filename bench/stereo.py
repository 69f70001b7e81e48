"""Depth of the simulated camera against the true depth: by the noise model, and matched from two images.

    python bench/stereo.py [--scenes 5] [--first-seed 7700000] [--json FILE]

Each kind of intent has as many scenes, seen before any motion. Times are of processor time, on one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

os.environ.setdefault("MUJOCO_GL", "egl")

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from uma.geometry import se3
from uma.geometry.camera import unproject
from uma_sim.robot.camera import Renderer, sense
from uma_sim.station import DEPTHS, Station
from uma_sim.tasks import MODULES, make_station

ROUNDS = 3
"""Timed images per scene."""


def surfaces(station: Station) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the true depth ``(H, W)`` metres, and the masks of what both lenses see: all, table and object."""
    renderer = Renderer(station.model)
    size = (station.camera.width, station.camera.height)
    true = renderer.render(station.data, *size)[1]
    own = np.isin(station.model.geom_bodyid, list(station.object.bodies))
    colors = station.model.geom_rgba.copy()
    station.model.geom_rgba[own, 3] = 0.0
    behind = renderer.render(station.data, *size)[1]
    station.model.geom_rgba[:] = colors
    renderer.close()
    points = se3.apply(station.T_base_cam, unproject(true, station.camera).reshape(-1, 3)).reshape(*true.shape, 3)
    is_table = (np.abs(points[..., 2]) < 0.003) & (np.abs(points[..., :2] - [0.5, 0]) < [0.3, 0.4]).all(-1)
    is_seen = np.isfinite(sense(np.zeros((*true.shape, 3), np.uint8), true, station.camera, None)[1])
    return true, {"all": is_seen, "table": is_seen & is_table, "object": is_seen & (behind - true > 1e-3)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=5, help="scenes per kind of intent")
    parser.add_argument("--first-seed", type=int, default=7_700_000)
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    kinds = [name for name in MODULES if name.startswith("intents/")]
    found: dict = {depth: {} for depth in DEPTHS}
    times: dict[str, list[float]] = {depth: [] for depth in DEPTHS}
    valid: dict[str, list[float]] = {depth: [] for depth in DEPTHS}
    jobs = [(kind, args.first_seed + i, depth) for kind in kinds for i in range(args.scenes) for depth in DEPTHS]
    for kind, seed, depth in track(jobs, "images", console=Console(stderr=True)):
        station = make_station(seed, kind, depth=depth)
        true, masks = surfaces(station)
        station.observe()
        for _ in range(ROUNDS):
            began = time.process_time()
            measured = station.observe().depth
            times[depth].append(1e3 * (time.process_time() - began))
        station.close()
        valid[depth].append(float(np.isfinite(measured).mean()))
        for name, mask in masks.items():
            found[depth].setdefault(name, []).append((measured - true)[mask])
    rows = []
    for depth in DEPTHS:
        row: dict = {"depth": depth, "ms": float(np.median(times[depth])), "valid": float(np.mean(valid[depth]))}
        for name, errors in found[depth].items():
            every = np.concatenate(errors)
            known = every[np.isfinite(every)]
            row[name] = {
                "pixels": len(every),
                "valid": len(known) / len(every),
                "bias_mm": 1e3 * float(np.median(known)),
                "median_mm": 1e3 * float(np.median(np.abs(known))),
                "p95_mm": 1e3 * float(np.percentile(np.abs(known), 95)),
                "off_by_2cm": float((np.abs(known) > 0.02).mean()),
            }
        rows.append(row)
    table = Table("depth", "surface", "pixels", "valid", "median", "95 %", "bias", "off by over 2 cm")
    for row in rows:
        for name in ("all", "table", "object"):
            r = row[name]
            mm = (f"{r[key]:.1f} mm" for key in ("median_mm", "p95_mm", "bias_mm"))
            table.add_row(row["depth"], name, str(r["pixels"]), f"{r['valid']:.1%}", *mm, f"{r['off_by_2cm']:.1%}")
    console = Console(width=120)
    console.print(table)
    for row in rows:
        console.print(f"{row['depth']}: {row['ms']:.1f} ms an image, {row['valid']:.1%} of all pixels valid")
    if args.json:
        args.json.write_text(json.dumps({"scenes": len(kinds) * args.scenes, "rows": rows}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
