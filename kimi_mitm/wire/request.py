"""A request's body, also one of which only the beginning is known."""

from __future__ import annotations

from dataclasses import replace

from kimi_mitm.records import Request
from kimi_mitm.wire.document import mend, tidy
from kimi_mitm.wire.format import Format, Target, WireError


def read_request(form: Format, body: bytes, target: Target) -> Request:
    """What a decoded body says. One that was cut, by a limit or on its way, is read as far as it goes, and
    `partial_body` is among what is hidden.

    Raises `WireError` where nothing can be read.
    """
    try:
        return form.read_request(body, target)
    except WireError:
        tidied = tidy(body)
        if tidied is not None:
            return form.read_request(tidied, target)
        mended = mend(body)
        if mended is None:
            raise
        request = form.read_request(mended.data, target)
        return replace(request, hidden=request.hidden | {"partial_body"})
