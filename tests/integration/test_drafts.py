"""Programs live under their drafts: a part of what `python -m benchmarks.allowlists` measures."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import allowlists
from benchmarks.allowlists import PROGRAMS
from tests.conftest import REPO, RunCapsule

RUNS = 3


@pytest.mark.parametrize("program", ["sort", "git", "python script", "curl"])
def test_a_program_ends_as_ever_under_its_draft(program: str) -> None:
    measured = allowlists.measure(PROGRAMS[program], RUNS)
    assert (measured.same_traced, measured.same_untraced) == (RUNS, RUNS)
    assert measured.refused == {}
    assert measured.denied == 0
    assert 0 < sum(rule["kind"] == "call" for rule in measured.policy["rules"]) < 150


def test_what_is_refused_is_counted(capsule: RunCapsule, log_dir: Path, tmp_path: Path) -> None:
    capsule("trace", "-q", "--", "cat", "/etc/hostname")
    policy = tmp_path / "policy.json"
    capsule("profile", "-q", "-o", str(policy), "latest")
    refused = capsule("run", "-q", "--policy", str(policy), "--", "cat", "/etc/passwd")
    assert refused.returncode == 1
    found = allowlists.refusals((log_dir / "latest").resolve())
    assert found == {"file.open /etc/passwd EACCES": 1}


def test_the_document_has_every_program_and_no_refusal() -> None:
    document = (REPO / "docs" / "allowlists.md").read_text()
    _, _, text = document.partition("<!-- drafts -->\n")
    rows = [line.strip("|").split("|") for line in text.partition("<!-- end")[0].splitlines()]
    told = {row[0].strip(): [cell.strip() for cell in row[1:]] for row in rows if len(row) > 1}
    assert told.keys() >= PROGRAMS.keys()
    for program in PROGRAMS:
        assert told[program][-3:] == ["5 of 5", "5 of 5", "0"], program
        assert told[program][-4].startswith("0 of "), program
