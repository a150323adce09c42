"""The file system as a Landlock plan asks for it: by the names that logs and policies write."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from capsule.enforce.disk import Disk
from capsule.text import escape_arg


@pytest.mark.parametrize("name", [b"plain", b"back\\slash", b"caf\xe9", b"new\nline", b"[a]*"])
def test_a_file_is_found_by_its_escaped_name(name: bytes, tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(name)).write_text("")
    path = escape_arg(str(tmp_path / os.fsdecode(name)))
    assert Disk().kind(path) == "file"
    assert list(Disk().matching(escape_arg(str(tmp_path)) + "/*")) == [path]


def test_what_cannot_be_a_name_is_not_there(tmp_path: Path) -> None:
    assert Disk().kind(f"{tmp_path}/\\x00") is None
    assert Disk().kind(f"{tmp_path}/a\\b") is None
    assert not Disk().is_shared(f"{tmp_path}/\\x00")
