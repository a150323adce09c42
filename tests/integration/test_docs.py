"""The documents cannot lie: what they show at a `$` prompt is run, and its output compared.

In README.md, docs/*.md and the topics of `capsule help` a block

    ```console
    $ capsule --version
    capsule ...
    ```

is run by sh, block after block, in one new directory a document. Output is standard output and
standard error as a terminal shows them. In what is shown, `...` stands for anything within a line,
and alone on a line for any lines. A command must succeed, unless the block goes on to show its
status (`$ echo $?`). A block that must not be run says why: ```console not-run: REASON.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    REPO / "README.md",
    *sorted((REPO / "docs").glob("*.md")),
    *sorted((REPO / "capsule" / "help" / "topics").glob("*.md")),
]
FENCE = re.compile(r"^ *(```+)(.*)$")
SHOW_STATUS = "echo $?"
MARK = "--- end of command:"


@dataclass(frozen=True, slots=True)
class Step:
    """One command of a transcript and the lines that are shown below it."""

    line: int
    command: str
    shown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Block:
    line: int
    info: str
    lines: tuple[str, ...]

    def reason_not_to_run(self) -> str | None:
        found = re.fullmatch(r"console not-run: *(.*)", self.info)
        return found.group(1) if found else None

    def steps(self) -> list[Step]:
        """Split at the prompts; a command goes on at `> ` or after a backslash."""
        found: list[Step] = []
        for number, text in enumerate(self.lines, self.line + 1):
            if text.startswith("$ "):
                found.append(Step(number, text[2:], ()))
                continue
            if not found:
                raise ValueError(f"line {number}: a console block starts with `$ `")
            last = found.pop()
            if not last.shown and text.startswith("> "):
                last = Step(last.line, f"{last.command}\n{text[2:]}", ())
            else:
                last = Step(last.line, last.command, (*last.shown, text))
            found.append(last)
        return found


def blocks(text: str) -> list[Block]:
    """Every fenced block of a Markdown text (CommonMark 0.31, section 4.5)."""
    found = []
    opened: tuple[int, str, str, int] | None = None
    inside: list[str] = []
    for number, line in enumerate(text.split("\n"), 1):
        fence = FENCE.match(line)
        if opened is None:
            if fence:
                indent = len(line) - len(line.lstrip())
                opened, inside = (number, fence.group(1), fence.group(2).strip(), indent), []
        elif fence and fence.group(1) == opened[1] and not fence.group(2).strip():
            found.append(Block(opened[0], opened[2], tuple(inside)))
            opened = None
        else:
            inside.append(line[opened[3] :])
    if opened:
        raise ValueError(f"line {opened[0]}: the block does not end")
    return found


def pattern(shown: tuple[str, ...]) -> str:
    """The regular expression of what a document shows."""
    parts = []
    for line in shown:
        if line.strip() == "...":
            parts.append(r"(?:.*\n)*?")
        else:
            parts.append(".*".join(re.escape(part) for part in line.split("...")) + r"[ \t]*\n")
    return "".join(parts)


def as_seen(output: str) -> str:
    """Output as it stands on a screen: one newline at its end, if there is any."""
    return output.rstrip("\n") + "\n" if output.strip("\n") else ""


def script(steps: list[Step]) -> str:
    """A shell text that runs every step and marks, after each, its end and its status."""
    lines = ["exec 2>&1"]
    for step in steps:
        lines += [
            f"{{\n{step.command}\n}}",
            f"capsule_doc_status=$?; echo; echo '{MARK}' $capsule_doc_status",
            "(exit $capsule_doc_status)",
        ]
    return "\n".join(lines)


def run(steps: list[Step], directory: Path, environment: dict[str, str]) -> list[str]:
    """Run the steps in one shell; return what is wrong, one text a step."""
    done = subprocess.run(
        ["sh", "-c", script(steps)],
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=120,
    )
    text = done.stdout.decode("utf-8", "backslashreplace")
    parts = re.split(rf"\n{re.escape(MARK)} (\d+)\n", text)
    outputs, statuses = parts[0::2], parts[1::2]
    if len(statuses) != len(steps):
        return [f"the shell ended early; its output was:\n{text}"]
    wrong = []
    for number, (step, output, status) in enumerate(zip(steps, outputs, statuses, strict=False)):
        status_is_shown = any(s.command == SHOW_STATUS for s in steps[number + 1 : number + 2])
        if status != "0" and not status_is_shown:
            wrong.append(f"line {step.line}: `{step.command}` left with {status}:\n{output}")
        elif not re.fullmatch(pattern(step.shown), as_seen(output)):
            shown = "\n".join(step.shown)
            wrong.append(
                f"line {step.line}: `{step.command}` shows\n{shown}\nbut it printed\n{output}"
            )
    return wrong


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_what_a_document_shows_is_what_happens(
    document: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    directory = tmp_path / "here"
    directory.mkdir()
    (directory / "examples").symlink_to(REPO / "examples")
    wrong = [
        problem
        for block in blocks(document.read_text(encoding="utf-8"))
        if block.info == "console"
        for problem in run(block.steps(), directory, environment)
    ]
    assert not wrong, "\n\n".join([document.name, *wrong])


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_command_is_run_or_says_why_not(document: Path) -> None:
    for block in blocks(document.read_text(encoding="utf-8")):
        prompts = any(line.startswith(("$ ", "# ")) for line in block.lines)
        where = f"{document.name}: line {block.line}"
        if block.info.startswith("console"):
            assert block.info == "console" or block.reason_not_to_run(), where
            assert block.steps(), where
        else:
            assert block.info not in ("sh", "bash", "shell") and not prompts, where


def test_files_that_documents_link_to_exist() -> None:
    for document in [*DOCUMENTS, *REPO.glob("*.md")]:
        for link in re.findall(r"\]\(([^)\s]+)\)", document.read_text(encoding="utf-8")):
            if "://" not in link and not link.startswith("#"):
                assert (document.parent / link.partition("#")[0]).exists(), f"{document}: {link}"


@pytest.mark.parametrize(
    "lines, wrong",
    [
        (["$ echo one; echo two", "one", "two"], ""),
        (["$ echo one; echo two", "one"], "but it printed"),
        (["$ echo one", "two"], "but it printed"),
        (["$ true", "one"], "but it printed"),
        (["$ echo one"], "but it printed"),
        (["$ echo pid 1234 of 5", "pid ... of 5"], ""),
        (["$ seq 9", "1", "...", "9"], ""),
        (["$ seq 9", "1", "...", "8"], "but it printed"),
        (["$ seq 9", "1", "...9"], "but it printed"),
        (["$ false"], "left with 1"),
        (["$ sh -c 'exit 3'", "$ echo $?", "3"], ""),
        (["$ sh -c 'exit 3'", "$ echo $?", "4"], "but it printed"),
        (["$ here=5", "$ echo $here \\", "> and on", "5 and on"], ""),
        (["$ echo said >&2; printf 'no newline'", "said", "no newline"], ""),
        (["$ exit 1"], "ended early"),
    ],
)
def test_the_check_of_documents_can_fail(lines: list[str], wrong: str, tmp_path: Path) -> None:
    found = run(Block(0, "console", tuple(lines)).steps(), tmp_path, {"PATH": os.defpath})
    assert bool(found) == bool(wrong), found
    assert wrong in "".join(found)


def test_blocks_are_found_in_their_text() -> None:
    text = (
        "a\n```console\n$ b\n```\n  ````console not-run: it is long\n  $ c\n  ````\n```\nd\n```\n"
    )
    assert [(b.line, b.info, b.lines, b.reason_not_to_run()) for b in blocks(text)] == [
        (2, "console", ("$ b",), None),
        (5, "console not-run: it is long", ("$ c",), "it is long"),
        (8, "", ("d",), None),
    ]
