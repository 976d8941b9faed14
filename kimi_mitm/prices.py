"""What an exchange cost and how large its model's context is, from the price list of genai-prices.

The list is the one that was installed: nothing is fetched at run time (genai-prices fetches only when
its updater is started, and nothing here starts it). It is imported at the first question, since that
takes 0.5 s and 50 MB: only the engine asks.
"""

from __future__ import annotations

import re
import tomllib
from datetime import datetime
from decimal import Decimal
from functools import cache, lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

from kimi_mitm.providers import UNKNOWN, bare_name, is_vendor, without_prefixes
from kimi_mitm.records import Usage

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, Provider


def cost(
    usage: Usage, model: str | None, provider: str, served_by: str | None, at: datetime
) -> Decimal | None:
    """US dollars for one exchange at the time `at` (aware); None when there is no price for it.

    What the provider itself states (`usage.cost_usd`) wins. Else the price is the one of whoever
    operates the host, for that is who sends the bill. The vendor's own list holds only where the vendor
    serves the model itself, or where nobody knows who serves it (a gateway of one's own, most likely with
    the vendor's key behind it). A reseller that the list doesn't know has no price: its margin, its plan
    or its free quota would make the vendor's price a guess. A figure that the price needs and that is
    unknown (no input count; no output count where output costs) makes no price either.
    """
    if usage.cost_usd is not None:
        return usage.cost_usd
    if usage.input_tokens is None or not model:
        return None
    found = _priced(model.strip(), provider, served_by)
    if found is None:
        return None
    seller, info = found
    return _calculated(usage, seller, info, at)


def context_window(model: str | None, provider: str, served_by: str | None) -> int | None:
    """The model's context window in tokens where it is served, else the vendor's, else our own table's;
    None when nobody says."""
    if not model:
        return None
    model = model.strip()
    for seller in dict.fromkeys((served_by, provider)):
        info = _model(seller, model) if seller and seller != UNKNOWN else None
        if info is not None and info[1].context_window:
            return int(info[1].context_window)
    name = bare_name(model)
    return next((tokens for match, tokens in _windows() if match.search(name)), None)


def _priced(model: str, provider: str, served_by: str | None) -> tuple[Provider, ModelInfo] | None:
    if served_by is not None:
        found = _model(served_by, model)
        if found is not None or not is_vendor(provider, served_by):
            return found
    return _model(provider, model) if provider != UNKNOWN else None


def _calculated(usage: Usage, seller: Provider, info: ModelInfo, at: datetime) -> Decimal | None:
    from genai_prices.types import Usage as Counts

    if usage.output_tokens is None and _charges_output(info, at):
        return None
    try:
        counts = Counts(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens or 0,
            cache_read_tokens=usage.cache_read_tokens,
            cache_write_tokens=usage.cache_write_tokens,
        )
        return info.calc_price(counts, seller, genai_request_timestamp=at).total_price
    except (ValueError, ArithmeticError, LookupError):
        return None


def _charges_output(info: ModelInfo, at: datetime) -> bool:
    return getattr(info.get_prices(at), "output_mtok", None) is not None


@lru_cache(maxsize=2048)
def _model(seller: str, model: str) -> tuple[Provider, ModelInfo] | None:
    """The seller and the model in genai-prices, by the name as it was sent, then without its prefixes."""
    from genai_prices.data_snapshot import get_snapshot

    snapshot = get_snapshot()
    listed = next((p for p in snapshot.providers if p.id == seller), None)
    if listed is None:
        return None
    for name in dict.fromkeys((model, without_prefixes(model))):
        try:
            return snapshot.find_provider_model(name, listed, None, None)
        except LookupError:
            continue
    return None


@cache
def _windows() -> tuple[tuple[re.Pattern[str], int], ...]:
    table = tomllib.loads(files("kimi_mitm").joinpath("models.toml").read_text(encoding="utf-8"))
    return tuple((re.compile(row["match"]), row["tokens"]) for row in table["windows"])
