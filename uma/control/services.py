"""Names of the operator's services, for messages."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Services:
    """Full names of the services that a person calls. In a namespace they are such as /left/uma/start."""

    start: str = "/uma/start"
    stop: str = "/uma/stop"
    confirm: str = "/uma/confirm"
    recover: str = "/uma/recover"
    home: str = "/uma/home"


SERVICES = tuple(f.name for f in fields(Services))
"""The services' short names, in the order of the fields."""
