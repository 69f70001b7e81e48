"""Packages that only some readers need."""

from __future__ import annotations

import importlib
from typing import Any

from uma.types import InputError


def needed(module: str, extra: str = "data") -> Any:
    """Import a module of an optional package.

    Raises:
        InputError: it is not installed; names the extra that has it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(f"{module}: not installed; the extra '{extra}' has it: pip install 'uma[{extra}]'") from error
