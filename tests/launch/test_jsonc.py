"""Members set in the text of JSON with comments."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_mitm.launch.jsonc import JsoncError, members, set_members

COMMENTED = """// my settings
{
  // fonts
  "editor.fontSize": 13, /* big */
  "nested": { "a": [1, 2, {"http.proxy": "not this"}], }, // trailing comma
  "text": "a // b /* c */ \\" }",
  "http.proxy": "http://corp:3128", // the firm's
}
"""


def test_comments_and_layout_stay() -> None:
    found = set_members(COMMENTED, {"http.proxy": "http://127.0.0.1:8080", "http.noProxy": ["localhost"]})

    assert found == COMMENTED.replace('"http://corp:3128"', '"http://127.0.0.1:8080"').replace(
        "{\n  // fonts", '{\n  "http.noProxy": ["localhost"],\n  // fonts', 1
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", '{\n    "k": 1\n}\n'),
        ("{}", '{\n    "k": 1\n}'),
        ("{\n}\n", '{\n    "k": 1\n}\n'),
        ("{ }", '{\n    "k": 1\n }'),
        ('{"a": 2}', '{\n    "k": 1,"a": 2}'),
        ('{\n\t"a": 2\n}', '{\n\t"k": 1,\n\t"a": 2\n}'),
        ('{\r\n  "a": 2\r\n}\r\n', '{\r\n  "k": 1,\r\n  "a": 2\r\n}\r\n'),
        ('\ufeff{"k": 0}', '\ufeff{"k": 1}'),
        ('{"k": {"x": "}"}, "k": [0]}', '{"k": {"x": "}"}, "k": 1}'),
        ("// only a comment\n", '// only a comment\n{\n    "k": 1\n}\n'),
        ('{ // here\n  "a": 2 }', '{\n  "k": 1, // here\n  "a": 2 }'),
        ('{"\\u006b": 0}', '{"\\u006b": 1}'),
    ],
)
def test_a_member_is_set_in_any_layout(text: str, found: str) -> None:
    assert set_members(text, {"k": 1}) == found
    assert members(found)["k"] == 1


@pytest.mark.parametrize(
    "text",
    [
        *("[]", "{", '{"a" 1}', '{"a": }', "{a: 1}", '{"a": 1} x', '{"a": "b}', "null", '{"a": 1 "b": 2}'),
        *("[" * 999, '{"a": ' + "[" * 5000, '{"\ud800": 1'),
    ],
)
def test_what_is_no_object_is_left_alone(text: str) -> None:
    with pytest.raises(JsoncError):
        set_members(text, {"k": 1})


KEYS = st.text(max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(KEYS, VALUES, max_size=4), KEYS, VALUES, st.sampled_from([None, 0, 2]))
def test_only_that_member_changes(
    before: dict[str, object], key: str, value: object, indent: int | None
) -> None:
    after = set_members(json.dumps(before, indent=indent), {key: value})

    assert json.loads(after) == {**before, key: value}


@given(st.text(alphabet='{}[]":,/*\\\n a1', max_size=40))
def test_any_text_is_taken_or_refused(text: str) -> None:
    try:
        found = set_members(text, {"k": 1})
    except JsoncError:
        return
    assert members(found)["k"] == 1
