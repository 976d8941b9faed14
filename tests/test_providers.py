"""Whose model a name is, and who operates a host: a case for every row of the tables."""

from __future__ import annotations

import tomllib
from importlib.resources import files

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_mitm.providers import (
    bare_name,
    family_of,
    is_other,
    is_vendor,
    operator_of,
    provider_of,
    served_by_host,
    without_prefixes,
)

TABLE = tomllib.loads(files("kimi_mitm").joinpath("providers.toml").read_text(encoding="utf-8"))

# model as sent, provider, family
MODELS = [
    ("nvidia/kimi-k2.5", "nvidia", "kimi"),
    ("nano-gpt/moonshotai/kimi-k2.5:thinking", "nano-gpt", "kimi"),
    ("openai/gpt-oss-120b", "openai", "gpt-oss"),
    ("gpt-oss:20b", "openai", "gpt-oss"),
    ("moonshotai/kimi-k2.5", "moonshotai", "kimi"),
    ("moonshotai/Kimi-K2.5", "moonshotai", "kimi"),
    ("moonshotai.kimi-k2.5", "moonshotai", "kimi"),
    ("kimi/kimi-k2.5", "moonshotai", "kimi"),
    ("kimi-k2.5-free", "moonshotai", "kimi"),
    ("kimi-k2-turbo-preview", "moonshotai", "kimi"),
    ("kimi-for-coding", "moonshotai", "kimi"),
    ("kimi-for-coding-highspeed", "moonshotai", "kimi"),
    ("k3", "moonshotai", "kimi"),
    ("moonshot-v1-8k", "moonshotai", "kimi"),
    ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic", "claude"),
    ("eu.anthropic.claude-sonnet-4-5-20250929-v1:0", "anthropic", "claude"),
    ("apac.anthropic.claude-3-haiku-20240307-v1:0", "anthropic", "claude"),
    ("global.anthropic.claude-opus-4-5-20251101-v1:0", "anthropic", "claude"),
    ("anthropic.claude-v2:1", "anthropic", "claude"),
    ("arn:aws:bedrock:us-east-1:1:inference-profile/us.anthropic.claude-3-7", "anthropic", "claude"),
    ("arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-v2", "anthropic", "claude"),
    ("claude-sonnet-4-5@20250929", "anthropic", "claude"),
    ("publishers/anthropic/models/claude-sonnet-4-5@20250929", "anthropic", "claude"),
    ("anthropic/claude-sonnet-4.5", "anthropic", "claude"),
    ("anthropic:claude-sonnet-4-5", "anthropic", "claude"),
    ("claude-opus-5-5", "anthropic", "claude"),
    ("databricks-claude-3-7-sonnet", "anthropic", "claude"),
    ("publishers/google/models/gemini-2.5-pro", "google", "gemini"),
    ("projects/p/locations/us/publishers/google/models/gemini-2.5-pro", "google", "gemini"),
    ("models/gemini-2.5-flash", "google", "gemini"),
    ("gemini-flash-latest", "google", "gemini"),
    ("google/gemma-3-27b-it:free", "google", "gemma"),
    ("gemma2:9b", "google", "gemma"),
    ("text-bison@002", "google", "palm"),
    ("textembedding-gecko@003", "google", "palm"),
    ("google/flan-ul2", "google", "palm"),
    ("ft:gpt-4o-mini-2024-07-18:org::abc", "openai", "gpt"),
    ("gpt-4o", "openai", "gpt"),
    ("gpt-5.1-codex", "openai", "gpt"),
    ("chatgpt-4o-latest", "openai", "gpt"),
    ("o1", "openai", "o-series"),
    ("o3-mini", "openai", "o-series"),
    ("o4-mini-deep-research", "openai", "o-series"),
    ("codex-mini-latest", "openai", "o-series"),
    ("text-embedding-3-small", "openai", "gpt-legacy"),
    ("text-davinci-003", "openai", "gpt-legacy"),
    ("davinci-002", "openai", "gpt-legacy"),
    ("mistral-large-latest", "mistral", "mistral"),
    ("mistral:7b", "mistral", "mistral"),
    ("codestral-2508", "mistral", "mistral"),
    ("open-mixtral-8x22b", "mistral", "mistral"),
    ("mistralai/Mistral-7B-Instruct-v0.3", "mistral", "mistral"),
    ("mistral-vibe-cli-latest", "mistral", "mistral"),
    ("llama3:8b", "meta", "llama"),
    ("meta-llama/Llama-3.3-70B-Instruct-Turbo", "meta", "llama"),
    ("meta.llama3-2-1b-instruct-v1:0", "meta", "llama"),
    ("grok-4-fast", "x-ai", "grok"),
    ("x-ai/grok-code-fast-1", "x-ai", "grok"),
    ("command-r-plus", "cohere", "command"),
    ("embed-english-v3.0", "cohere", "command"),
    ("cohere.command-text-v14", "cohere", "command"),
    ("deepseek-chat", "deepseek", "deepseek"),
    ("deepseek-r1-distill-llama-70b", "deepseek", "deepseek"),
    ("Pro/deepseek-ai/DeepSeek-V3", "deepseek", "deepseek"),
    ("deepseek.v3-v1:0", "deepseek", "deepseek"),
    ("qwen3-coder-plus", "qwen", "qwen"),
    ("Qwen/Qwen3-Coder-480B-A35B-Instruct", "qwen", "qwen"),
    ("qwen2.5-coder:7b", "qwen", "qwen"),
    ("glm-4.6", "zai", "glm"),
    ("zai-org/GLM-4.6", "zai", "glm"),
    ("z-ai/glm-4.5-air:free", "zai", "glm"),
    ("MiniMax-M2", "minimax", "minimax"),
    ("amazon.nova-lite-v1:0", "aws", "nova"),
    ("us.amazon.nova-pro-v1:0", "aws", "nova"),
    ("amazon.titan-text-express-v1", "aws", "nova"),
    ("sonar-pro", "perplexity", "sonar"),
    ("phi4:14b", "microsoft", "phi"),
    ("nemotron-4-340b", "nvidia", "nemotron"),
    ("granite3.3:8b", "ibm", "granite"),
    ("jamba-1.5-large", "ai21", "jamba"),
    ("ai21.j2-mid-v1", "ai21", "jamba"),
    ("palmyra-x5", "writer", "palmyra"),
    ("luminous-base", "alephalpha", "luminous"),
    ("voyage-3-lite", "voyageai", "voyage"),
    ("doubao-seed-1-6", "bytedance", "doubao"),
    ("ernie-4.5-turbo", "baidu", "ernie"),
    ("hunyuan-turbos-latest", "tencent", "hunyuan"),
    ("step-3", "stepfun", "step"),
    ("mimo-v2-flash", "xiaomi", "mimo"),
    ("LongCat-Flash-Chat", "longcat", "longcat"),
    ("solar-pro2", "upstage", "solar"),
    ("yi-large", "01-ai", "yi"),
    ("mercury-coder", "inception", "mercury"),
    ("databricks-gte-large-en", "databricks", "dbrx"),
    ("dbrx-instruct", "databricks", "dbrx"),
    ("snowflake-arctic", "snowflake", "arctic"),
    ("composer-1", "cursor", "composer"),
    ("lfm-40b", "liquid", "lfm"),
    ("morph-v3-large", "morph", "morph"),
    ("jina-embeddings-v3", "jina", "jina"),
    ("llama-3.1-sonar-large-128k-online", "perplexity", "sonar"),
    ("llama-3.3-70b", "meta", "llama"),
    ("sora-2", "openai", "gpt-legacy"),
    ("imagen-4.0-generate-001", "google", "palm"),
    ("text-embedding-v4", "qwen", "qwen"),
    ("text-embedding-004", "google", "palm"),
    ("phi", "microsoft", "phi"),
    ("olmo2:13b", "allenai", "olmo"),
    ("OLMo-2-1124-7B", "allenai", "olmo"),
    ("nv-embedqa-e5-v5", "nvidia", "nemotron"),
    ("step3", "stepfun", "step"),
    ("mimo", "xiaomi", "mimo"),
    ("yi:34b", "01-ai", "yi"),
    ("inflection-3-pi", "inflection", "inflection"),
    ("rekaai/reka-flash-3", "reka", "reka"),
    ("Baichuan4-Turbo", "baichuan", "baichuan"),
    ("nomic-embed-text:v1.5", "nomic", "nomic"),
    ("sarvamai/sarvam-m", "sarvam", "sarvam"),
    ("kwaipilot/kat-coder-pro:free", "kwaipilot", "kat"),
    ("relace-apply-3", "relace", "relace"),
    ("v0-1.5-md", "vercel", "v0"),
    ("afm-4.5b", "arcee", "arcee"),
    ("hermes-4-70b", "nousresearch", "hermes"),
    ("hermes-3-llama-3.1-405b", "meta", "llama"),
    ("google_genai:gemini-2.0-flash", "google", "gemini"),
    ("qwen3:32b-q4_K_M", "qwen", "qwen"),
    ("Meta-Llama-3.1-8B-Instruct-GGUF", "meta", "llama"),
    ("hf.co/bartowski/Llama-3.2-3B-Instruct-GGUF:Q4_K_M", "meta", "llama"),
    ("accounts/fireworks/models/kimi-k2-instruct", "fireworks", "kimi"),
    ("@cf/meta/llama-3.1-8b-instruct", "cloudflare", "llama"),
    ("azure/gpt-4o", "azure", "gpt"),
    ("nvidia_nim/moonshotai/kimi-k2.5", "nvidia", "kimi"),
    ("openrouter/anthropic/claude-sonnet-4.5", "openrouter", "claude"),
    ("intfloat/e5-mistral-7b-instruct", "mistral", "mistral"),
    ("facebook/opt-125m", "meta", "unknown"),
]


