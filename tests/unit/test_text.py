"""The escape for bytes that are not UTF-8: one-to-one, and always encodable."""

import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from capsule.text import escape, escape_arg, unescape


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", ""),
        (b"/etc/passwd", "/etc/passwd"),
        ("/tmp/café".encode(), "/tmp/café"),
        (b"caf\xe9", "caf\\xe9"),
        (b"a\\b", "a\\\\b"),
        (b"\\xe9", "\\\\xe9"),
        (b"\xe9\\", "\\xe9\\\\"),
        (b"\xed\xa0\x80", "\\xed\\xa0\\x80"),  # a surrogate is not UTF-8
        (b"\xc0\xaf", "\\xc0\\xaf"),  # nor is an overlong form
        (b"\xf0\x9f\x98", "\\xf0\\x9f\\x98"),  # nor a cut character
        (b"nul\0tab\t", "nul\0tab\t"),
    ],
)
def test_escape_is_exactly_this(data: bytes, text: str) -> None:
    assert escape(data) == text
    assert unescape(text) == data


@given(st.binary(max_size=64))
@example(b"\\\\x41\\xff\xff")
def test_bytes_come_back(data: bytes) -> None:
    text = escape(data)
    text.encode()  # no lone surrogate: JSON writers take it
    assert unescape(text) == data


@given(st.text(alphabet=st.sampled_from("\\xe94 ax\u00e9"), max_size=12))
def test_no_second_spelling(text: str) -> None:
    """A text that does not come back the same is refused, so no two texts mean the same bytes."""
    try:
        data = unescape(text)
    except ValueError:
        return
    assert escape(data) == text


@pytest.mark.parametrize("text", ["\\", "\\q", "\\x4", "\\xE9", "\\x41", "\\xc3\\xa9", "a\\"])
def test_what_escape_never_writes_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="escape"):
        unescape(text)


@given(st.binary(max_size=32).map(lambda data: data.replace(b"\0", b"")))
def test_an_argument_of_the_operating_system_comes_back(data: bytes) -> None:
    assert unescape(escape_arg(os.fsdecode(data))) == data
