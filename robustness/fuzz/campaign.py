"""Generated input at every callback, service, parameter and file reader: nothing crashes, nothing moves, and what is
refused is named.

    python test/property/fuzz.py [--cases 10000] [--seed 0] [--only NAME ...]

A case is broken if anything but the documented error comes out, if the error does not name the field or the file, if
memory is taken beyond
`MAX_PEAK`, or if the controller sends a target that it should not. Prints a table of the targets and the first case of
every kind of break.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time
import traceback
import tracemalloc
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
import conftest  # noqa: E402, F401  (a ROS domain of its own on this host)
from hypothesis import HealthCheck, Phase, given, seed, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

MAX_PEAK = 64 * 2**20
"""Bytes that one case may take, as Python and NumPy count them."""
HEADROOM = 4 * 2**30
"""Bytes of address space over what is in use at the start, for what they do not count: torch's memory, and files that
are mapped."""


class Broken(AssertionError):
    """A case did what no input may do."""


@dataclass(frozen=True)
class Target:
    """One door through which input comes.

    Attributes:
        name: for people.
        cases: generates the input.
        run: puts a case through; True if it was accepted, False if it was refused as documented. Raises for anything
            else.
        weight: share of the cases, against the other targets'.
    """

    name: str
    cases: st.SearchStrategy
    run: Callable[[object], bool]
    weight: float = 1.0


@dataclass
class Result:
    """What became of a target's cases. ``broken``: kind of break -> its first case."""

    cases: int = 0
    accepted: int = 0
    refused: int = 0
    peak: int = 0
    broken: dict[str, str] = field(default_factory=dict)
    kinds: Counter = field(default_factory=Counter)


def expect(condition: bool, words: str) -> None:
    """Raise `Broken` unless ``condition`` holds."""
    if not condition:
        raise Broken(words)


@cache
def read_constants() -> None:
    """Hypothesis also draws from the constants of all loaded modules of the project, which it reads when it first wants
    one: not while memory is traced, when that takes a minute."""

    @settings(max_examples=100, deadline=None, database=None, phases=[Phase.generate])
    @given(st.integers(), st.text())
    def nothing(number: int, text: str) -> None: ...

    nothing()


def fuzz(target: Target, count: int, number: int) -> Result:
    """Put up to ``count`` generated cases through a target; fewer where there are no more."""
    result = Result()

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(target.cases)
    def one(case: object) -> None:
        result.cases += 1
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        try:
            accepted = target.run(case)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            kind = (
                str(error)[:160]
                if isinstance(error, Broken)
                else f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}"
            )
            result.kinds[kind] += 1
            result.broken.setdefault(kind, f"{str(error)[:200]} <- {case!r:.300}")
        else:
            result.accepted += accepted
            result.refused += not accepted
        peak = tracemalloc.get_traced_memory()[1] - before
        result.peak = max(result.peak, peak)
        if peak > MAX_PEAK:
            result.kinds["memory"] += 1
            result.broken.setdefault("memory", f"{peak / 2**20:.0f} MiB <- {case!r:.300}")

    read_constants()
    tracemalloc.start()
    try:
        one()
    finally:
        tracemalloc.stop()
    return result


def targets() -> list[Target]:
    """All of them; the nodes that they need are made here."""
    from fuzz_files import file_targets
    from fuzz_messages import message_targets
    from fuzz_nodes import node_targets

    return [*message_targets(), *node_targets(), *file_targets()]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=10_000, help="of all targets together")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", metavar="NAME", help="targets whose name begins so")
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
            f"{target.name:<26}{r.cases:>7}{r.accepted:>10}{r.refused:>9}{sum(r.kinds.values()):>8}{r.peak / 2**20:>10.1f}{time.monotonic() - began:>7.1f}",
            flush=True,
        )
        breaks += [f"{target.name}: {kind} ({r.kinds[kind]} times): {example}" for kind, example in r.broken.items()]
    print(f"{total} cases, seed {args.seed}: {bad} broken, {len(breaks)} kinds of break")
    print("\n".join(breaks))
    return bool(bad)


if __name__ == "__main__":
    import fuzz as once  # the targets' own, and no second of this name

    code = once.main()
    sys.stdout.flush()
    os._exit(code)  # the nodes have threads that wait for nobody
