"""Licences of public data sets: those for non-commercial use need the user's word."""

from __future__ import annotations

from typing import Protocol

from uma.types import InputError

NON_COMMERCIAL = "NC"


class Options(Protocol):
    """The option of the import that accepts licences."""

    accept_licence: str


def check_licence(name: str, licence: str, options: Options) -> str:
    """Return the licence of a data set.

    Raises:
        InputError: it allows non-commercial use alone, and the options do not accept this.
    """
    is_limited = NON_COMMERCIAL in licence.replace("-", " ").split() or "non-commercial" in licence.lower()
    if is_limited and options.accept_licence != NON_COMMERCIAL:
        raise InputError(
            f"accept_licence: {options.accept_licence!r}, must be {NON_COMMERCIAL}: {name} is {licence}, for "
            f"non-commercial use (--accept-licence {NON_COMMERCIAL})"
        )
    return licence
