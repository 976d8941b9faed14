"""What never gets out: keys in text, URLs and headers; and what must stay as it is."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_mitm import redact
from kimi_mitm.redact import MASK

CANARY = "sk-canary-THIS-KEY-MUST-NEVER-BE-WRITTEN-0123456789abcdef"
RANDOM = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6"
LETTERS = "correcthorsebatterystapleagain"
DIGITS = "0123456789abcdef0123456789abcdef"

# what a secret looks like, and the part that must be gone
SECRETS = [
    (CANARY, CANARY[3:]),
    (f"sk-{RANDOM}", RANDOM),
    (f"sk-ant-api03-{RANDOM}-AA", RANDOM),
    (f"sk-proj-{RANDOM}_{RANDOM}", RANDOM),
    (f"sk-or-v1-{DIGITS}", DIGITS),
    (f"pk-lf-{RANDOM}", RANDOM),
    (f"sk_live_{RANDOM}", RANDOM),
    (f"sk_test_{RANDOM}", RANDOM),
    (f"rk_live_{RANDOM}", RANDOM),
    (f"AIzaSy{RANDOM}", RANDOM),
    (f"ya29.{RANDOM}", RANDOM),
    (f"ghp_{RANDOM}", RANDOM),
    (f"gho_{RANDOM}", RANDOM),
    (f"ghu_{RANDOM}", RANDOM),
    (f"ghs_{RANDOM}", RANDOM),
    (f"ghr_{RANDOM}", RANDOM),
    (f"github_pat_{RANDOM}_{RANDOM}", RANDOM),
    (f"glpat-{RANDOM}", RANDOM),
    (f"xoxa-{RANDOM}", RANDOM),
    (f"xoxb-123456789012-{RANDOM}", RANDOM),
    (f"xoxe-{RANDOM}", RANDOM),
    (f"xoxp-{RANDOM}", RANDOM),
    (f"xoxr-{RANDOM}", RANDOM),
    (f"xoxs-{RANDOM}", RANDOM),
    (f"xapp-1-{RANDOM}", RANDOM),
    (f"nvapi-{RANDOM}", RANDOM),
    (f"hf_{RANDOM}", RANDOM),
    (f"gsk_{RANDOM}", RANDOM),
    (f"r8_{RANDOM}", RANDOM),
    (f"fw_{RANDOM}", RANDOM),
    (f"pplx-{RANDOM}", RANDOM),
    (f"xai-{RANDOM}", RANDOM),
    (f"csk-{RANDOM}", RANDOM),
    (f"tvly-dev-{RANDOM}", RANDOM),
    (f"jina_{RANDOM}", RANDOM),
    (f"npm_{RANDOM}", RANDOM),
    (f"pypi-AgEIcHlwaS5vcmc{RANDOM}", RANDOM),
    (f"dop_v1_{DIGITS}", DIGITS),
    (f"shpat_{DIGITS}", DIGITS),
    (f"lsv2_pt_{DIGITS}_0123456789", DIGITS),
    (f"SG.{RANDOM[:22]}.{RANDOM}", RANDOM),
    (f"ABSK{RANDOM}", RANDOM),
    ("AKIAIOSFODNN7EXAMPLE", "IOSFODNN7EXAMPLE"),
    ("ASIAIOSFODNN7EXAMPLE", "IOSFODNN7EXAMPLE"),
    (f"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.{RANDOM}", RANDOM),
    (f"Authorization: Bearer {RANDOM}", RANDOM),
    (f"authorization: basic {RANDOM}==", RANDOM),
    ("password=hunter2!", "hunter2!"),
    ("PASSWORD: 'correct-horse'", "correct-horse"),
    ('{"passwd": "hunter22"}', "hunter22"),
    ('{\\"password\\": \\"hunter22\\"}', "hunter22"),
    ("passphrase = opensesame", "opensesame"),
    (f"client_secret={RANDOM}", RANDOM),
    ('{"aws_secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}', "wJalrXUtnFEMI"),
    ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "wJalrXUtnFEMI"),
    (f"OPENAI_API_KEY={RANDOM}", RANDOM),
    (f'apiKey: "{RANDOM}"', RANDOM),
    (f"x-api-key: {RANDOM}", RANDOM),
    (f"?access_token={RANDOM}&x=1", RANDOM),
    (f"refresh_token: {RANDOM}", RANDOM),
    (f"aws_session_token = {RANDOM}", RANDOM),
    (f"https://a.blob.core.windows.net/c?sv=2024&sig={RANDOM}%3D&se=1", RANDOM),
    (f"X-Amz-Signature={DIGITS}", DIGITS),
    ("postgres://app:s3cretpw@db:5432/x", "s3cretpw"),
    ('{"authorization": "correcthorse"}', "correcthorse"),
    ('"Authorization": "Bearer correcthorse"', "correcthorse"),
    ('{\\"authorization_token\\": \\"correcthorse\\"}', "correcthorse"),
    ('{"X-Api-Key": "correcthorse"}', "correcthorse"),
    (f"Authorization: Bearer {LETTERS}", LETTERS),
    (f"api_key={LETTERS}", LETTERS),
    ("-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA\n-----END RSA PRIVATE KEY-----", "MIIEpAIBAAKCAQEA"),
    ("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk", "b3BlbnNzaC1rZXk"),
    ("-----BEGIN PRIVATE KEY-----\\nMIIEvQIBADAN\\n-----END PRIVATE KEY-----\\n", "MIIEvQIBADAN"),
]


@pytest.mark.parametrize(("secret", "gone"), SECRETS, ids=[s[:28] for s, _ in SECRETS])
def test_a_secret_in_text_is_masked(secret: str, gone: str) -> None:
    for text in (secret, f"before {secret} after", f'"{secret}"', f"({secret})\n{secret}"):
        masked = redact.text(text)
        assert gone not in masked
        assert MASK in masked


def test_text_around_a_secret_stays() -> None:
    assert redact.text(f"use {CANARY} now") == f"use sk-{MASK} now"
    assert redact.text(f"a ghp_{RANDOM}, b AKIAIOSFODNN7EXAMPLE.") == f"a ghp_{MASK}, b AKIA{MASK}."


@pytest.mark.parametrize(
    "text",
    [
        "",
        "short",
        "The quick brown fox.",
        "pip install sk-learn-contrib-packages",
        "const apiKey = process.env.OPENAI_API_KEY",
        "api_key = os.environ['OPENAI_API_KEY']",
        "password: string;",
        "def login(user, password): return token",
        "hf_hub_download(repo_id, filename)",
        "npm_config_registry=https://registry.example",
        "The task-force had a disk-based risk-assessment-of-20-items",
        "asks: sk-",
        "see https://example.com:8080/path and ssh://git@host/x",
        "design signal sigma: fine",
        '{"required": ["api_key", "authorization"], "authorization": {"type": "string"}}',
        '{"authorization": "Bearer <token>", "api_key": "your-key-here"}',
        '{"authorization": "how the server is told who asks"}',
        "Basic English and bearer bonds",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "日本語のテキスト パスワード",
        "\ud800 lone surrogate with İ dotted capital",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert redact.text(text) == text


def test_a_character_that_grows_in_lower_case_moves_nothing() -> None:
    assert redact.text(f"İİİ api_key={RANDOM} İ") == f"İİİ api_key={MASK} İ"


def test_masking_twice_changes_nothing_more() -> None:
    for secret, _ in SECRETS:
        once = redact.text(secret)
        assert redact.text(once) == once


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        " ",
        "eyJ",
        "-eyJ",
        ".eyJaaaaaaaaaaaaaa",
        "sk-",
        "sk-aaaaaaaaaaaaaaaa ",
        "bearer ",
        "://a:",
        "password=",
        "-----BEGIN ",
        "-----BEGIN PRIVATE KEY-----",
        "SG.aaaaaaaaaaaaaaaa.",
        "api_key    ",
        '"authorization": "',
        '"api_key": "bearer   ',
    ],
)
def test_the_time_is_linear_in_any_input(unit: str) -> None:
    text = unit * (2_000_000 // len(unit))
    before = time.process_time()

    redact.text(text)

    assert time.process_time() - before < 3


def test_five_megabytes_take_a_second_or_two() -> None:
    text = "The password policy: keys, tokens and https://example.com/x?sig=1 are secret. " * 64_000
    before = time.process_time()

    redact.text(text)

    assert time.process_time() - before < 5


@given(st.text(alphabet="sk-eyJ.ghp_:/@= Aa0\"'\\passwordB", max_size=300))
def test_no_text_raises(text: str) -> None:
    redact.text(text)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://h/v1/models/g:x?alt=sse&key=AIzaSyA1", "https://h/v1/models/g:x?alt=sse&key="),
        ("https://h/openai/x?api-version=2024-10-21", "https://h/openai/x?api-version=2024-10-21"),
        ("https://h/v1/messages?beta=true", "https://h/v1/messages?beta=true"),
        ("https://user:pw@h:8443/x", "https://h:8443/x"),
        ("wss://h/v1/realtime?model=gpt-realtime#frag", "wss://h/v1/realtime?model=gpt-realtime"),
        ("https://a.blob/x?sv=2020&sig=abc%3D&se=1", "https://a.blob/x?sv=&sig=&se="),
        ("https://api.telegram.org/bot123456:AAEabcdefghijk/sendMessage", f"https://api.telegram.org/{MASK}/sendMessage"),
        (f"https://h/v1/sk-{RANDOM}/chat", f"https://h/v1/sk-{MASK}/chat"),
        (f"https://h/key/{RANDOM}/chat", f"https://h/{MASK}/chat"),
        ("/v1/x?key=1&alt=sse", "/v1/x?key=&alt=sse"),
        ("https://h/x?model=" + CANARY, f"https://h/x?model=sk-{MASK}"),
        ("https://h/x?" + CANARY, f"https://h/x?sk-{MASK}"),
        ("https://h/model/arn%3Aaws%3Abedrock%3A1/invoke", "https://h/model/arn%3Aaws%3Abedrock%3A1/invoke"),
        ("http://h:abc/v1?key=1", "http://h:abc/v1?key="),
        ("http://[bad/v1?key=1", "http://[bad/v1"),
        ("https://h/honeyjar-collection-2", "https://h/honeyjar-collection-2"),
    ],
)  # fmt: skip
def test_a_url_keeps_only_what_is_allowed(url: str, expected: str) -> None:
    assert redact.url(url) == expected


@given(st.text(max_size=200))
def test_no_url_raises_nor_keeps_a_key(text: str) -> None:
    assert CANARY not in redact.url(f"https://h/{text}?key={CANARY}")
    redact.url(text)


@pytest.mark.parametrize(
    "message",
    [
        "Incorrect API key provided: {}. You can find your API key elsewhere.",
        "Access denied due to invalid subscription key {}",
        "invalid api token: {}",
        "Authentication Error, Virtual Key expected. Received={}, expected to start with 'sk-'",
        'detail: "bad credential {}"',
    ],
)
@pytest.mark.parametrize("key", [DIGITS, RANDOM, CANARY, DIGITS.upper()])
def test_an_error_that_repeats_a_key_is_masked(message: str, key: str) -> None:
    masked = redact.error(message.format(key))
    assert key[3:] not in masked
    assert masked.startswith(message[:10])
    assert redact.error(masked) == masked


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 128000 tokens. However, your messages resulted in 130000.",
        "Your API key has no access to gpt-4o-mini-2024-07-18-preview-with-a-long-name",
        f"No tool output found for function call call_{RANDOM}.",
        "Access token lacks the scope ServiceTierInsufficientCapacityException",
        "You can find your API key at https://platform.openai.com/account/api-keys.",
        "",
    ],
)
def test_other_errors_stay_as_they_are(message: str) -> None:
    assert redact.error(message) == message


def test_an_errors_type_is_no_key() -> None:
    assert redact.word("invalid_request_error") == "invalid_request_error"
    assert redact.word("InsufficientCapacityExceptionOfSomeService") == (
        "InsufficientCapacityExceptionOfSomeService"
    )
    assert redact.word(DIGITS) == MASK
    assert CANARY[3:] not in redact.word(f"error {CANARY}")


def test_a_field_of_a_record_is_masked_like_text() -> None:
    assert redact.field(None) is None
    assert redact.field("gpt-4o") == "gpt-4o"
    assert redact.field(CANARY) == f"sk-{MASK}"


def test_random_values_are_no_parameters() -> None:
    assert redact.url(f"https://h/x?beta={DIGITS}&alt=sse") == f"https://h/x?beta={MASK}&alt=sse"
    assert redact.query(f"stream={RANDOM}&alt=sse") == {"alt": "sse"}


def test_a_query_keeps_only_allowed_parameters() -> None:
    assert redact.query(f"alt=sse&key={CANARY}&API-Version=2024&model=a%2Fb&x=1") == {
        "alt": "sse",
        "api-version": "2024",
        "model": "a/b",
    }
    assert redact.query(f"model={CANARY}") == {}


def test_headers_go_by_an_allow_list() -> None:
    pairs = [
        ("User-Agent", "codex/1"),
        ("Authorization", f"Bearer {CANARY}"),
        ("x-api-key", CANARY),
        ("API-KEY", CANARY),
        ("x-goog-api-key", CANARY),
        ("Cookie", f"session={CANARY}"),
        ("Set-Cookie", f"session={CANARY}"),
        ("X-Amz-Security-Token", CANARY),
        ("Proxy-Authorization", f"Basic {CANARY}"),
        ("Sec-WebSocket-Protocol", f"realtime, openai-insecure-api-key.{CANARY}"),
        ("ChatGPT-Account-ID", "acct"),
        ("anthropic-organization-id", "org"),
        ("anthropic-ratelimit-tokens-remaining", "5"),
        ("x-amzn-bedrock-input-token-count", "7"),
        ("X-Claude-Code-Session-Id", "s"),
        ("Retry-After", "3"),
        ("x-title", CANARY),
    ]

    kept = redact.headers(pairs)

    assert [name for name, _ in kept] == [
        "user-agent",
        "anthropic-ratelimit-tokens-remaining",
        "x-amzn-bedrock-input-token-count",
        "x-claude-code-session-id",
        "retry-after",
        "x-title",
    ]
    assert CANARY not in str(kept)
