"""The user's own table of models and providers."""

from __future__ import annotations

from pathlib import Path

import pytest

from kimi_mitm import user_config
from kimi_mitm.providers import provider_of
from kimi_mitm.user_config import ConfigError


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "config.toml"
    monkeypatch.setenv("KIMI_CONFIG", str(file))
    return file


def test_without_a_file_the_table_is_empty(written: Path) -> None:
    assert user_config.providers() == {}


def test_the_users_table_goes_before_everything_that_we_know(written: Path) -> None:
    written.write_text('[providers]\n"gpt-*" = "acme"\n"house" = " other "\n')

    table = user_config.providers()

    assert provider_of("gpt-4o", table=table) == "acme"
    assert provider_of("house", table=table) == "other"
    assert provider_of("claude-sonnet-4-5", table=table) == "anthropic"


@pytest.mark.parametrize(
    "text", ["[providers", "[providers]\nx = 3\n", "providers = 1\n", '[providers]\nx = ""\n']
)
def test_a_file_that_cant_be_used_is_refused_in_one_line(written: Path, text: str) -> None:
    written.write_text(text)

    with pytest.raises(ConfigError) as refused:
        user_config.providers()

    assert str(refused.value).startswith(str(written))
    assert "\n" not in str(refused.value)
