"""`map`: a function over items with receipts, progress and a card. The same call resumes."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from uma.types import InputError
from uma_train.jobs.local import LocalPool
from uma_train.jobs.rays import RayPool
from uma_train.jobs.receipts import (
    CARD,
    DIED,
    ELSEWHERE,
    FAILED,
    OK,
    REFUSED,
    Item,
    Receipt,
    check_items,
    read_receipt,
    write_json,
)
from uma_train.jobs.recorded import Recorded, save_arrays
from uma_train.jobs.schedule import DONE, STEP, Event, Pool, Stopped, run_items

MAX_FAILED = 0.2
"""Share of failed and died items beyond which a command ends with an error."""
LEFT, KEPT = "left", "already"
"""Counts of items without a receipt, and of those that were done before."""
Card = Mapping[str, Any] | Callable[[], Mapping[str, Any]]
COLUMNS = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())


def map(
    fn: Callable[[Item, Any], Any],
    items: Sequence[Item],
    out: str | Path,
    key: str,
    executor: str = "local",
    workers: int = 2,
    num_cpus: float = 1.0,
    num_gpus: float = 0.0,
    timeout_s: float = 0.0,
    retry_failed: bool = False,
    *,
    setup: Callable[[], Any] | None = None,
    save: Callable[[Path, Any], object] = save_arrays,
    suffix: str = ".npz",
    slice: str = "0/1",
    name: str = "items",
    card: Card | None = None,
    console: Console | None = None,
) -> dict[str, int]:
    """Do every item that is due; its output is ``out/ID.npz``, its receipt ``out/ID.json``, the card ``card.json``.

    An item is due without a receipt, with one of another key, without its output, or after its worker died. Errors of
    an item are recorded and not raised. Ctrl-C ends the workers and leaves a folder that the same call completes.

    Args:
        fn: (item, what ``setup`` returned) -> arrays; a function of a module. It raises `InputError` to refuse an item.
        items: mappings of JSON values with a unique "id"; another value makes the item due.
        key: of the job, see `uma_train.jobs.receipts.job_key`.
        executor: local, processes of this machine; slice, the same for a slice of the items; ray, actors of Ray.
        workers: processes or actors.
        num_cpus, num_gpus: of each actor of Ray.
        timeout_s: a worker that takes longer for an item is killed; 0 = no limit.
        retry_failed: also do what failed or was refused with the same key.
        setup: called once in each worker, such as to load a model.
        save, suffix: write an output, and its file's ending.
        slice: RANK/WORLD, every WORLD-th item from RANK on.
        name: of the items, for the progress.
        card: further JSON values for the card, such as licences; or a function that returns them when it is written.

    Returns:
        Counts of the slice's items: ok, failed, died, refused, left (without a receipt); and of this call: already
        (done before), elsewhere (another run has them). The card counts all slices.

    Raises:
        InputError: an unusable name of an item, slice or executor.
    """
    check_items(items)
    rank, world = parsed_slice(slice)
    out, console = Path(out), console or Console()
    out.mkdir(parents=True, exist_ok=True)
    work = Recorded(fn, out.resolve(), key, save, suffix, retry_failed)
    mine = [dict(item) for item in itertools.islice(items, rank, None, world)]
    due = [item for item in mine if work.is_due(item)]
    this_call = Counter({KEPT: len(mine) - len(due), ELSEWHERE: 0})
    stopped = ""
    try:
        if due:
            pool = _pool(executor, work, setup, num_cpus, num_gpus)
            events = run_items(pool, due, workers, timeout_s)
            with contextlib.closing(events), _bar(name, len(mine), len(mine) - len(due), console) as step:
                for event in events:
                    if event.kind != STEP:
                        this_call[_receipt(event, work).result] += 1
                    step(event, this_call)
    except Stopped as error:
        stopped = str(error)
        console.print(f"stopped: {error}", highlight=False, markup=False)
    finally:
        _write_card(out, items, key, card or {}, stopped)
    return {**_counts(_found(out, mine)), KEPT: this_call[KEPT], ELSEWHERE: this_call[ELSEWHERE]}


def parsed_slice(text: str) -> tuple[int, int]:
    """Return rank and world of RANK/WORLD.

    Raises:
        InputError: it is malformed.
    """
    rank, _, world = text.partition("/")
    if not rank.isdecimal() or not world.isdecimal() or not int(rank) < int(world):
        raise InputError(f"slice: {text!r}, must be RANK/WORLD with RANK from 0 to WORLD - 1")
    return int(rank), int(world)


def exit_code(counts: Mapping[str, int]) -> int:
    """Return 1 if nothing is done, items are left, or more than `MAX_FAILED` of the items failed or died; else 0."""
    total = sum(counts[name] for name in (OK, FAILED, DIED, REFUSED, LEFT))
    bad = counts[FAILED] + counts[DIED]
    return int(not counts[OK] or bool(counts[LEFT] and not counts[ELSEWHERE]) or bad > MAX_FAILED * total)


def _pool(executor: str, work: Recorded, setup: Callable[[], Any] | None, num_cpus: float, num_gpus: float) -> Pool:
    if executor not in ("local", "slice", "ray"):
        raise InputError(f"executor: {executor!r}, must be local, slice or ray")
    return RayPool(work, setup, num_cpus, num_gpus) if executor == "ray" else LocalPool(work, setup)


def _receipt(event: Event, work: Recorded) -> Receipt:
    return event.value if event.kind == DONE else work.died(event.item, str(event.value), event.seconds)


@contextlib.contextmanager
def _bar(name: str, total: int, done: int, console: Console) -> Iterator[Callable[[Event, Counter], None]]:
    with Progress(TextColumn(name), *COLUMNS, TextColumn("{task.description}"), console=console) as progress:
        bar = progress.add_task("", total=total, completed=done)

        def step(event: Event, counts: Counter) -> None:
            texts = [f"{counts[r]} {r}" for r in (OK, FAILED, DIED, REFUSED, ELSEWHERE) if counts[r]]
            if event.kind == STEP:
                texts.append(f"{event.item['id']}: {event.value}")
            progress.update(bar, advance=int(event.kind != STEP), description=", ".join(texts))

        yield step


def _found(out: Path, items: Sequence[Item]) -> list[Receipt | None]:
    return [read_receipt(out, item["id"]) for item in items]


def _counts(found: Sequence[Receipt | None]) -> dict[str, int]:
    results = Counter(r.result if r is not None else LEFT for r in found)
    return {result: results[result] for result in (OK, FAILED, DIED, REFUSED, LEFT)}


def _write_card(out: Path, items: Sequence[Item], key: str, card: Card, stopped: str) -> None:
    found, more = _found(out, items), card() if callable(card) else card
    reasons = {r.id: r.reason for r in found if r is not None and r.result != OK}
    seconds = round(sum(r.seconds for r in found if r is not None), 1)
    own = {"key": key, "counts": _counts(found), "reasons": reasons, "seconds": seconds, "stopped": stopped}
    write_json(out / f"{CARD}.json", {**more, **own, **more})
