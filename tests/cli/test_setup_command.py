"""`kimi-mitm setup`: an IDE's settings written, shown before, taken back after."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from kimi_mitm.cli import app, setup
from kimi_mitm.launch import bundles
from kimi_mitm.launch.backups import Edited
from kimi_mitm.launch.variables import Files

SETTINGS = '{\n    // mine\n    "editor.fontSize": 13\n}\n'


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "APPDATA", "CONTINUE_GLOBAL_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(bundles, "make", lambda confdir, given: Files(ca="/c", bundle="/b.pem", merged={}))
    monkeypatch.setattr(setup, "user_name", lambda: "alice")
    return tmp_path


def call(*words: str, said: str = "") -> Result:
    return CliRunner().invoke(app, ["setup", *words], input=said)


def settings(home: Path, editor: str = "Code", text: str | None = SETTINGS) -> Path:
    folder = home / ".config" / editor / "User"
    folder.mkdir(parents=True)
    if text is not None:
        (folder / "settings.json").write_text(text)
    return folder / "settings.json"


def test_the_difference_is_shown_and_nothing_is_written_without_consent(home: Path) -> None:
    path = settings(home)

    done = call("vscode", said="n\n")

    assert '+    "http.proxy": "http://alice:x@127.0.0.1:8080",' in done.stdout
    assert path.read_text() == SETTINGS
    assert done.exit_code == 1


def test_with_consent_it_is_written_and_undone_to_the_byte(home: Path) -> None:
    path = settings(home)
    path.chmod(0o640)

    assert call("vscode", said="y\n").exit_code == 0
    assert "// mine" in path.read_text()
    assert "http.proxy" in path.read_text()
    assert path.stat().st_mode & 0o777 == 0o640

    assert call("vscode", "--undo", "--yes").exit_code == 0
    assert path.read_text() == SETTINGS


def test_what_the_user_changed_since_stays(home: Path) -> None:
    path = settings(home)
    call("vscode", "--yes")
    path.write_text(path.read_text().replace("13", "14"))

    assert call("vscode", "--undo", "--yes").exit_code == 0

    assert path.read_text() == SETTINGS.replace("13", "14")


def test_lines_of_ours_that_the_user_changed_are_left_and_the_backup_is_named(home: Path) -> None:
    path = settings(home)
    call("vscode", "--yes")
    changed = path.read_text().replace("8080", "9090")
    path.write_text(changed)

    done = call("vscode", "--undo", "--yes")

    assert done.exit_code == 1
    assert path.read_text() == changed
    folder = done.stderr.split("before our edit is in ")[1].strip()
    assert (Path(folder) / "original").read_text() == SETTINGS


def test_a_file_that_was_not_there_is_removed_again(home: Path) -> None:
    path = settings(home, text=None)

    call("vscode", "--yes")
    assert json.loads(path.read_text())["http.noProxy"] == ["localhost", "127.0.0.1", "::1"]

    call("vscode", "--undo", "--yes")
    assert not path.exists()


def test_a_second_time_changes_nothing_and_keeps_the_way_back(home: Path) -> None:
    path = settings(home)
    call("vscode", "--yes")
    written = path.read_text()

    assert "nothing to change" in call("vscode", "--yes").stderr
    assert path.read_text() == written

    call("vscode", "--undo", "--yes")
    assert path.read_text() == SETTINGS


def test_every_editor_that_is_there_is_set_up(home: Path) -> None:
    paths = [settings(home, "Code"), settings(home, "Cursor")]

    call("vscode", "--yes")

    assert all("http.proxy" in path.read_text() for path in paths)


def test_a_link_to_the_settings_stays_a_link(home: Path) -> None:
    path = settings(home, text=None)
    real = home / "dotfiles.json"
    real.write_text(SETTINGS)
    path.symlink_to(real)

    call("vscode", "--yes")

    assert path.is_symlink()
    assert "http.proxy" in real.read_text()


@pytest.mark.parametrize("content", [b"[]", b"\xff\xfe{}", b'{"a": '])
def test_a_file_that_cannot_be_read_is_left(home: Path, content: bytes) -> None:
    path = settings(home)
    path.write_bytes(content)

    done = call("vscode", "--yes")

    assert done.exit_code == 1
    assert "left as it is" in done.stderr
    assert path.read_bytes() == content


def test_a_file_that_is_read_only_is_left_and_nothing_is_remembered(home: Path) -> None:
    path = settings(home)
    path.chmod(0o444)

    done = call("vscode", "--yes")
    undone = call("vscode", "--undo", "--yes")

    assert done.stderr.splitlines()[-1] == f"kimi-mitm: {path}: it is read-only; it is left as it is"
    assert (done.exit_code, path.read_text()) == (1, SETTINGS)
    assert (undone.exit_code, undone.stderr) == (1, "kimi-mitm: nothing of ours to take back\n")


def test_an_edit_that_fails_leaves_the_way_back_from_the_one_before(home: Path) -> None:
    edited = Edited(settings(home))
    call("vscode", "--yes")
    kept = {path.name: path.read_bytes() for path in edited.folder.iterdir()}
    edited.path.chmod(0o444)

    with pytest.raises(PermissionError):
        edited.write("another original", "another edit", "")

    assert {path.name: path.read_bytes() for path in edited.folder.iterdir()} == kept


def test_jetbrains_products_are_found_by_their_folders(home: Path) -> None:
    base = home / ".config" / "JetBrains"
    for name in ("PyCharm2026.1", "IdeaIC2025.3", "consentOptions"):
        (base / name).mkdir(parents=True)

    done = call("jetbrains", "--yes")

    found = sorted(p.relative_to(base).parts[0] for p in base.rglob("proxy.settings.xml"))
    assert found == ["IdeaIC2025.3", "PyCharm2026.1"]
    assert "Server Certificates" in done.stderr

    call("jetbrains", "--undo", "--yes")
    assert not list(base.rglob("proxy.settings.xml"))


def test_continue_is_set_up_and_undone(home: Path) -> None:
    path = home / ".continue" / "config.yaml"
    path.parent.mkdir()
    text = "models:\n  - name: a # mine\n    model: b\n"
    path.write_text(text)

    call("continue", "--yes")
    assert "caBundlePath: '/b.pem'" in path.read_text()

    call("continue", "--undo", "--yes")
    assert path.read_text() == text


@pytest.mark.parametrize("what", ["vscode", "jetbrains", "continue"])
def test_nothing_to_set_up_is_said(home: Path, what: str) -> None:
    done = call(what)

    assert done.exit_code == 1
    assert "--file" in done.stderr


def test_nothing_to_take_back_is_said(home: Path) -> None:
    settings(home)

    assert "nothing of ours" in call("vscode", "--undo").stderr
