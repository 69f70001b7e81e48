"""Which messages of which page reach viser: those of the operator, and a few of everybody."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

EVERYBODY = {"ViewerCameraMessage", "LocalStorageGetItemResponseMessage", "GetRenderResponseMessage"}
"""Messages that only tell what a page sees."""

NOBODY = {"ShareUrlRequest", "ShareUrlDisconnect"}
"""Messages that would publish the page through a server of others."""


def permitted(kind: str, uuid: str, is_operator: bool, is_open: Callable[[str], bool]) -> bool:
    """Return whether a message may pass.

    Args:
        kind: name of the message's class.
        uuid: element of the page that it changes; empty for none.
        is_open: element -> whether everybody may use it.
    """
    if kind in NOBODY:
        return False
    return is_operator or kind in EVERYBODY or (kind == "GuiUpdateMessage" and is_open(uuid))


RELEASE = "TransformControlsDragEndMessage"
"""Message of a page that released a gizmo."""


def install(
    server: Any, is_operator: Callable[[int], bool], open_elements: Collection[str], released: set[int]
) -> None:
    """Drop the messages to a viser server that are not permitted, before they change anything.

    Args:
        open_elements: elements of the page that everybody may use; may grow later.
        released: receives the clients that released a gizmo. viser also ends the drag of a page that is gone, without
            a message.
    """
    inner = server._websock_server
    handle = inner._handle_incoming_message

    async def checked(client: int, message: Any) -> None:
        uuid = str(getattr(message, "uuid", ""))
        kind = type(message).__name__
        if permitted(kind, uuid, is_operator(client), open_elements.__contains__):
            if kind == RELEASE:
                released.add(client)
            await handle(client, message)

    inner._handle_incoming_message = checked
