"""The files beside a log."""

from __future__ import annotations

from pathlib import Path

import pytest

from kimi_mitm.logs.beside import Beside


@pytest.fixture
def beside(tmp_path: Path) -> Beside:
    (tmp_path / "state.json").write_bytes(b"first")
    (tmp_path / "session").mkdir()
    return Beside(str(tmp_path / "session" / "wire.jsonl"))


def test_a_name_is_relative_to_the_log_s_folder(beside: Beside) -> None:
    assert beside("../state.json") == b"first"
    assert beside("state.json") is None


def test_a_file_that_changes_is_read_anew(beside: Beside, tmp_path: Path) -> None:
    assert beside("../state.json") == b"first"
    (tmp_path / "state.json").write_bytes(b"second")
    assert beside("../state.json") == b"second"


@pytest.mark.parametrize("name", ["../state.json", "../none.json"])
def test_it_is_read_once_for_many_records(beside: Beside, tmp_path: Path, name: str) -> None:
    with beside.once():
        before = beside(name)
        (tmp_path / "state.json").write_bytes(b"second")
        (tmp_path / "none.json").write_bytes(b"second")
        assert beside(name) == before
    assert beside(name) == b"second"


def test_a_failure_between_two_records_keeps_nothing(beside: Beside, tmp_path: Path) -> None:
    def fail() -> None:
        with beside.once():
            assert beside("../state.json") == b"first"
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        fail()
    (tmp_path / "state.json").write_bytes(b"second")
    assert beside("../state.json") == b"second"
