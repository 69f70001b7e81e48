"""What happens when something breaks while the arm moves: every fault on the live simulated graph, as a table.

    python -m robustness.faults [--repeats 20] [--only NAME ...] [--json FILE] [--markdown] [--record]

Each time the arm is under way to a point 35 cm off when the fault begins. "at rest" is how long after that the arm
moved for the last time (faster than 5 mm/s, by the robot's own clock, looked at for four seconds); "peak" is its
fastest in that time. Safe is a run in which no target is faster than the plan with what the filter may add, nor the arm
by more than its own overshoot, and which comes to rest where it has to. "said" is what the controller gave as its
reason. After the fault is over a new task is given, with /uma/start if it is asked for, and the arm has to move. With
--record every run has a graph and a bag of its own, and a second table says what was heard before the fault and is not
in the bag.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.progress import track

from robustness.faults.bag import bag_table
from robustness.faults.bench import FASTEST, OVERSHOOT, Bench, is_safe
from robustness.faults.catalog import FAULTS
from robustness.faults.table import for_people, markdown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--only", nargs="*", default=list(FAULTS), choices=list(FAULTS), metavar="NAME")
    parser.add_argument(
        "--json", default="", help="what came of every run; the same command goes on where it was cut off"
    )
    parser.add_argument(
        "--record", action="store_true", help="a bag of every run, and whether it has what was heard before the fault"
    )
    parser.add_argument("--markdown", action="store_true", help="the table as in doc/results/faults.md")
    args = parser.parse_args()
    console, rows = Console(width=200), {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"UMA_TEST_SLOW": str(Path(folder) / "slow"), "UMA_TEST_GRIP": str(Path(folder) / "grip")}
        if args.json and Path(args.json).exists():
            rows = json.loads(Path(args.json).read_text())
        # Round by round, so that a run that is cut off has seen every fault about as often.
        jobs = [name for i in range(args.repeats) for name in args.only if len(rows.get(name, ())) <= i]
        bench = Bench(Path(folder), args.record)
        try:
            for name in track(jobs, "faults", console=Console(stderr=True)):
                Path(os.environ["UMA_TEST_SLOW"]).unlink(missing_ok=True)
                rows.setdefault(name, []).append(bench.run(name))
                if args.json:
                    part = Path(args.json + ".part")
                    part.write_text(json.dumps(rows, indent=2) + "\n")
                    os.replace(part, args.json)
        finally:
            bench.close()
    rows = {name: rows[name] for name in args.only if name in rows}
    if args.markdown:
        print(markdown(rows))
    else:
        console.print(
            for_people(
                rows,
                f"seed 3, a scripted policy; no target may be faster than {FASTEST:.2f} m/s, nor the arm "
                f"than {FASTEST + OVERSHOOT:.2f}",
            )
        )
    if args.record:
        console.print(bag_table(rows))
    return int(any(not is_safe(r) for runs in rows.values() for r in runs))


if __name__ == "__main__":
    sys.exit(main())