@pytest.mark.parametrize(("model", "provider", "family"), MODELS)
def test_a_model_name_tells_provider_and_family(model: str, provider: str, family: str) -> None:
    assert provider_of(model) == provider
    assert family_of(model) == family


def test_every_family_has_a_case() -> None:
    assert {row["family"] for row in TABLE["families"]} <= {family_of(model) for model, _, _ in MODELS}


@pytest.mark.parametrize("row", TABLE["prefixes"].items(), ids=lambda row: row[0])
def test_every_prefix_names_its_provider(row: tuple[str, str]) -> None:
    prefix, provider = row

    assert provider_of(f"{prefix}/some-model", served_by="elsewhere") == provider


@pytest.mark.parametrize("row", TABLE["hosts"].items(), ids=lambda row: row[0])
def test_every_host_has_its_operator(row: tuple[str, str]) -> None:
    host, operator = row
    host = f"some-name{host}" if host.startswith(".") else host

    assert operator_of(host) == operator
    assert operator_of(host.upper() + ".") == operator
    assert served_by_host(host) == operator


def test_a_name_is_no_domain() -> None:
    assert operator_of("evil-api.openai.com") is None
    assert operator_of("api.openai.com.evil.example") is None
    assert operator_of("openai.azure.com") is None


@pytest.mark.parametrize(
    ("host", "operator"),
    [
        ("bedrock-runtime.eu-central-1.amazonaws.com", "aws"),
        ("bedrock-runtime-fips.us-east-1.amazonaws.com", "aws"),
        ("vpce-0a1b-2c.bedrock-runtime.us-east-1.vpce.amazonaws.com", "aws"),
        ("bedrock-mantle.us-west-2.api.aws", "aws"),
        ("runtime.sagemaker.us-east-1.amazonaws.com", "aws"),
        ("us-central1-aiplatform.googleapis.com", "google"),
        ("europe-west4-aiplatform.googleapis.com", "google"),
        ("aiplatform.us.rep.googleapis.com", "google"),
        ("api.individual.githubcopilot.com", "github-copilot"),
        ("my-app--serve.modal.run", "modal"),
        ("inference.generativeai.us-chicago-1.oci.oraclecloud.com", "oracle"),
        ("x.bedrock-agent-runtime.us-east-1.amazonaws.com", None),
        ("s3.amazonaws.com", None),
        ("storage.googleapis.com", None),
        ("", None),
        ("..", None),
    ],
)
def test_patterns_of_hosts(host: str, operator: str | None) -> None:
    assert operator_of(host) == operator


