"""Catalogue of the entry points of the fuzz campaign."""

from __future__ import annotations

from robustness.fuzz.files import file_targets
from robustness.fuzz.messages import message_targets
from robustness.fuzz.nodes import node_targets
from robustness.fuzz.recordings import recording_targets
from robustness.fuzz.target import Target


def targets() -> list[Target]:
    """Return all entry points, with the nodes that they need."""
    return [*message_targets(), *node_targets(), *file_targets(), *recording_targets()]
