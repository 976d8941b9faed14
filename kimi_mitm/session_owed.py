"""Changes of sessions that could not be stored yet, two of them made one.

What the store must hold for the whole is what the first expected, and what the second expected of
everything that the first leaves alone. So a database that is away for hours is owed one transaction,
no larger than the sessions that changed.
"""

from __future__ import annotations

from kimi_mitm.session_ledger import Changes, Save


def merged(first: Changes, second: Changes) -> Changes | None:
    """Both as one; None where each changes the flag: its history is to have both."""
    if first.flag is not None and second.flag is not None:
        return None
    saved = {save.session.session_id: save for save in first.saves}
    scopes = {save.session.scope for save in first.saves}
    versions = {name: v for name, v in second.versions.items() if name not in saved}
    currents = {name: c for name, c in second.currents.items() if name not in first.switches}
    live = {scope: names for scope, names in second.live.items() if scope not in scopes}
    return Changes(
        currents={**currents, **first.currents},
        live={**live, **first.live},
        versions={**versions, **first.versions},
        absent=first.absent | (second.absent - saved.keys()),
        flag_version=_flag_version(first, second),
        check=first.check or second.check,
        saves=_saves(saved, second),
        switches={**first.switches, **second.switches},
        flag=first.flag or second.flag,
    )


def _flag_version(first: Changes, second: Changes) -> int | None:
    if first.flag_version is not None or first.flag is not None:
        return first.flag_version
    return second.flag_version


def _saves(saved: dict[str, Save], second: Changes) -> tuple[Save, ...]:
    both = dict(saved)
    for save in second.saves:
        known = both.get(save.session.session_id)
        both[save.session.session_id] = Save(save.session, known.before if known else save.before)
    return tuple(both.values())
