"""Exchanges keep their names."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from kimi_mitm import exchange_id

SPACE = uuid.UUID("6b1d9a52-4d0c-5a5e-9c55-1f4f0f6f2b3a")


@given(st.text(min_size=1, max_size=40).filter(lambda s: s.isprintable()), st.floats(0, 4e9))
def test_a_flows_exchange_has_the_uuid_of_its_name(flow_id, at):
    assert exchange_id.of_flow(flow_id, at) == str(uuid.uuid5(SPACE, f"{flow_id} {at!r}"))


def test_a_replay_is_another_exchange():
    assert exchange_id.of_flow("f", 1.0) != exchange_id.of_flow("f", 2.0)


def test_the_name_has_not_changed_between_versions():
    assert exchange_id.of_flow("f", 1.5) == "3534b32d-a8e9-53e4-bd95-6ee74ecc408a"


def test_content_names_what_nobody_names():
    first, second = exchange_id.ByContent(), exchange_id.ByContent()
    args = (1.0004, "POST", "https://h/p", b"body")

    names = [first.name(*args), first.name(*args)]

    assert names[0] != names[1]
    assert [second.name(*args), second.name(*args)] == names
    assert first.name(1.0, "POST", "https://h/p", b"other") not in names
    assert second.name(1.0009, *args[1:]) not in names
