"""`native`: Capsule's own policy, which says all; its schema is `policy.schema.json`."""

from __future__ import annotations

from pathlib import Path

import orjson

from capsule.dialects.rendering import Asked, Rendered
from capsule.policy import Policy

_OPTIONS = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE


def render(policy: Policy, _asked: Asked) -> Rendered:
    """Return the policy itself."""
    return Rendered(orjson.dumps(policy.plain(), option=_OPTIONS).decode(), [])


def schema() -> str:
    """Return the JSON schema (draft 2020-12) of a policy."""
    return Path(__file__).with_name("policy.schema.json").read_text("utf-8")
