"""Which paths of two runs become one pattern, and which must never."""

from __future__ import annotations

import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsule import generalise

HOME = "/home/ann"
HASH = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        ("/tmp/tmp.Xa1b2C3d4e", "/tmp/tmp.Qz9y8W7v6u", "/tmp/tmp.*"),
        ("/tmp/tmp.Xa1b2C3d4e", "/tmp/tmp.Xz9y8W7v6e", "/tmp/tmp.*"),  # two shared by chance
        ("/tmp/ccAbCd12.s", "/tmp/ccAzXy34.s", "/tmp/cc*.s"),  # gcc; one shared by chance
        ("/tmp/tmpa1b2c3d4", "/tmp/tmpqwertyui", "/tmp/tmp*"),  # Python's, one without a digit
        ("/tmp/tmpqwertyui.py", "/tmp/tmpqs_dfghj.py", "/tmp/tmp*.py"),  # none with one, a q shared
        ("/tmp/pip-unpack-qwe_tyui", "/tmp/pip-unpack-a1b2c3d4", "/tmp/pip-unpack-*"),
        ("/w/.git/ta1B2c3", "/w/.git/tz9Y8x7", "/w/.git/t*"),  # git init
        ("/tmp/job-17/out", "/tmp/job-4/out", "/tmp/job-*/out"),
        ("/w/__pycache__/x.cpython-311.pyc.139872", "/w/__pycache__/x.cpython-311.pyc.1401",
         "/w/__pycache__/x.cpython-311.pyc.*"),
        ("/tmp/npm-12-a1b2c3d4/x", "/tmp/npm-9-z9y8x7w6/x", "/tmp/npm-*-*/x"),
        ("/w/db-journal", "/w/db-wal", None),
        ("/var/tmp/etilqs_0a1b2c3d4e5f6071", "/var/tmp/etilqs_f1e2d3c4b5a69788",
         "/var/tmp/etilqs_*"),
        ("/proc/812/stat", "/proc/99/stat", "/proc/*/stat"),
        ("/proc/self/task/812/comm", "/proc/self/task/99/comm", "/proc/self/task/*/comm"),
        ("/proc/812/mem", "/proc/99/mem", None),
        ("/proc/812/fd/3", "/proc/99/fd/3", None),
        ("/var/lib/app/report", "/var/lib/app/secret", None),  # words, not tokens
        ("/var/lib/app/reports", "/var/lib/app/secrets", None),
        (f"/w/.git/objects/0a/{HASH[2:]}", f"/w/.git/objects/4d/{HASH[:38]}",
         "/w/.git/objects/*/*"),
        (f"/c/http-v2/0/a/1/b/2/{HASH}", f"/c/http-v2/f/e/d/c/b/{HASH[::-1]}",
         "/c/http-v2/*/*/*/*/*/*"),
        (f"/c/sha512/0a/1b/{HASH}", f"/c/sha512/ff/ee/{HASH[::-1]}", "/c/sha512/*/*/*"),
        ("/w/objects/0a", "/w/objects/4d", None),  # nothing says that these are hashes
        ("/srv/a1/report", "/srv/b2/report", None),
        ("/a1B2c3D4/x", "/z9Y8x7W6/x", None),  # would reach into every directory of the root
        (f"{HOME}/a1B2c3D4", f"{HOME}/z9Y8x7W6", None),
        (f"{HOME}/x-1", f"{HOME}/x-2", None),
        (f"{HOME}/.config/a1B2c3D4/x", f"{HOME}/.config/z9Y8x7W6/x", None),
        (f"{HOME}/.cache/a1B2c3D4", f"{HOME}/.cache/z9Y8x7W6", f"{HOME}/.cache/*"),
        ("/home/user1/x", "/home/user2/x", None),
        ("/home/bob/a1B2c3D4", "/home/bob/z9Y8x7W6", None),
        ("/root/a1B2c3D4", "/root/z9Y8x7W6", None),
        ("/etc/a1B2c3D4", "/etc/z9Y8x7W6", None),
        ("/etc/x.a1B2c3D4", "/etc/x.z9Y8x7W6", "/etc/x.*"),
        ("/srv/x/.ssh/key1", "/srv/x/.ssh/key2", None),
        ("/etc/ssl/private/1", "/etc/ssl/private/2", None),
        ("/tmp/a*1", "/tmp/a*2", None),  # a name with a star stands for itself alone
    ],
)  # fmt: skip
def test_what_becomes_a_pattern(one: str, two: str, expected: str | None) -> None:
    assert generalise.patterns([[one], [two]], HOME) == ([expected] if expected else [])
    assert generalise.patterns([[two], [one]], HOME) == ([expected] if expected else [])
    assert generalise.patterns([[one, two], [one, two]], HOME) == []  # they do not differ