@pytest.mark.parametrize(
    "host",
    [
        *TABLE["others"]["hosts"],
        "us.i.posthog.com",
        "app.posthog.com",
        "telemetry.individual.githubcopilot.com",
        "gb4w8c3ygj-default-sea.rum.aliyuncs.com",
        "bedrock.us-east-1.amazonaws.com",
        "o1.ingest.sentry.io",
    ],
)
def test_telemetry_sign_in_and_catalogues_have_no_operator(host: str) -> None:
    assert is_other(host)
    assert operator_of(host) is None


def test_local_servers_are_known_by_their_port_on_this_machine_only() -> None:
    assert served_by_host("localhost", 11434) == "ollama"
    assert served_by_host("127.0.0.1", 1234) == "lmstudio"
    assert served_by_host("192.168.1.4", 11434) is None
    assert served_by_host("localhost", 8000) is None


def test_the_user_s_table_comes_first() -> None:
    table = {"gpt-4o": "mine", "Claude-*": "ours", "claude-sonnet-*": "theirs"}

    assert provider_of("GPT-4o", table=table) == "mine"
    assert provider_of("claude-opus-4", table=table) == "ours"
    assert provider_of("claude-sonnet-4", table=table) == "theirs"
    assert provider_of("gemini-2.5-pro", table=table) == "google"


