"""Where the clients' logs and the wire don't agree: logs are known to be wrong at the source.

Compared is what a log copied of the provider's report with what the provider reported on the wire. A
client's own estimates, lower bounds, and figures that one side doesn't have are no disagreement.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from kimi_mitm.fusion.match import LOG_PREFIX
from kimi_mitm.records import Exchange, Reading, Source

_COMPARED: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One figure that differs; `origin` is the log's file and line."""

    exchange_id: str
    figure: str
    wire: int
    log: int
    origin: str


@dataclass(slots=True, kw_only=True)
class ClientCheck:
    """One client: exchanges that both sides have, by what tied them; those that one side lacks.

    `no_log`: on the wire, with no record, though the client has a log (`no_log_side`: of these, side
    traffic, which many clients don't log). `no_wire`: records of calls that the proxy never saw.
    `compared`: figures that both sides have.
    """

    client: str
    by_id: int = 0
    by_time: int = 0
    no_log: int = 0
    no_log_side: int = 0
    no_wire: int = 0
    compared: int = 0
    differences: list[Difference] = field(default_factory=list)


def check(
    exchanges: Iterable[Exchange], readings: Mapping[str, Sequence[Reading]], logging: Iterable[str] = ()
) -> list[ClientCheck]:
    """Compares exchanges with the logs' readings of them, by exchange id; one result per client, by name.

    `logging` names further clients that are known to keep a log; of a client without one, nothing is
    said. Only finished exchanges count.
    """
    with_logs = {*logging, *(r.client for found in readings.values() for r in found if r.client)}
    checks: dict[str, ClientCheck] = {}
    for exchange in exchanges:
        found = readings.get(exchange.id, ())
        client = next((r.client for r in found if r.client), exchange.client)
        if client not in with_logs or exchange.ended_at is None:
            continue
        one = checks.setdefault(client, ClientCheck(client=client))
        if exchange.id.startswith(LOG_PREFIX):
            one.no_wire += 1
        elif not found:
            one.no_log += 1
            one.no_log_side += exchange.side
        else:
            by_id = any(r.joined_by == "id" for r in found)
            one.by_id += by_id
            one.by_time += not by_id
            _compare(one, exchange, found)
    return sorted(checks.values(), key=lambda c: c.client)


def _compare(one: ClientCheck, exchange: Exchange, readings: Sequence[Reading]) -> None:
    if exchange.source is not Source.USAGE or exchange.via is not None:
        return
    for reading in readings:
        if not reading.reported or reading.source is not Source.LOGS:
            continue
        for name in _COMPARED:
            wire, log = getattr(exchange, name), getattr(reading.usage, name)
            if wire is None or log is None or (reading.lower_bound and name == "input_tokens"):
                continue
            one.compared += 1
            if wire != log:
                one.differences.append(
                    Difference(
                        exchange_id=exchange.id, figure=name, wire=wire, log=log, origin=reading.origin
                    )
                )