def test_what_else_is_in_a_store_of_hashes() -> None:
    """git makes the directory, and a temporary file in it, before the file."""
    runs = []
    for short in ("0a", "4d", "b7"):
        at = f"/w/.git/objects/{short}"
        runs.append([at, f"{at}/tmp_obj_{short}Xy{short}", f"{at}/{HASH[2:]}"])
    found = generalise.patterns(runs[:2], HOME)
    assert found == [
        "/w/.git/objects/*", f"/w/.git/objects/*/{HASH[2:]}", "/w/.git/objects/*/tmp_obj_*"
    ]  # fmt: skip
    assert all(any(generalise.matches(one, path) for one in found) for path in runs[2])


LETTERS = string.ascii_letters + string.digits


@pytest.mark.parametrize(
    ("shape", "letters", "length"),
    [
        ("/w/.git/t{}", LETTERS, 6),
        ("/tmp/tmp.{}", LETTERS, 10),  # mktemp(1)
        ("/tmp/cc{}.s", LETTERS, 6),  # gcc
        ("/tmp/tmp{}", string.ascii_lowercase + string.digits + "_", 8),  # tempfile
        ("/w/.git/objects/ab/tmp_obj_{}", LETTERS, 6),
        ("/tmp/sort{}", LETTERS, 6),
    ],
)
@pytest.mark.parametrize("runs", [2, 4])
def test_one_more_run_is_covered(shape: str, letters: str, length: int, runs: int) -> None:
    made_up = random.Random(shape)
    missed = 0
    for _ in range(400):
        *paths, more = (
            shape.format("".join(made_up.choice(letters) for _ in range(length)))
            for _ in range(runs + 1)
        )
        found = generalise.patterns([[path] for path in paths], HOME)
        missed += not any(generalise.matches(one, more) for one in found)
    assert missed <= 2


def test_what_some_runs_share_is_no_pattern() -> None:
    assert generalise.patterns([[], ["/srv/a1"], ["/srv/a1"]], HOME) == []


NAME = st.sampled_from(
    ("a1B2c3D4", "z9Y8x7W6", "x-1", "x-22", "0a", "4d", "tmp", "home", "ann", ".ssh", ".aws", "etc",
     "root", "proc", "mem", "812", "99", ".config", HASH, HASH[::-1])
)  # fmt: skip
PATHS = st.lists(
    st.lists(NAME, min_size=1, max_size=5).map(lambda parts: "/" + "/".join(parts)), max_size=8
)


@given(st.lists(PATHS, max_size=4))
def test_no_pattern_reaches_where_none_may(runs: list[list[str]]) -> None:
    found = generalise.patterns(runs, HOME)
    everything = {path for run in runs for path in run}
    for pattern in found:
        assert "*" in pattern and pattern not in everything
        assert any(generalise.matches(pattern, path) for path in everything)
        for secret in (
            f"{HOME}/x", f"{HOME}/.bashrc", f"{HOME}/.ssh/id_rsa", "/root/.netrc", "/etc/shadow",
            "/home/bob/x", "/srv/.aws/credentials", "/x", "/proc/1/mem", "/proc/1/environ",
        ):  # fmt: skip
            assert not generalise.matches(pattern, secret)
        parts = pattern.split("/")[1:]
        assert "*" not in parts[0] and not generalise.CREDENTIALS.intersection(parts)


@given(st.lists(PATHS, min_size=1, max_size=3))
def test_the_order_of_the_runs_does_not_matter(runs: list[list[str]]) -> None:
    assert generalise.patterns(runs, HOME) == generalise.patterns(
        [list(reversed(run)) for run in reversed(runs)], HOME
    )
