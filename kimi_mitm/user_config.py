"""The user's own file: which provider a model belongs to, where our tables say otherwise.

TOML, `config.toml` in the user's configuration folder (`KIMI_CONFIG` names another):

    [providers]
    "house-model" = "acme"
    "team-*" = "openai"
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path

from platformdirs import user_config_path


class ConfigError(Exception):
    """The file can't be used; the message says why in one line."""


def path() -> Path:
    """Where the file is, whether it exists or not."""
    return Path(
        os.environ.get("KIMI_CONFIG") or user_config_path("kimi-mitm", appauthor=False) / "config.toml"
    )


def providers() -> Mapping[str, str]:
    """Model name (`*` stands for anything) → provider; empty without a file. Raises `ConfigError`."""
    where = path()
    try:
        found = tomllib.loads(where.read_text(encoding="utf-8")).get("providers", {})
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as e:
        raise ConfigError(f"{where}: {e}") from e
    if not isinstance(found, dict) or not all(isinstance(v, str) and v for v in found.values()):
        raise ConfigError(f"{where}: [providers] must name a provider, as text, for each model")
    return {str(model): provider.strip() for model, provider in found.items()}
