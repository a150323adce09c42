"""Secrets in a command line, hidden before they reach any record.

What counts as one: the value of an option or assignment whose name says so (`--password=x`,
`--token x`, `API_KEY=x`), the password in a URL, an `Authorization:` header, and tokens that
are told by their own shape (GitHub, GitLab, AWS, Slack, JWT, private keys).
"""

from __future__ import annotations

import re

HIDDEN = b"[redacted]"

_NAME = (
    rb"(?:[a-z0-9_.-]*[_.-])?(?:password|passwd|passphrase|pass|pwd|secret|token|api[_-]?key|"
    rb"apikey|access[_-]?key(?:[_-]id)?|private[_-]?key|secret[_-]?key|credentials?|auth)"
)
_ASSIGN = re.compile(rb"^(-{0,2}" + _NAME + rb"=)(.+)$", re.IGNORECASE | re.DOTALL)
_OPTION = re.compile(rb"^--?" + _NAME + rb"$", re.IGNORECASE)
_URL = re.compile(rb"([a-z][a-z0-9+.-]*://[^\s/:@]*:)([^\s/@]+)(@)", re.IGNORECASE)
_HEADER = re.compile(
    rb"((?:proxy-)?authorization:\s*(?:(?:basic|bearer|digest|token)\s+)?|x-api-key:\s*|"
    rb"private-token:\s*|\bbearer\s+)(\S+)",
    re.IGNORECASE,
)
_SHAPE = re.compile(
    rb"gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{40,}|glpat-[A-Za-z0-9_-]{20,}|"
    rb"(?:AKIA|ASIA)[A-Z0-9]{16}|xox[abprs]-[A-Za-z0-9-]{10,}|"
    rb"eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+|"
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
_MAYBE = re.compile(rb"pass|pwd|secret|token|key|auth|cred|://|gh[pousr]_|github_pat|glpat|AKIA|"
                    rb"ASIA|xox|eyJ|bearer|BEGIN", re.IGNORECASE)  # fmt: skip


def arguments(argv: list[bytes]) -> tuple[list[bytes], int]:
    """Return the argv with its secrets replaced by `[redacted]`, and how many there were."""
    hidden = 0
    shown = []
    value_follows = False
    for position, arg in enumerate(argv):
        if value_follows and not arg.startswith(b"-"):
            shown.append(HIDDEN)
            hidden += 1
            value_follows = False
            continue
        value_follows = False
        if _MAYBE.search(arg) is None or position == 0:
            shown.append(arg)
            continue
        if _OPTION.match(arg):
            value_follows = True
            shown.append(arg)
            continue
        text, count = _ASSIGN.subn(rb"\1" + HIDDEN, arg)
        if not count:
            text, urls = _URL.subn(rb"\1" + HIDDEN + rb"\3", arg)
            text, headers = _HEADER.subn(rb"\1" + HIDDEN, text)
            text, shapes = _SHAPE.subn(HIDDEN, text)
            count = urls + headers + shapes
        shown.append(text)
        hidden += count
    return shown, hidden
