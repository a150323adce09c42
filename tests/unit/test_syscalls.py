"""The table of system calls, held to the kernel's headers and to the strace installed here."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from capsule import syscalls
from capsule._enrich import AMOUNTS
from capsule._locate import RULES

HEADERS = Path("/usr/include/x86_64-linux-gnu/asm")


def header_numbers(name: str) -> dict[str, int]:
    path = HEADERS / name
    if not path.exists():
        pytest.fail(f"{path} is missing: install linux-libc-dev")
    return {
        match[1]: int(match[2])
        for match in re.finditer(r"#define __NR_(\w+) (\d+)", path.read_text())
    }


def test_every_x86_64_call_of_the_headers_has_its_number() -> None:
    ours = {row.name: row.number for row in syscalls.table()}
    assert {name: ours.get(name) for name in header_numbers("unistd_64.h")} == header_numbers(
        "unistd_64.h"
    )


def test_every_i386_call_of_the_headers_has_a_row() -> None:
    assert set(header_numbers("unistd_32.h")) - set(syscalls.NAMES) == set()


def test_names_and_numbers_are_unique() -> None:
    numbers = [row.number for row in syscalls.table() if row.number is not None]
    assert len(set(syscalls.NAMES)) == len(syscalls.NAMES)
    assert len(set(numbers)) == len(numbers)


def test_every_name_the_installed_strace_knows_has_a_row() -> None:
    strace = shutil.which("strace")
    assert strace is not None
    words = set(re.findall(rb"[a-z_][a-z0-9_]{2,30}", Path(strace).read_bytes()))
    unknown = sorted(words - {name.encode() for name in syscalls.NAMES})
    # Ask strace itself which of the words in its binary are calls, many at a time.
    known = [word for word in unknown if _is_call(strace, word.decode())]
    assert known == []


def _is_call(strace: str, word: str) -> bool:
    if not _looks_like_a_call(word):
        return False
    done = subprocess.run(
        [strace, "-e", f"trace=/^{word}$", "-V"], capture_output=True, text=True, check=False
    )
    return "invalid system call" not in done.stderr


def _looks_like_a_call(word: str) -> bool:
    stems = {name.split("_")[0].rstrip("0123456789") for name in syscalls.NAMES}
    return word.split("_", maxsplit=1)[0].rstrip("0123456789") in stems


@pytest.mark.parametrize("row", syscalls.table(), ids=lambda row: row.name)
def test_row_says_what_it_means(row: syscalls.Row) -> None:
    assert row.kind in syscalls.KINDS
    assert row.target in RULES
    assert row.bytes in AMOUNTS
    assert row.risk in {"none", "watch", "high"}
    assert re.fullmatch(r"[a-z]+\.[a-z]+", row.kind)
    assert (row.target == "") == (row.target_arg == -1)


def test_immediate_kinds_exist() -> None:
    assert set(syscalls.KINDS) >= syscalls.IMMEDIATE
