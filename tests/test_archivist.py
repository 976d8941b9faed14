"""Archives of ended sessions and the live one's file, as the engine writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from kimi_mitm.engine import archivist as module
from kimi_mitm.sessions.record import EndReason
from tests.disks import Disk
from tests.engine_rig import Rig, engine, files_with


def read(path: Path) -> dict[str, Any]:
    return YAML(typ="safe").load(path.read_text(encoding="utf-8"))


def archives(root: Path, user: str = "alice") -> list[dict[str, Any]]:
    return [read(p) for p in sorted((root / "users" / user / "dialogs" / "archived").glob("*.yaml"))]


def current(root: Path, user: str = "alice") -> Path:
    return root / "users" / user / "dialogs" / "current.yaml"


async def end(rig: Rig, session_id: str | None) -> None:
    now = rig.clock.now
    await rig.desk.keeper.change(lambda book: book.end(session_id or "", EndReason.REQUEST, now))
    await rig.desk.archivist.archive_ended()


async def test_an_ended_session_becomes_a_file_with_its_turns_and_figures(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        await rig.chat(text="one", user="alice")
        record = await rig.chat(text="two", user="alice")
        await end(rig, record.session_id)
        found = archives(tmp_path)

        assert len(found) == 1
        assert found[0]["session_id"] == record.session_id
        assert found[0]["figures"]["requests"] == 2
        assert found[0]["figures"]["total_prompt_tokens"] == 24
        assert [t["input_tokens"] for t in found[0]["turns"]] == [12, 12]
        said = [m for t in found[0]["turns"] for m in t["messages"]]
        assert [(m["role"], m["text"]) for m in said] == [
            *(("user", "one"), ("assistant", "hi"), ("user", "two"), ("assistant", "hi")),
        ]


async def test_the_live_session_has_a_file_that_is_emptied_at_its_end(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        record = await rig.chat(text="live", user="alice")
        await rig.pass_time(5)
        live = read(current(tmp_path))
        await end(rig, record.session_id)

        assert live["session_id"] == record.session_id
        assert "live" in str(live["turns"])
        assert current(tmp_path).read_text() == ""


async def test_another_sessions_end_leaves_the_live_ones_file(tmp_path: Path) -> None:
    async with engine(tmp_path) as rig:
        first = await rig.chat("gpt-4o", user="alice")
        second = await rig.chat("claude-sonnet-4-5", user="alice")
        await rig.pass_time(5)
        await end(rig, first.session_id)

        assert read(current(tmp_path))["session_id"] == second.session_id


async def test_the_live_file_is_not_written_again_and_again_without_news(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with engine(tmp_path) as rig:
        await rig.chat(user="alice")
        await rig.pass_time(5)
        before = current(tmp_path).stat().st_mtime_ns
        for _ in range(3):
            await rig.pass_time(5)

        assert current(tmp_path).stat().st_mtime_ns == before


async def test_much_work_on_the_live_file_is_followed_by_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    async with engine(tmp_path) as rig:
        written = []
        tried = rig.desk.archivist._tried

        async def slow(write: Any, root: Path, session: Any, *more: Any) -> Any:
            now[0] += 1.0
            written.append(session.session_id)
            return await tried(write, root, session, *more)

        monkeypatch.setattr(rig.desk.archivist, "_tried", slow)
        for _ in range(5):
            await rig.chat(user="alice")
            now[0] += 5
            await rig.desk.archivist.write_current()
        monkeypatch.undo()

    assert len(written) == 2


async def test_without_content_an_archive_has_figures_only(tmp_path: Path) -> None:
    async with engine(tmp_path, store_content=False) as rig:
        record = await rig.chat(text="a private word", user="alice")
        await end(rig, record.session_id)
        found = archives(tmp_path)

    assert found[0]["figures"]["requests"] == 1
    assert "messages" not in found[0]["turns"][0]
    assert not files_with(tmp_path, "private word")


async def test_a_folder_that_cannot_be_written_is_said_once_and_ends_are_told_all_the_same(
    tmp_path: Path,
) -> None:
    (tmp_path / "users").write_text("a file")
    async with engine(tmp_path) as rig:
        for model in ("gpt-4o", "claude-sonnet-4-5", "gemini-2.5-pro"):
            record = await rig.chat(model, user="alice")
            await rig.pass_time(5)
            await end(rig, record.session_id)
        ended = rig.events("session:ended")

        assert [e["archive_id"] for e in ended] == [None] * 3
        assert len(rig.downward.words()) == 1
        assert rig.downward.words()[0].startswith(
            f"conversations can't be archived in {tmp_path / 'users'}: "
        )


async def test_a_full_disk_is_said_once_and_archives_come_again_with_room(tmp_path: Path) -> None:
    disks = Disk.at(tmp_path / "disk", megabytes=1)
    disk = next(disks)
    async with engine(tmp_path, archive_dir=str(disk.path / "users")) as rig:
        ballast = disk.fill()
        first = await rig.chat(text="x" * 50_000, user="alice")
        await end(rig, first.session_id)
        ballast.unlink()
        second = await rig.chat(text="y" * 50_000, user="alice")
        await end(rig, second.session_id)

        assert [a["session_id"] for a in archives(disk.path)] == [second.session_id]
        assert [w for w in rig.downward.words() if "archived" in w] == [
            f"conversations can't be archived in {disk.path / 'users'}: No space left on device"
        ]
    assert not list(disk.path.rglob(".*.tmp"))
    next(disks, None)


async def test_a_user_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    async with engine(tmp_path, archive_dir=str(tmp_path / "deep" / "users")) as rig:
        for user in ("../../evil", "/etc/evil", "..", "a\x00b", "con", "ü" * 300):
            record = await rig.chat(user=user)
            await rig.pass_time(5)
            await end(rig, record.session_id)

    found = files_with(tmp_path, "session_id")
    assert [p for p in found if p.suffix == ".yaml" and not p.is_relative_to(tmp_path / "deep/users")] == []
    assert len([p for p in found if p.parent.name == "archived"]) == 6


async def test_without_a_database_the_archive_has_the_figures(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    async with engine(tmp_path, db=str(tmp_path / "file" / "kimi.db")) as rig:
        n = await rig.open({"model": "gpt-4o", "messages": []}, user="alice")
        await rig.answer(n, b"{}")
        await rig.end(n)

    assert [a["figures"]["requests"] for a in archives(tmp_path)] == [1]


async def test_a_file_that_was_read_gets_archives_but_no_live_file(tmp_path: Path) -> None:
    async with engine(tmp_path, offline=True) as rig:
        await rig.chat(user="alice")
        await rig.pass_time(5)

    assert len(archives(tmp_path)) == 1
    assert not current(tmp_path).exists()
