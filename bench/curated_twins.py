"""Twice the same demonstrations: with tracks of the curation chain, and with the simulator's true tracks.

    python bench/curated_twins.py --task intents/lift --seeds 590000:590120 --out data/twins

Both folders, `curated` and `true`, hold the same clips, keypoints, robot states and actions. Only the keypoints' motion
differs: in `true` every keypoint is known in every image. `uma train --data data/twins/curated` and the same with
`true` give two policies, which `uma benchmark` compares on equal scenes.

The chain sees noisy depth and colour and the robot's state, nothing else. Clips that it refuses are in neither folder.
Finished clips are kept, so the same command resumes.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from uma.model.config import PRESETS
from uma.types import InputError
from uma_train.curation.chain import Chain
from uma_train.curation.clip import Clip
from uma_train.curation.episodes import episode_of, keypoints_of
from uma_train.curation.simulated import Simulated, simulate
from uma_train.data.episode import EpisodeError, save_episode
from uma_train.data.sources.gates import Gates
from uma_train.jobs.receipts import write_json


def true_twin(made: Simulated, clip: Clip) -> Clip:
    """Return ``clip`` with the true motion of its queries, known in every image; what is not the object rests."""
    pixels, on = made.queried(clip)
    assert clip.query is not None
    x = np.repeat(clip.query[None, :, 1:].astype(np.float64), len(clip.video), 0)
    x[:, on] = made.follow(pixels[on])[0]
    return replace(clip, coords=x.astype(np.float32), visibs=np.ones(x.shape[:2], bool))


def chosen(clip: Clip, index: np.ndarray) -> Clip:
    """Return ``clip`` with the tracks of ``index`` alone."""
    assert clip.query is not None and clip.coords is not None and clip.visibs is not None
    on = None if clip.on_object is None else clip.on_object[index]
    return replace(
        clip, query=clip.query[index], coords=clip.coords[:, index], visibs=clip.visibs[:, index], on_object=on
    )


def twins(task: str, seed: int, out: Path) -> dict:
    """Make both episodes of one scene; return the receipt."""
    made = simulate(task, seed)
    if made.clip.outcome != "success":
        return {"result": "refused", "reason": "the expert fails"}
    points = PRESETS["small"]().points
    try:
        clip, facts = Chain()(made.clip)
        kept = chosen(clip, keypoints_of(clip))
        curated = episode_of(kept, points, Gates())
        twin = true_twin(made, kept)
        true = episode_of(twin, points, Gates())
    except (InputError, EpisodeError, ValueError) as error:
        return {"result": "refused", "reason": str(error)}
    save_episode(out / "curated" / f"{seed:07d}.npz", curated)
    save_episode(out / "true" / f"{seed:07d}.npz", true)
    assert kept.coords is not None and kept.visibs is not None and twin.coords is not None
    off = np.linalg.norm(kept.coords - twin.coords, axis=-1)[kept.visibs]
    return {
        "result": "kept",
        **facts,
        "valid": float(kept.visibs.mean()),
        "median_mm": 1e3 * float(np.median(off)),
        "p95_mm": 1e3 * float(np.percentile(off, 95)),
    }


def main() -> None:
    """Make the twins and print what was kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="intents/lift")
    parser.add_argument("--seeds", default="590000:590120", help="FIRST:END")
    parser.add_argument("--out", type=Path, default=Path("data/twins"))
    args = parser.parse_args()
    first, end = map(int, args.seeds.split(":"))
    for folder in ("curated", "true", "receipts"):
        (args.out / folder).mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in track(range(first, end), "clips"):
        path = args.out / "receipts" / f"{seed:07d}.json"
        if not path.exists():
            write_json(path, twins(args.task, seed, args.out))
        rows.append(json.loads(path.read_text()))
    kept = [row for row in rows if row["result"] == "kept"]
    console = Console()
    refused = dict(Counter(row["reason"] for row in rows if "reason" in row))
    console.print(f"{len(kept)} of {len(rows)} kept; refused: {refused}")
    for key in ("valid", "median_mm", "p95_mm"):
        console.print(f"{key}: median over clips {np.median([row[key] for row in kept]):.3g}")


if __name__ == "__main__":
    main()
