"""Licences of public data sets: those for non-commercial use need the user's word."""

from __future__ import annotations

from typing import Protocol

from uma.types import InputError

NON_COMMERCIAL = "NC"


class Options(Protocol):
    """The option that accepts licences."""

    @property
    def accept_licence(self) -> str:
        """`NON_COMMERCIAL`, or empty."""
        ...


def is_limited(licence: str) -> bool:
    """Return whether a licence excludes commercial use."""
    return NON_COMMERCIAL in licence.replace("-", " ").split() or "non-commercial" in licence.lower()


def check_licence(name: str, licence: str, options: Options) -> str:
    """Return the licence of a data set.

    Raises:
        InputError: it allows non-commercial use alone, and the options do not accept this.
    """
    if is_limited(licence) and options.accept_licence != NON_COMMERCIAL:
        raise InputError(
            f"accept_licence: {options.accept_licence!r}, must be {NON_COMMERCIAL}: {name} is {licence}, for "
            f"non-commercial use (--accept-licence {NON_COMMERCIAL})"
        )
    return licence
