"""One item in a worker: its output, then its receipt. Errors are recorded."""

from __future__ import annotations

import os
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from uma.types import InputError
from uma_train.jobs.receipts import (
    DIED,
    ELSEWHERE,
    FAILED,
    OK,
    REFUSED,
    Item,
    Receipt,
    is_due,
    item_key,
    locked,
    read_receipt,
    write_receipt,
)


@dataclass(frozen=True)
class Output:
    """What a function returns for an item, with notes for the receipt.

    Attributes:
        value: what `Recorded.save` writes.
        notes: JSON values.
    """

    value: Any
    notes: Mapping[str, Any] = field(default_factory=dict)


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write named arrays as ``.npz``."""
    with open(path, "wb") as f:
        np.savez(f, **arrays)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Recorded:
    """A function over items, whose outputs and receipts go into a folder.

    Attributes:
        fn: (item, what `setup` of the worker returned) -> output, an `Output` or its value.
        save: writes an output to a path.
        suffix: of the output's file.
        key: of the job.
        retry_failed: also what failed or was refused with the same key.
    """

    fn: Callable[[Item, Any], Any]
    out: Path
    key: str
    save: Callable[[Path, Any], object] = save_arrays
    suffix: str = ".npz"
    retry_failed: bool = False

    def output(self, item: Item) -> Path:
        return self.out / f"{item['id']}{self.suffix}"

    def is_due(self, item: Item) -> bool:
        receipt = read_receipt(self.out, item["id"])
        return is_due(receipt, item_key(self.key, item), self.output(item), self.retry_failed)

    def __call__(self, item: Item, state: Any) -> Receipt:
        """Do an item, unless another run has it or has done it meanwhile."""
        with locked(self.out, item["id"]) as is_mine:
            if not is_mine:
                return Receipt(item["id"], ELSEWHERE, item_key(self.key, item))
            before = read_receipt(self.out, item["id"])
            if before is not None and not self.is_due(item):
                return before
            receipt = self._do(item, state)
            write_receipt(self.out, receipt)
            return receipt

    def _do(self, item: Item, state: Any) -> Receipt:
        began, key = time.monotonic(), item_key(self.key, item)
        target, part = self.output(item), self.out / f"{item['id']}{self.suffix}.part"
        target.unlink(missing_ok=True)

        def receipt(result: str, reason: str = "", notes: Mapping[str, Any] | None = None) -> Receipt:
            seconds = round(time.monotonic() - began, 3)
            return Receipt(item["id"], result, key, reason, seconds, notes=notes or {}, item=item)

        try:
            made = self.fn(item, state)
            made = made if isinstance(made, Output) else Output(made)
            self.save(part, made.value)
            os.replace(part, target)
        except InputError as error:
            return receipt(REFUSED, str(error), {"gate": getattr(error, "gate", "")})
        except Exception as error:  # an error costs one item, not the run
            where = traceback.extract_tb(error.__traceback__)[-1]
            return receipt(FAILED, f"{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})")
        finally:
            part.unlink(missing_ok=True)
        return receipt(OK, notes=made.notes)

    def died(self, item: Item, reason: str, seconds: float) -> Receipt:
        """Record that the worker of an item ended, unless another run has done the item."""
        receipt = Receipt(item["id"], DIED, item_key(self.key, item), reason, round(seconds, 3), item=item)
        if self.is_due(item):
            write_receipt(self.out, receipt)
        return receipt
