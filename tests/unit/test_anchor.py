"""Anchors: a command and the system log get each checkpoint; what they got pins the log."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from pathlib import Path

import pytest

from capsule import anchor
from capsule.anchor import CommandAnchor, SyslogAnchor, open_anchors, read_anchors
from capsule.cli import main
from capsule.errors import LogFailed
from capsule.log import Logger
from tests.unit.chainlogs import action


def test_a_command_gets_each_checkpoint_of_the_run(tmp_path: Path) -> None:
    out = tmp_path / "anchored"
    anchors = open_anchors("r", [f"cat > {out}; echo $CAPSULE_RUN >> {out}"], syslog=False)
    log = Logger(tmp_path / "r.jsonl", {"run": "r"}, on_checkpoint=anchors)
    log.feed(action(1, "proc.exec"))
    log.feed(action(2, "cred.change"))
    log.close({})
    anchors.close()
    signed = [line for line in (tmp_path / "r.jsonl").read_bytes().splitlines() if b'"sig"' in line]
    assert out.read_bytes().splitlines() == [*signed, b"r"]
    assert len(signed) == 3


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("exit 3", r"takes no checkpoint: Broken pipe|ended with status 3"),
        ("read line; exit 0", r"takes no checkpoint: Broken pipe"),
        ("cat >/dev/null; exit 7", r"ended with status 7"),
        ("nowhere/to/be/found 2>/dev/null", r"Broken pipe|ended with status 127"),
    ],
)
def test_a_command_that_fails_fails_the_log(tmp_path: Path, command: str, said: str) -> None:
    anchors = open_anchors("r", [command], syslog=False)
    log = Logger(tmp_path / "r.jsonl", {"run": "r"}, on_checkpoint=anchors)
    with pytest.raises(LogFailed, match=said):
        try:
            for number in range(20_000):
                log.feed(action(number, "proc.exec"))
                if command.startswith("cat"):
                    break
        finally:
            try:
                anchors.close()
            finally:
                log.abandon()


def test_a_command_that_reads_nothing_is_not_waited_for_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(anchor, "PATIENCE_S", 0.2)
    command = CommandAnchor("exec sleep 1000", "r")
    with pytest.raises(LogFailed, match="has read nothing for 0 s; see --anchor-cmd"):
        for _ in range(1000):
            command(b"x" * 1000 + b"\n")
    os.kill(command._process.pid, signal.SIGTERM)
    with pytest.raises(LogFailed, match="ended with status -15"):
        command.close()


def test_the_system_log_gets_a_line_for_each(tmp_path: Path) -> None:
    path = str(tmp_path / "log")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as system:
        system.bind(path)
        syslog = SyslogAnchor("r", path)
        log = Logger(tmp_path / "r.jsonl", {"run": "r"}, on_checkpoint=syslog)
        log.feed(action(1, "proc.exec"))
        log.close({})
        syslog.close()
        first, second = system.recv(4096), system.recv(4096)
    lines = (tmp_path / "r.jsonl").read_bytes().splitlines()
    digest = json.loads(lines[2])["hash"]
    assert re.fullmatch(
        rf"<85>capsule\[\d+\]: run=r type=checkpoint seq=2 hash={digest}", first.decode()
    )
    assert b"type=end seq=3" in second
    assert read_anchors([first, second], print) == [
        (2, digest), (3, json.loads(lines[3])["hash"]),
    ]  # fmt: skip


def test_no_system_log_is_said(tmp_path: Path) -> None:
    with pytest.raises(LogFailed, match=r"no system log at .*; leave --anchor-syslog out"):
        SyslogAnchor("r", str(tmp_path / "nowhere"))


def test_what_was_anchored_pins_the_log(
    tmp_path: Path, log_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "anchored"
    anchors = open_anchors("r", [f"cat > {out}"], syslog=False)
    path = log_dir / "r.jsonl"
    log = Logger(path, {"run": "r"}, on_checkpoint=anchors)
    log.feed(action(1, "proc.exec"))
    log.close({})
    anchors.close()
    assert main(["verify", "r", "--anchors", str(out), "--require-pin"]) == 0
    # The whole run written anew by someone else, and sealed: it would verify, but for the anchor.
    path.unlink()
    log = Logger(path, {"run": "r"})
    log.feed(action(2, "proc.exec"))
    log.close({})
    capfd.readouterr()
    assert main(["verify", "r"]) == 0
    assert main(["verify", "r", "--anchors", str(out)]) == 1
    assert "record 2 has another hash than the pinned one" in capfd.readouterr().out
    out.write_bytes(b"hello\n")
    assert main(["verify", "r", "--anchors", str(out), "--require-pin"]) == 2
    assert "line 1 is no anchored checkpoint" in capfd.readouterr().err
