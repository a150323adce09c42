"""The model behind `capsule report`, its words, and the page's policy. No browser here."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsule.report import words
from capsule.report.model import Model, collect, packed, plain, unpacked
from capsule.report.page import render
from capsule.text import escape, unescape
from capsule.verify import Bad, Report, Verdict

BASE_NS = 1_764_000_000_000_000_000
HOSTILE = [
    "/tmp/<script>alert(1)</script>",
    '/tmp/"><img src=x onerror=alert(1)>',
    "/tmp/{{7*7}}{% raw %}${7*7}",
    "/tmp/\u2028\u2029\u202egpj.exe\x00\x1b[31m",
    "/tmp/]]>--><!--",
    "/tmp/\\xff\\\\",
]


def start(**more: Any) -> dict[str, Any]:
    return {"seq": 0, "type": "start", "run": "r1", "time_ns": BASE_NS, "argv": ["make", "a b"],
            "cwd": "/w", "uid": 7, "syscalls": "all", "key": "k" * 64, **more}  # fmt: skip


def action(seq: int, kind: str, target: str | None = None, **more: Any) -> dict[str, Any]:
    at = BASE_NS + seq * 1_000_000
    return {"seq": seq, "type": "action", "kind": kind, "target": target, "count": 1,
            "first_ns": at, "last_ns": at + 5000, "proc": 1, "pid": 10, "exe": "/bin/make",
            **more}  # fmt: skip


def run_of(*actions: dict[str, Any]) -> list[dict[str, Any]]:
    first = action(1, "proc.exec", "/bin/make", argv=["make", "a b"], cwd="/w")
    return [start(), first, *actions]


def report(**more: Any) -> Report:
    facts: dict[str, Any] = {
        "verdict": Verdict.INTACT, "bad": None, "authenticated_through": 9, "records": 10,
        "size_bytes": 1000, "torn_bytes": 0, "head": "ab" * 32, "pinned": False, "start": start(),
        "end": {"exit": {"code": 0}, "time_ns": BASE_NS + 10**9},
    }  # fmt: skip
    return Report(**{**facts, **more})


def page_of(model: Model, **more: Any) -> str:
    return render(model, report(**more), {"exec.tmp": "Why <b>."}, BASE_NS)


def rows(model: Model) -> list[dict[str, Any]]:
    """The page's data as Actions again."""
    data = unpacked(packed(plain(model)))
    columns, texts = data["actions"], data["strings"]
    out = []
    seq = at = 0
    for i in range(len(columns["seq"])):
        seq += columns["seq"][i]
        if columns["first"][i] is not None:
            at += columns["first"][i]
        out.append({
            "seq": seq, "kind": texts[columns["kind"][i]], "target": texts[columns["target"][i]],
            "first_us": None if columns["first"][i] is None else at,
            "node": columns["node"][i], "more": texts[columns["more"][i]],
        })  # fmt: skip
    return out


