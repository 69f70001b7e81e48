"""A task as a goal or a request, outcomes as words, and the page's address as a picture."""

from __future__ import annotations

import io
from typing import Any

from uma_ros.messages import convert
from uma_ros.teach.task import Ask

OUTCOMES = ("finished", "cancelled", "replaced", "held", "refused")
"""Words of the outcomes in action/ExecuteTask.action."""


def filled(message: Any, ask: Ask) -> Any:
    """Return a goal or a request with the task in it."""
    if ask.reference is not None:
        message.reference = convert.reference_to(ask.reference, convert.stamp_from(0.0))
    message.instruction, message.prompt = ask.instruction, ask.prompt
    if ask.goal is not None:
        stamp, frame = convert.stamp_from(ask.goal.stamp), ask.goal.camera.frame
        message.goal_rgb = convert.image_to(ask.goal.rgb, "rgb8", frame, stamp)
        message.goal_depth = convert.image_to(ask.goal.depth, "32FC1", frame, stamp)
    return message


def qr(url: str) -> str:
    """Return a QR code of an address as text; a hint without the package that draws it."""
    try:
        import qrcode
    except ImportError:
        return "teach: the Python package qrcode, in the extra 'teach', draws this as a QR code"
    code, out = qrcode.QRCode(border=2), io.StringIO()
    code.add_data(url)
    code.print_ascii(out, invert=True)
    return out.getvalue()
