"""Generated input for every callback, service, parameter and file reader.

    python -m robustness.fuzz [--cases 10000] [--seed 0] [--only NAME ...]

A case fails in four ways: another error than the documented one, an error without the field or the file, more memory
than `MAX_PEAK`, or a target from bad input. The command prints a table of the entry points and the first case of every
kind of failure.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time

from robustness.fuzz.campaign import fuzz
from robustness.fuzz.catalog import targets

HEADROOM = 4 * 2**30
"""Address space beyond the usage at the start, bytes, for torch and mapped files."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000, help="number of cases of all entry points")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", metavar="NAME", help="prefixes of the names of entry points")
    args = parser.parse_args()
    chosen = [t for t in targets() if not args.only or t.name.startswith(tuple(args.only))]
    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + HEADROOM, resource.RLIM_INFINITY))
    whole, total, bad = sum(t.weight for t in chosen), 0, 0
    print(f"{'target':<26}{'cases':>7}{'accepted':>10}{'refused':>9}{'broken':>8}{'peak MiB':>10}{'s':>7}")
    breaks = []
    for target in chosen:
        began = time.monotonic()
        r = fuzz(target, round(args.cases * target.weight / whole), args.seed)
        total, bad = total + r.cases, bad + sum(r.kinds.values())
        print(
            f"{target.name:<26}{r.cases:>7}{r.accepted:>10}{r.refused:>9}"
            f"{sum(r.kinds.values()):>8}{r.peak / 2**20:>10.1f}{time.monotonic() - began:>7.1f}",
            flush=True,
        )
        breaks += [f"{target.name}: {kind} ({r.kinds[kind]} times): {example}" for kind, example in r.broken.items()]
    print(f"{total} cases, seed {args.seed}: {bad} broken, {len(breaks)} kinds of break")
    print("\n".join(breaks))
    return bool(bad)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # the nodes' threads do not end by themselves
