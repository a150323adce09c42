r"""Bytes that may not be UTF-8, as text, and back: the one escape used in every log.

A file name is bytes; JSON holds text. `escape` keeps what is valid UTF-8 as it is and
writes every other byte as `\xNN` (two lower-case hex digits). The backslash itself becomes
`\\`, which makes the mapping one-to-one:

    escape(b"caf\xc3\xa9")   ->  'café'
    escape(b"caf\xe9")       ->  'caf\\xe9'      (the seven characters caf\xe9)
    escape(b"a\\b")          ->  'a\\\\b'

Which bytes are valid UTF-8 is Unicode's rule (RFC 3629: no surrogates, no overlong forms).
Control and bidi characters are valid and kept: what prints a log has to make them harmless.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Mapping

_ESCAPE = re.compile(r"\\(?:\\|x[0-9a-f]{2})")


def _as_hex(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    bad = error.object[error.start : error.end]
    return "".join(f"\\x{byte:02x}" for byte in bad), error.end


codecs.register_error("capsule.escape", _as_hex)


def escape(data: bytes) -> str:
    """Return `data` as text that UTF-8 and JSON can hold; `unescape` gives the bytes back."""
    return data.replace(b"\\", b"\\\\").decode("utf-8", "capsule.escape")


def unescape(text: str) -> bytes:
    """Return the bytes that `escape` wrote as `text`. ValueError if it cannot have written it."""
    out = bytearray()
    at = 0
    while (slash := text.find("\\", at)) >= 0:
        found = _ESCAPE.match(text, slash)
        if found is None:
            raise ValueError(f"not an escape at character {slash}: {text[slash : slash + 4]!r}")
        out += text[at:slash].encode()
        code = found.group()
        out += b"\\" if code == "\\\\" else bytes.fromhex(code[2:])
        at = found.end()
    out += text[at:].encode()
    if escape(bytes(out)) != text:
        raise ValueError("an escape stands for a byte that needs none")
    return bytes(out)


def escape_arg(text: str) -> str:
    """`escape` for a str of the operating system (argv, environ, a path: os.fsdecode)."""
    return escape(os.fsencode(text))


def unescape_arg(text: str) -> str:
    """Return what `escape_arg` wrote as `text`; text that it cannot have written is itself."""
    try:
        return os.fsdecode(unescape(text))
    except ValueError:
        return text


def harmless(text: str) -> str:
    """`text` with control, bidi and other invisible characters written as escapes."""
    if text.isprintable():
        return text
    return "".join(
        char
        if char.isprintable()
        else f"\\x{ord(char):02x}"
        if ord(char) < 0x100
        else f"\\u{{{ord(char):x}}}"
        for char in text
    )


def jsonable(value: object) -> object:
    """`value` as JSON can hold it: text that is not UTF-8 and bytes escaped, integers beyond
    64 bits as decimal text, whatever else as its `str`."""
    if value is None or isinstance(value, (bool, float)):
        return value
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            return escape_arg(value)
        return value
    if isinstance(value, bytes):
        return escape(value)
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else str(value)
    if isinstance(value, Mapping):
        return {str(jsonable(key)): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [jsonable(item) for item in value]
    return str(value)
