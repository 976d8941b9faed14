"""Logs against the wire: what is joined, missing, and different."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from kimi_mitm.fusion.discrepancies import ClientCheck, Difference, check
from kimi_mitm.records import Exchange, Reading, Source, Usage

T0 = datetime(2026, 3, 2, 9, tzinfo=UTC)


def exchange(name: str, **more: Any) -> Exchange:
    values: dict[str, Any] = {
        "ended_at": T0,
        "client": "codex",
        "source": Source.USAGE,
        "input_tokens": 100,
        "output_tokens": 10,
    }
    return Exchange(id=name, started_at=T0, **(values | more))


def record(tokens: int = 100, **more: Any) -> Reading:
    values: dict[str, Any] = {"client": "codex", "reported": True, "joined_by": "id"}
    usage = Usage(input_tokens=tokens, output_tokens=10)
    return Reading(source=Source.LOGS, at=T0, key=f"k{tokens}", origin="f:3", usage=usage, **(values | more))


def test_each_side_is_counted() -> None:
    exchanges = [
        exchange("a"),
        exchange("b"),
        exchange("c"),
        exchange("d", side=True),
        exchange("log:k", source=Source.LOGS),
    ]
    readings = {"a": [record()], "b": [record(joined_by="time")], "log:k": [record()]}

    (got,) = check(exchanges, readings)

    assert got == ClientCheck(
        client="codex", by_id=1, by_time=1, no_log=2, no_log_side=1, no_wire=1, compared=4
    )


def test_a_figure_that_differs_is_named_with_its_place() -> None:
    (got,) = check([exchange("a")], {"a": [record(90)]})

    assert got.differences == [
        Difference(exchange_id="a", figure="input_tokens", wire=100, log=90, origin="f:3")
    ]


def test_estimates_lower_bounds_and_fused_figures_are_not_compared() -> None:
    readings = {
        "a": [record(90, reported=False)],
        "b": [record(90, lower_bound=True)],
        "c": [record(90)],
        "d": [record(90)],
    }
    exchanges = [
        exchange("a"),
        exchange("b"),
        exchange("c", via="logs"),
        exchange("d", source=Source.PROXY),
    ]

    (got,) = check(exchanges, readings)

    assert (got.differences, got.compared) == ([], 1)


def test_nothing_is_said_of_clients_without_a_log_nor_of_running_exchanges() -> None:
    assert check([exchange("a", client="curl"), exchange("b", ended_at=None)], {"x": [record()]}) == []
    assert [one.no_log for one in check([exchange("a")], {}, ["codex"])] == [1]


def test_the_logs_name_of_the_client_counts_where_the_wire_only_shows_a_library() -> None:
    got = check([exchange("a", client="anthropic-js")], {"a": [record(client="pi")]})

    assert [(one.client, one.by_id) for one in got] == [("pi", 1)]
