"""What a newcomer runs first: the bundled samples through a real proxy's addon, and the table of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from mitmproxy import http
from rig.command import mitmdump

from tests.samples import DEMO, flows

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "scripts"))

import demo_table  # noqa: E402
import make_samples  # noqa: E402

EXCHANGE: dict[str, Any] = {
    "client": "codex",
    "model": "gpt-5",
    "estimated_input_tokens": 12_000,
    "input_tokens": 12_500,
    "output_tokens": 40,
    "cache_read_tokens": None,
    "is_estimated": False,
    "source": "usage",
    "estimate_kind": "prior",
    "cost_usd": "0.0412",
    "session_id": "s_0123456789",
    "error": None,
}


def has_environment() -> bool:
    """Whether `.venv` is what the scripts would make; they would install it otherwise."""
    stamp = ROOT / ".venv" / ".kimi-installed"
    parts = [ROOT / name for name in ("requirements.lock", "requirements-dev.lock", "pyproject.toml")]
    summed = subprocess.run(
        "cksum", input=b"".join(p.read_bytes() for p in parts), capture_output=True, check=False
    )
    return stamp.is_file() and stamp.read_bytes().split() == [b"dev", *summed.stdout.split()]


@pytest.mark.skipif(sys.platform == "win32", reason="a script for sh")
def test_the_demo_shows_every_sample_with_its_figures(tmp_path: Path) -> None:
    if not has_environment():
        pytest.skip("the project's .venv is not the scripts' own: run ./scripts/test once")
    ran = subprocess.run(
        [ROOT / "scripts" / "demo"],
        cwd=tmp_path,
        env={**os.environ, "KIMI_DB": str(tmp_path / "mine.db"), "KIMI_CONTROL": "127.0.0.1:1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    rows = ran.stdout.splitlines()
    assert rows[0].split() == " ".join(demo_table.COLUMNS).split()
    found = {tuple(row.split()[:2]) for row in rows[1:-2]}
    assert found >= {
        ("claude-code", "claude-sonnet-4-5-20250929"),
        ("openai-python", "gpt-5"),
        ("codex", "gpt-5.1-codex"),
        ("gemini-cli", "gemini-2.5-pro"),
        ("kimi-cli", "kimi-k2-thinking"),
        ("openai-python", "gpt-4"),
        ("openai-js", "gpt-4o-mini"),
        ("openai-python", "text-embedding-3-small"),
    }
    assert "api_error" in ran.stdout
    assert "8,593" in ran.stdout
    assert rows[-1].startswith("11 exchanges in 7 sessions, $0.0")
    assert not (tmp_path / "mine.db").exists()


@pytest.mark.parametrize(("arguments", "count"), [((), 11), (("-q",), 0)], ids=["plain", "quiet"])
async def test_mitmdump_prints_a_line_for_each_settled_exchange_unless_it_is_quiet(
    tmp_path: Path, confdir: Path, arguments: tuple[str, ...], count: int
) -> None:
    async with mitmdump(tmp_path, confdir, "-n", "-r", str(DEMO), *arguments) as one:
        assert await one.ended() == 0

    said = [line for line in one.lines if "→" in line]
    assert len(said) == count
    assert all("(" in line for line in said)
    assert count or one.lines == []


def test_the_samples_are_what_their_script_makes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_samples.main(tmp_path / "demo.flow")

    made, bundled = flows(tmp_path / "demo.flow"), flows()
    assert [contents(f) for f in made] == [contents(f) for f in bundled]
    assert "10 flows" in capsys.readouterr().out


def contents(flow: http.HTTPFlow) -> tuple[object, ...]:
    """All but how the answer is compressed, which may differ from one zlib to the next."""
    answer = flow.response
    assert answer is not None
    messages = [m.get_state() for m in flow.websocket.messages] if flow.websocket else []
    return (flow.id, flow.request.get_state(), answer.status_code, answer.content, messages)


@pytest.mark.parametrize(
    ("changes", "cells"),
    [
        ({}, ["12,000 → 12,500", "-4.0%", "usage", "40", "–", "$0.0412", "s_012345"]),
        (
            {"is_estimated": True, "source": "proxy", "cost_usd": None, "output_tokens": 7},
            ["12,000 → –", "–", "proxy (prior estimate)", "7", "–", "–", "s_012345"],
        ),
        (
            {"input_tokens": None, "estimated_input_tokens": None, "is_estimated": True, "session_id": None},
            ["– → –", "–", "proxy (prior estimate)", "40", "–", "$0.0412", "–"],
        ),
        ({"cost_usd": "0.00002"}, ["12,000 → 12,500", "-4.0%", "usage", "40", "–", "<$0.0001", "s_012345"]),
    ],
)
def test_a_row_shows_the_unknown_as_unknown(changes: dict[str, Any], cells: list[str]) -> None:
    if changes.get("is_estimated"):
        changes = {"source": "proxy", **changes}

    assert demo_table.row({**EXCHANGE, **changes})[2:] == cells


def test_a_failed_exchange_is_marked() -> None:
    error = {"type": "rate_limit", "message": "slow down"}

    assert demo_table.row({**EXCHANGE, "error": error})[1] == "gpt-5 ⚠ rate_limit"


def test_the_table_has_colours_on_a_terminal_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import json

    (tmp_path / "x.jsonl").write_text(json.dumps(EXCHANGE) + "\n")

    demo_table.main(tmp_path / "x.jsonl")

    assert capsys.readouterr().out.splitlines()[1].startswith("codex   gpt-5     12,000 → 12,500")
    assert len(demo_table.coloured([demo_table.row(EXCHANGE)]).rows) == 1
