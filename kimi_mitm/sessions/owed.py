"""Changes of sessions that could not be stored when they were made.

Two become one: what the store must hold for the whole is what the first expected, and what the second
expected of everything that the first leaves alone. So a database that is away for hours is owed one
transaction, no larger than the sessions that changed.

Nobody could ask the database meanwhile, so what it holds may differ: another process wrote, or memory had
forgotten an ended session. Then as much is written as still holds.
"""

from __future__ import annotations

from kimi_mitm.sessions.ledger import Changes, Found, Save


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


def what_holds(owed: Changes, found: Found) -> Changes:
    """Of changes that the store refuses, those that nothing it holds speaks against: sessions that nobody
    else has changed, and a scope's new session where the stored one is over."""
    stored = {session.session_id: session for session in found.sessions}
    versions = {name: session.version for name, session in stored.items()}
    saves = tuple(save for save in owed.saves if versions.get(save.session.session_id) == save.before)
    after = {name: session.live for name, session in stored.items()}
    after |= {save.session.session_id: save.session.live for save in saves}

    def is_free(scope: str) -> bool:
        current = found.currents.get(scope)
        return current is None or current == owed.currents.get(scope) or not after.get(current, False)

    switches = {scope: name for scope, name in owed.switches.items() if name in after and is_free(scope)}
    flag_is_ours = owed.flag_version == (found.flag.version if found.flag else 0)
    return Changes(
        currents={scope: found.currents.get(scope) for scope in switches},
        saves=saves,
        switches=switches,
        flag=owed.flag if flag_is_ours else None,
    )
