"""How often the calibration gate keeps right calibrations, and refuses wrong ones, on simulated clips.

    python bench/calibration_gate.py [--task intents/lift] [--seeds 591000:591030]

Wrong ones shift the camera's pose by 10 to 20 cm or turn it by 11 degrees (`WRONG`). Every second image counts.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import replace

import numpy as np
from rich.console import Console
from rich.progress import track
from scipy.spatial.transform import Rotation

from uma.geometry import se3
from uma_train.curation.clip import demonstration_of
from uma_train.curation.simulated import simulate
from uma_train.data.sources.gates import Gates, Refused, check_sights, sight

WRONG = {
    "x +20 cm": ((0.2, 0, 0), (0, 0, 0)),
    "x -20 cm": ((-0.2, 0, 0), (0, 0, 0)),
    "y +20 cm": ((0, 0.2, 0), (0, 0, 0)),
    "y -20 cm": ((0, -0.2, 0), (0, 0, 0)),
    "x, y +10 cm": ((0.1, 0.1, 0), (0, 0, 0)),
    "z +15 cm": ((0, 0, 0.15), (0, 0, 0)),
    "about x by 11 deg": ((0, 0, 0), (0.2, 0, 0)),
    "about y by 11 deg": ((0, 0, 0), (0, 0.2, 0)),
}
"""Name -> metres and rotation vector, rad, of the error in the camera's frame."""


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="intents/lift")
    parser.add_argument("--seeds", default="591000:591030", help="FIRST:END")
    args = parser.parse_args()
    first, end = map(int, args.seeds.split(":"))
    refused, count = Counter[str](), 0
    errors = {"right": np.eye(4)}
    errors |= {name: se3.make_pose(Rotation.from_rotvec(r).as_matrix(), np.array(t)) for name, (t, r) in WRONG.items()}
    for seed in track(range(first, end), "clips"):
        made = [o for _, o in demonstration_of(simulate(args.task, seed).clip).observations()][::2]
        count += 1
        for name, D in errors.items():
            try:
                check_sights([sight(replace(o, T_cam_ee=D @ o.T_cam_ee)) for o in made], Gates())
            except Refused:
                refused[name] += 1
    console = Console()
    for name in errors:
        console.print(f"{name}: {refused[name]} of {count} refused")
    wrong = sum(refused[name] for name in WRONG)
    console.print(f"all wrong ones: {wrong} of {count * len(WRONG)} refused")


if __name__ == "__main__":
    main()