class Elements(HTMLParser):
    """Every element that a page has, by its name, and all text outside script and style."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}


def test_every_action_is_a_row() -> None:
    found = rows(collect(run_of(action(4, "file.read", "/w/a"), action(9, "file.write", "/w/b"))))
    assert [(row["seq"], row["kind"], row["target"], row["first_us"]) for row in found] == [
        (1, "proc.exec", "/bin/make", 0),
        (4, "file.read", "/w/a", 3000),
        (9, "file.write", "/w/b", 8000),
    ]


def test_a_trace_without_stamps_has_no_times() -> None:
    records = run_of()
    for record in records:
        record.pop("first_ns", None)
    assert [row["first_us"] for row in rows(collect(records))] == [None]


def test_a_program_is_a_node_below_the_one_that_started_it() -> None:
    spawn = action(2, "proc.spawn", child=2, child_pid=11)
    child = action(3, "proc.exec", "/bin/cc", argv=["cc"], proc=2, pid=11, exe="/bin/cc")
    over = action(4, "proc.exec", "/bin/ld", argv=["ld"], proc=2, pid=11, exe="/bin/ld")
    gone = action(5, "proc.exit", status=3, proc=2, pid=11, exe="/bin/ld")
    model = collect(run_of(spawn, child, over, gone))
    data = plain(model)
    nodes, texts = data["nodes"], data["strings"]
    assert [texts[number] for number in nodes["argv"]] == ['["make","a b"]', '["cc"]', '["ld"]']
    assert nodes["parent"] == [-1, 0, 1]
    assert [texts[number] for number in nodes["end"]] == ["", "exec", "exit 3"]
    assert [row["node"] for row in rows(model)] == [0, 0, 1, 2, 2]


def test_a_child_that_never_did_anything_is_in_the_tree() -> None:
    data = plain(collect(run_of(action(2, "proc.spawn", child=2, child_pid=11))))
    assert data["nodes"]["pid"] == [10, 11]
    assert data["nodes"]["forked"] == [0, 1]


@given(st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=20))
def test_any_file_name_comes_back_as_its_bytes(names: list[bytes]) -> None:
    touched = [action(n, "file.open", escape(b"/" + name)) for n, name in enumerate(names, 2)]
    found = rows(collect(run_of(*touched)))[1:]
    assert [unescape(row["target"]) for row in found] == [b"/" + name for name in names]


@given(st.lists(st.text(min_size=1, max_size=60), min_size=1, max_size=10))
def test_no_text_of_the_log_becomes_an_element(names: list[str]) -> None:
    plain_page = Elements(page_of(collect(run_of(*fuss(["/tmp/x"] * len(names))))))
    hostile = Elements(page_of(collect(run_of(*fuss(names)))))
    assert set(hostile.tags) <= set(plain_page.tags)
    assert hostile.tags.count("script") == plain_page.tags.count("script") == 2
    assert hostile.attributes <= plain_page.attributes


def fuss(names: list[str]) -> list[dict[str, Any]]:
    """Actions whose targets reach every part of the template."""
    found = []
    for number, name in enumerate(names):
        seq = 10 + 10 * number
        found += [
            action(seq, "file.write", name, tags=["exec.tmp"]),
            action(seq + 1, "file.open", name, errors={"EACCES": 1}),
            action(seq + 2, "net.connect", name),
            action(seq + 3, "proc.exit", status=1, exe=name),
        ]
    return found


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_stays_text(name: str) -> None:
    records = run_of(*fuss([name]))
    records[0]["argv"] = records[1]["argv"] = ["touch", name]
    records[0]["cwd"] = name
    text = page_of(collect(records))
    found = Elements(text)
    assert found.tags.count("script") == 2
    assert not {"img", "svg", "iframe"} & set(found.tags)
    assert not {attribute for attribute in found.attributes if attribute.startswith("on")}
    assert not re.search("[\x00\x1b\u2028\u2029\u202e]", text)


def test_nothing_but_the_pages_own_style_and_script_may_run() -> None:
    text = page_of(collect(run_of()))
    [policy] = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', text)
    rules = dict(rule.split(" ", 1) for rule in policy.replace("&#39;", "'").split("; "))
    [style] = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    [script] = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    for kind, part in (("style-src", style), ("script-src", script)):
        digest = base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
        assert rules[kind] == f"'sha256-{digest}'"
    assert rules["default-src"] == rules["base-uri"] == rules["form-action"] == "'none'"
    assert re.findall(r'(?:src|href)="(?!#)[^"]*', text.partition("<script")[0]) == []


def test_the_words_say_how_it_went() -> None:
    records = run_of(
        action(2, "file.create", "/w/out"),
        action(3, "file.write", "/etc/x"),
        action(4, "net.connect", "203.0.113.9:443"),
        action(5, "file.open", "/etc/shadow", errors={"EACCES": 1}),
    )
    model = collect(records)
    text = " ".join(words.sentences(model, start(), {"exit": {"signal": "SIGKILL"}}))
    assert "It ran in /w for 4 ms; it was ended by SIGKILL." in text
    assert "1 file in the working directory and 1 file outside it" in text
    assert "203.0.113.9:443" in text
    assert "1 call failed: EACCES." in text


def test_what_is_worst_comes_first() -> None:
    records = run_of(
        action(2, "file.open", "/a", tags=["probe.failed"]),
        action(3, "file.open", "/b", tags=["my.rule"]),
        action(4, "sys.module", None, tags=["kernel.module"]),
        {"seq": 5, "type": "gap", "count": 3, "why": "lost"},
    )
    found = words.notes(collect(records), {"exit": {"code": 2}}, {})
    assert [(note.level, note.tag) for note in found] == [
        ("alert", ""), ("alert", "kernel.module"), ("warn", ""), ("warn", "my.rule"),
        ("info", "probe.failed"),
    ]  # fmt: skip
    assert found[1].seqs == (4,)
    assert "3 events known to be missing: lost" in found[0].text


def test_a_tampered_log_is_called_so_and_no_head_is_offered() -> None:
    bad = Bad(7, 1234, "record 7 has a <wrong> hash")
    text = page_of(collect(run_of()), verdict=Verdict.TAMPERED, bad=bad, end=None)
    assert "first bad record is 7, at byte offset 1234" in " ".join(text.split())
    assert "&lt;wrong&gt;" in text
    assert "--expect-head" not in text.partition("<pre>")[2].partition("</pre>")[0]


@pytest.mark.parametrize(
    "size_bytes, said", [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 40, "3.0 TiB")]
)
def test_sizes(size_bytes: int, said: str) -> None:
    assert words.size(size_bytes) == said


@pytest.mark.parametrize(
    "ns, said",
    [
        (310_000, "310 µs"),
        (12_400_000_000, "12.40 s"),
        (185 * 10**9, "3 min 05 s"),
        (3661 * 10**9, "1 h 01 min 01 s"),
    ],
)
def test_durations(ns: int, said: str) -> None:
    assert words.took(ns) == said
