"""dot: Graphviz draws it, nothing in it is more than text, and many alike are one."""

from __future__ import annotations

import shlex
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from capsule.text import harmless
from tests.exporting import HOSTILE, body, exported, make_run, texts

SVG = "{http://www.w3.org/2000/svg}"


def drawn(data: bytes) -> list[list[str]]:
    """The lines of text of each node that `dot -Tsvg` draws."""
    done = subprocess.run(["dot", "-Tsvg"], input=data, capture_output=True, check=True)
    assert done.stderr == b""
    root = ET.fromstring(done.stdout)
    nodes = [group for group in root.iter(f"{SVG}g") if group.get("class") == "node"]
    return [[text.text or "" for text in node.iter(f"{SVG}text")] for node in nodes]


def family(argvs: list[list[str]], status: int = 0) -> list[dict[str, Any]]:
    """A shell that starts a program for each argv."""
    acts = [body("proc.exec", target="/bin/sh", argv=["sh"])]
    for number, argv in enumerate(argvs, 2):
        who = {"proc": number, "pid": 100 + number, "exe": "/bin/cc"}
        acts += [
            body("proc.spawn", child=number, child_pid=100 + number),
            body("proc.exec", target="/bin/cc", argv=argv, **who),
            body("proc.exit", status=0 if number > 2 else status, **who),
        ]
    return [*acts, body("proc.exit", status=0)]


def nodes(path: Path, acts: list[dict[str, Any]]) -> list[list[str]]:
    path.unlink(missing_ok=True)
    return drawn(exported("dot", make_run(path, acts)))


def test_who_started_whom(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    assert nodes(path, family([["cc", "a.c"], ["cc", "b.c"]], status=1)) == [
        ["sh", "pid 100, 0.000 s", "exit 0"],
        ["cc a.c", "pid 102, 0.000 s", "exit 1"],
        ["cc b.c", "pid 103, 0.000 s", "exit 0"],
    ]


def test_a_thousand_alike_are_one_and_who_failed_stands_alone(tmp_path: Path) -> None:
    acts = family([["cc", f"{number}.c"] for number in range(1000)], status=1)
    assert nodes(tmp_path / "a.jsonl", acts) == [
        ["sh", "pid 100, 0.000 s", "exit 0"],
        ["cc 0.c", "pid 102, 0.000 s", "exit 1"],
        ["999 × cc", "such as cc 1.c", "exit 0"],
    ]


def test_a_chain_of_a_thousand_forks(tmp_path: Path) -> None:
    acts = [body("proc.spawn", proc=n, pid=n, child=n + 1, child_pid=n + 1) for n in range(1, 1500)]
    run = make_run(tmp_path / "a.jsonl", acts)
    assert exported("dot", run).count(b" -> ") == 1499


def test_hostile_words_are_text(tmp_path: Path) -> None:
    words = [HOSTILE, '"];evil[label="x', "\\N\\G\\l", "&lt;b&gt;&#65;", "<b>x</b>"]
    for word in words:
        found = nodes(tmp_path / "a.jsonl", family([[word]]))
        assert found[1][0].replace("\xa0", " ") == harmless(shlex.join([word]))


@given(st.lists(st.lists(texts, max_size=3), max_size=4))
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None
)
def test_any_words(tmp_path: Path, argvs: list[list[str]]) -> None:
    found = nodes(tmp_path / "a.jsonl", family(argvs))
    assert len(found) == 1 + (len(argvs) if len(argvs) <= 3 else 1)


def test_two_runs_are_two_clusters(tmp_path: Path) -> None:
    runs = [make_run(tmp_path / f"{n}.jsonl", family([]), run=f"r{n}") for n in (1, 2)]
    assert drawn(exported("dot", runs)) == [["sh", "pid 100, 0.000 s", "exit 0"]] * 2
