"""Fault injection on the running simulated graph while the arm moves; prints a table.

    python -m robustness.faults [--repeats 20] [--only NAME ...] [--json FILE] [--markdown] [--record]

Each fault begins while the arm moves to a point 35 cm away. "at rest" is the time from the fault to the last motion
faster than 5 mm/s, on the robot's clock, within four seconds. "peak" is the largest speed in that time.

In a safe run no target exceeds the speed of the plan plus the filter's catch-up. The arm exceeds the targets by at most
its overshoot, and comes to rest if the fault requires it. The last column contains the controller's reason. After the
fault a new task follows, with /uma/start if required, and the arm must move.

With --record every run has its own graph and bag. A second table counts the messages before the fault that are missing
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
    parser.add_argument("--json", default="", help="file of the results; the same command resumes an interrupted run")
    parser.add_argument(
        "--record", action="store_true", help="record a bag of every run and check it for messages before the fault"
    )
    parser.add_argument("--markdown", action="store_true", help="print the table as in doc/results/faults.md")
    args = parser.parse_args()
    console, rows = Console(width=200), {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"UMA_TEST_SLOW": str(Path(folder) / "slow"), "UMA_TEST_GRIP": str(Path(folder) / "grip")}
        if args.json and Path(args.json).exists():
            rows = json.loads(Path(args.json).read_text())
        # Round by round, so that an interrupted run has repeated all faults equally often.
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
