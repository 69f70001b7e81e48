"""The script that the guard puts into the page: stop keys, sign of life, taps on touch screens, clicks on rows."""

from __future__ import annotations

PAGE_KEY = "uma_page"
"""Key under which the script answers viser's question for the name of this page."""

SCRIPT = """
(() => {
  const page = Array.from(crypto.getRandomValues(new Uint8Array(12)), b => b.toString(16).padStart(2, '0')).join('');
  const url = new URL(location.href);
  if (url.searchParams.has('token')) { url.searchParams.delete('token'); history.replaceState(null, '', url); }
  const getItem = Storage.prototype.getItem;
  Storage.prototype.getItem = function (key) {
    return String(key).endsWith('uma_page') ? page : getItem.call(this, key);
  };
  const call = route => fetch(route, {cache: 'no-store', credentials: 'same-origin', keepalive: true}).catch(() => {});
  window.umaStop = () => call('/uma/stop');
  const alive = () => { if (document.visibilityState === 'visible') call('/uma/alive?page=' + page); };
  setInterval(alive, 250);
  alive();
  const types = e => e && (e.isContentEditable || e.tagName === 'TEXTAREA' || e.tagName === 'SELECT' ||
    (e.tagName === 'INPUT' && !['button', 'checkbox', 'radio', 'range', 'file'].includes(e.type)));
  const stops = e => e.key === 'Escape' || (e.key === ' ' && !types(e.target));
  const swallow = e => { e.preventDefault(); e.stopImmediatePropagation(); };
  addEventListener('keydown', e => { if (stops(e)) { swallow(e); if (!e.repeat) window.umaStop(); } }, true);
  addEventListener('keyup', e => { if (stops(e)) swallow(e); }, true);
  addEventListener('keypress', e => { if (stops(e)) swallow(e); }, true);
  addEventListener('pointerdown', e => {
    if (e.pointerType !== 'mouse' && e.target.tagName === 'CANVAS' && e.target.hasPointerCapture(e.pointerId))
      e.target.releasePointerCapture(e.pointerId);
  }, true);
  addEventListener('click', e => {
    const b = e.target.closest && e.target.closest('button');
    if (b && b.textContent.trim().startsWith('STOP')) window.umaStop();
    const row = e.target.closest && e.target.closest('tr[data-press]');
    const is = label => b => b.textContent.trim() === label;
    if (row) [...document.querySelectorAll('button')].find(is(row.dataset.press))?.click();
  }, true);
})();
"""
"""Space and Esc stop; Esc also while a text field has the focus, where space is a letter.

The name of the page is random. Only a visible page whose main thread runs sends the sign of life. Buttons that begin
with STOP call the route at once, beside viser's own message. A click on a table's row with ``data-press`` presses the
button of that label: viser has no table with clicks of its own.
"""


def with_script(html: bytes) -> bytes:
    """Return a page with the script as its first element. Raises ValueError without a head."""
    head = html.find(b"<head>")
    if head < 0:
        raise ValueError("the page has no <head>")
    at = head + len(b"<head>")
    return html[:at] + f"<script>{SCRIPT}</script>".encode() + html[at:]
