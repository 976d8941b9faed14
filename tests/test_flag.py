"""The flag: its value for a provider, who may change it, and what each change leaves behind."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from kimi_mitm.sessions.flag import Flag, FlagAction, FlagForced
from kimi_mitm.sessions.rows import flag_from_row, flag_to_row

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize("first", [True, False])
def test_the_options_value_holds_until_somebody_sets_it(first):
    assert Flag(first).holds_for("openai") is first
    assert Flag(first).version == 0


def test_setting_it_to_the_options_value_is_a_change_and_wins_from_then_on():
    flag = Flag(True).with_value(True, "alice", NOW)

    assert Flag(False, flag.last).enabled is True
    assert flag.version == 1


def test_setting_it_to_the_value_that_it_was_given_is_none():
    flag = Flag(True).with_value(False, "alice", NOW)

    assert flag.with_value(False, "bob", NOW) is flag


def test_a_providers_own_value_goes_before_the_general_one():
    flag = Flag(True).with_provider("openai", False, "alice", NOW)

    assert (flag.holds_for("openai"), flag.holds_for("anthropic"), flag.enabled) == (False, True, True)
    assert flag.with_provider("openai", None, "alice", NOW).holds_for("openai") is True


@pytest.mark.parametrize("forced", [True, False])
def test_a_forced_value_goes_before_all_and_nobody_else_may_change_it(forced):
    flag = Flag(not forced).with_provider("openai", not forced, "alice", NOW)
    flag = flag.with_force(forced, "admin", NOW)

    assert (flag.enabled, flag.holds_for("openai"), flag.forced) == (forced, forced, True)
    with pytest.raises(FlagForced):
        flag.with_value(not forced, "alice", NOW)
    with pytest.raises(FlagForced):
        flag.with_provider("openai", None, "alice", NOW)


def test_let_go_it_is_as_it_was_before():
    flag = Flag(True).with_value(False, "alice", NOW).with_provider("openai", True, "alice", NOW)

    after = flag.with_force(True, "admin", NOW).with_force(None, "admin", NOW)

    assert (after.enabled, after.holds_for("openai"), after.forced) == (False, True, False)
    assert after.last is not None
    assert (after.last.action, after.version) == (FlagAction.RELEASE, 4)


def test_a_change_says_who_when_and_what():
    change = Flag(True).with_provider("openai", False, "alice", NOW).last

    assert change is not None
    assert (change.by, change.at, change.action, change.provider, change.value) == (
        "alice",
        NOW,
        FlagAction.PROVIDER,
        "openai",
        False,
    )
    assert flag_from_row(flag_to_row(change)) == change
