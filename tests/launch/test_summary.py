"""What a run has used, in words."""

from __future__ import annotations

from decimal import Decimal

from kimi_mitm.launch.summary import Seen, client_session, lines


def test_figures_of_all_exchanges_are_added_up() -> None:
    seen = [
        Seen(
            session_id="s_1",
            client_session_id="c1",
            estimated=12_400,
            input_tokens=12_900,
            output_tokens=540,
            reported=True,
            cost_usd=Decimal("0.04"),
        ),
        Seen(
            session_id="s_1",
            client_session_id="c1",
            estimated=600,
            input_tokens=700,
            output_tokens=10,
            reported=True,
            cost_usd=Decimal("0.002"),
            side=True,
        ),
    ]

    assert lines(seen) == [
        "2 exchanges (1 beside the conversation) · "
        "prompt ≈13.0k estimated, 13.6k reported · answer 550 · $0.042",
        "session s_1 · the client's own c1",
    ]


def test_what_is_unknown_is_said_not_guessed() -> None:
    seen = [Seen(estimated=100, failed=True), Seen(open=True)]

    assert lines(seen) == [
        "2 exchanges (1 failed, 1 unfinished) · prompt ≈100 estimated, none reported · cost unknown"
    ]


def test_sums_say_how_many_they_rest_on() -> None:
    seen = [
        Seen(estimated=100, input_tokens=110, reported=True, cost_usd=Decimal("0.5")),
        Seen(estimated=200, session_id="s_2"),
        Seen(session_id="s_3"),
    ]

    assert lines(seen) == [
        "3 exchanges · prompt ≈300 estimated, 110 reported (1 of 3) · $0.50 (2 unpriced)",
        "sessions s_2, s_3",
    ]


def test_nothing_seen_leads_to_the_doctor() -> None:
    assert "kimi-mitm doctor" in lines([])[0]


def test_the_clients_id_is_that_of_the_conversation() -> None:
    assert client_session([Seen(side=True, client_session_id="a"), Seen(client_session_id="b")]) == "b"
    assert client_session([Seen(side=True, client_session_id="a"), Seen()]) == "a"
    assert client_session([]) is None
