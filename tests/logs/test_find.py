"""Where clients keep their logs, and which files there are theirs."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from kimi_mitm.logs import SOURCES
from kimi_mitm.logs.find import Finder
from kimi_mitm.logs.places import roots
from kimi_mitm.logs.source import LogSource, Place

HOME = Path("/home/user")


def files(home: Path, *places: Place, env: dict[str, str] | None = None) -> list[str]:
    source = LogSource(name="toy", client="toy", places=places, document=lambda data, file: [])
    found = Finder(source, home, env or {}, "linux").files()
    return sorted(Path(file.path).relative_to(home).as_posix() for file in found)


def tree(home: Path, names: Iterable[str]) -> None:
    for name in names:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).touch()


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.json", ["x.json"]),
        ("**/*.json", ["a/b/y.json", "a/x.json", "x.json"]),
        ("a/**/*.json", ["a/b/y.json", "a/x.json"]),
        ("*/x.json", ["a/x.json"]),
        ("a/x.json", ["a/x.json"]),
        ("a/none.json", []),
        ("**/b/*.json", ["a/b/y.json"]),
        ("?.json", ["x.json"]),
        ("[x].json", []),
    ],
)
def test_patterns(tmp_path: Path, pattern: str, found: list[str]) -> None:
    tree(tmp_path / "r", ["x.json", "a/x.json", "a/b/y.json", "a/b/z.txt"])

    assert files(tmp_path, Place(root="{home}/r", pattern=pattern)) == [f"r/{name}" for name in found]


@pytest.mark.parametrize("pattern", ["**/*.json", "a/*/*.json", "a/b/y.json", "*.json", "a/*.json"])
def test_a_path_matches_if_it_would_be_found(tmp_path: Path, pattern: str) -> None:
    """A change notice and a search agree."""
    names = ["x.json", "a/x.json", "a/b/y.json", "a/b/z.txt"]
    tree(tmp_path, names)
    source = LogSource(
        name="toy",
        client="toy",
        places=(Place(root="{home}", pattern=pattern),),
        document=lambda data, file: [],
    )
    finder = Finder(source, tmp_path, {}, "linux")

    matched = {name for name in names if finder.match(str(tmp_path / name))}

    assert matched == {Path(file.path).relative_to(tmp_path).as_posix() for file in finder.files()}


def test_a_variable_names_the_root_instead(tmp_path: Path) -> None:
    tree(tmp_path, ["default/x.json", "other/x.json", "third/x.json"])
    place = Place(root="{home}/default", env="TOY_DIR", pattern="*.json")

    assert files(tmp_path, place) == ["default/x.json"]
    assert files(tmp_path, place, env={"TOY_DIR": str(tmp_path / "other")}) == ["other/x.json"]
    several = {"TOY_DIR": f"{tmp_path / 'other'}, {tmp_path / 'third'}"}
    assert files(tmp_path, place, env=several) == ["other/x.json", "third/x.json"]


def test_a_file_is_given_once_however_many_places_it_fits(tmp_path: Path) -> None:
    tree(tmp_path, ["a/x.json"])

    assert files(
        tmp_path, Place(root="{home}/a", pattern="*.json"), Place(root="{home}", pattern="**/*.json")
    ) == ["a/x.json"]


def test_a_registry_names_folders(tmp_path: Path) -> None:
    tree(tmp_path, ["one/.toy/x.db", "two/.toy/x.db", "three/.toy/x.db"])
    (tmp_path / "list").write_text(f"{tmp_path / 'one'}\n{tmp_path / 'two'}\n{tmp_path / 'gone'}")
    place = Place(root="{home}/list", pattern=".toy/x.db", registry=lambda data: data.decode().splitlines())

    assert files(tmp_path, place) == ["one/.toy/x.db", "two/.toy/x.db"]


def test_a_file_can_be_named_by_itself(tmp_path: Path) -> None:
    tree(tmp_path, ["a/telemetry.log"])
    place = Place(root="{home}/none", env="TOY_FILE", pattern="")

    assert files(tmp_path, place, env={"TOY_FILE": str(tmp_path / "a/telemetry.log")}) == ["a/telemetry.log"]


def test_links_between_folders_are_not_followed(tmp_path: Path) -> None:
    tree(tmp_path, ["r/a/x.json"])
    (tmp_path / "r/loop").symlink_to(tmp_path / "r")

    assert files(tmp_path, Place(root="{home}/r", pattern="**/*.json")) == ["r/a/x.json"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
def test_only_plain_files_are_files(tmp_path: Path) -> None:
    """To open a pipe would wait for its writer for ever."""
    tree(tmp_path, ["r/x.json"])
    (tmp_path / "r/folder.json").mkdir()
    os.mkfifo(tmp_path / "r/pipe.json")
    finder = Finder(
        LogSource(
            name="toy",
            client="toy",
            places=(Place(root="{home}/r", pattern="*.json"),),
            document=lambda data, file: [],
        ),
        tmp_path,
        {},
        "linux",
    )

    assert [Path(file.path).name for file in finder.files()] == ["x.json"]
    assert finder.match(str(tmp_path / "r/pipe.json")) is None
    assert finder.match(str(tmp_path / "r/folder.json")) is None


@pytest.mark.parametrize(
    ("root", "platform", "path"),
    [
        ("{home}/.x", "linux", "/home/user/.x"),
        ("{data}/x", "linux", "/home/user/.local/share/x"),
        ("{data}/x", "darwin", "/home/user/.local/share/x"),
        ("{config}/x", "win32", "/home/user/.config/x"),
        ("{appdata}/X", "linux", "/home/user/.config/X"),
        ("{appdata}/X", "darwin", "/home/user/Library/Application Support/X"),
        ("{appdata}/X", "win32", "/home/user/AppData/Roaming/X"),
    ],
)
def test_bases_per_system(root: str, platform: str, path: str) -> None:
    assert list(roots(Place(root=root, pattern="*"), HOME, {}, platform)) == [Path(path)]


def test_bases_from_the_system_s_variables() -> None:
    env = {"XDG_DATA_HOME": "/d", "XDG_CONFIG_HOME": "/c", "APPDATA": "/a"}

    assert list(roots(Place(root="{data}/x", pattern=""), HOME, env, "linux")) == [Path("/d/x")]
    assert list(roots(Place(root="{config}", pattern=""), HOME, env, "linux")) == [Path("/c")]
    assert list(roots(Place(root="{appdata}", pattern=""), HOME, env, "win32")) == [Path("/a")]


def test_editors_and_their_servers_are_all_looked_at() -> None:
    found = list(roots(Place(root="{vscode}/globalStorage", pattern="*"), HOME, {}, "linux"))

    assert Path("/home/user/.config/Code/User/globalStorage") in found
    assert Path("/home/user/.vscode-server/data/User/globalStorage") in found


def test_names_and_places_in_the_table_are_sound() -> None:
    """One name per row, one reader per row, places that every system has."""
    names = [source.name for source in SOURCES]

    assert len(set(names)) == len(names)
    for source in SOURCES:
        assert [source.lines, source.document, source.database].count(None) == 2
        for place in source.places:
            for platform in ("linux", "darwin", "win32"):
                assert list(roots(place, HOME, {}, platform))


def test_change_notices_are_asked_of_folders_that_are_there(tmp_path: Path) -> None:
    tree(tmp_path, ["r/fixed/a/x.json", "flat/x.db"])
    source = LogSource(
        name="toy",
        client="toy",
        document=lambda data, file: [],
        places=(
            Place(root="{home}/r", pattern="fixed/**/*.json"),
            Place(root="{home}/flat", pattern="*.db"),
            Place(root="{home}/none", pattern="*.db"),
            Place(root="{home}", pattern="*/x", watch=False),
        ),
    )

    watched = list(Finder(source, tmp_path, {}, "linux").watched())

    assert watched == [(tmp_path / "r/fixed", True), (tmp_path / "flat", False)]