def test_a_name_that_says_nothing_is_the_host_s() -> None:
    assert provider_of("my-deployment", served_by="azure") == "azure"
    assert provider_of(None, served_by="groq") == "groq"
    assert provider_of("my-deployment") == "unknown"
    assert provider_of("") == "unknown"
    assert provider_of("arn:aws:sagemaker:us-east-1:1:endpoint/quick", served_by="aws") == "aws"


@pytest.mark.parametrize(
    ("model", "bare"),
    [
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", "claude-sonnet-4-5-20250929"),
        ("moonshotai/kimi-k2.5:thinking", "kimi-k2.5"),
        ("publishers/google/models/gemini-2.5-pro", "gemini-2.5-pro"),
        ("claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
        ("ft:gpt-4o:org::id", "gpt-4o"),
        ("gpt-4.1-mini", "gpt-4.1-mini"),
        ("qwen2.5:7b", "qwen2.5"),
    ],
)
def test_the_bare_name_has_no_decorations(model: str, bare: str) -> None:
    assert bare_name(model) == bare


def test_a_price_list_gets_the_name_without_its_path() -> None:
    assert (
        without_prefixes("projects/p/locations/l/publishers/google/models/gemini-2.5-pro") == "gemini-2.5-pro"
    )
    assert without_prefixes("openai/gpt-4o") == "gpt-4o"
    assert without_prefixes("arn:aws:bedrock:us-east-1::foundation-model/anthropic.claude-v2:1") == (
        "anthropic.claude-v2:1"
    )


def test_a_vendor_may_sell_under_another_name() -> None:
    assert is_vendor("qwen", "alibaba")
    assert is_vendor("openai", "openai")
    assert not is_vendor("openai", "azure")


@given(st.text(max_size=400), st.one_of(st.none(), st.text(max_size=20)))
def test_no_name_raises(model: str, served_by: str | None) -> None:
    assert isinstance(provider_of(model, served_by=served_by), str)
    assert isinstance(family_of(model), str)
    assert isinstance(without_prefixes(model), str)


@given(st.text(max_size=300))
def test_no_host_raises(host: str) -> None:
    assert served_by_host(host, 443) == operator_of(host)


def test_a_name_too_long_for_a_host_is_none() -> None:
    assert operator_of("a." * 100_000 + "openai.azure.com") is None
