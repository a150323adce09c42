"""in-toto: statements about what real runs left."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path
from typing import Any

import orjson

from tests.conftest import RunCapsule
from tests.exporting import T0, body, make_run
from tests.unit.test_export_intoto import check, statement_of


def test_the_subjects_are_what_the_run_left(capsule: RunCapsule, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9 '\n")
    script = (
        'echo made >"$0"; echo x >gone; rm gone; echo y >from; mv from to; ln -s /etc/passwd link;'
        "mkfifo pipe; cat /etc/hostname >/dev/null"
    )
    done = capsule("trace", "-q", "--", "sh", "-c", script, name, cwd=tmp_path)
    assert done.returncode == 0
    line = capsule("export", "-f", "in-toto").stdout
    check(line)
    found = {one["name"]: one for one in orjson.loads(line)["subject"]}
    here = str(tmp_path)
    wanted = {f"{here}/caf\\xe9 '\n": b"made\n", f"{here}/to": b"y\n"}
    for path, data in wanted.items():
        assert found[path]["digest"]["sha256"] == hashlib.sha256(data).hexdigest()
    assert found[f"{here}/caf\\xe9 '\n"]["uri"].endswith("/caf%E9%20%27%0A")
    unwanted = {f"{here}/gone", f"{here}/from", f"{here}/pipe", "/etc/passwd", "/dev/null"}
    assert not unwanted & found.keys()


def test_what_another_machine_wrote_or_has_changed_since_is_no_subject(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.write_text("x")
    here, now_ns = os.uname().nodename, out.stat().st_ctime_ns
    act = body("file.write", target=str(out), first_ns=now_ns, last_ns=now_ns)

    def subjects(number: int, act: dict[str, Any], **start: Any) -> list[str]:
        run = make_run(tmp_path / f"{number}.jsonl", [act], **start)
        return [one["name"] for one in statement_of(run)["subject"]]

    assert subjects(0, act, host=here, time_ns=now_ns) == [str(out)]
    assert subjects(1, act, host="elsewhere", time_ns=now_ns) == ["1.jsonl"]
    assert subjects(2, act, host=here, time_ns=now_ns, imported="x") == ["2.jsonl"]
    assert subjects(3, act, host=here, time_ns=now_ns + 10**10) == ["3.jsonl"]  # was there before
    old = body("file.write", target=str(out))
    assert subjects(4, old, host=here, time_ns=T0) == ["4.jsonl"]  # the run ended long before


def test_openssl_makes_the_key(capsule: RunCapsule, tmp_path: Path) -> None:
    pem = tmp_path / "key.pem"
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", pem], check=True)
    capsule("trace", "-q", "--", "true")
    done = capsule("export", "-f", "in-toto", "--sign", pem)
    assert orjson.loads(done.stdout)["payloadType"] == "application/vnd.in-toto+json"


def test_an_import_says_nothing_of_the_machine_it_was_made_on(
    capsule: RunCapsule, tmp_path: Path
) -> None:
    (tmp_path / "s").write_bytes(b'10 1767225600.000001 execve("/bin/x", ["x"], 0x1) = 0\n')
    capsule("import", "-q", tmp_path / "s")
    here = os.uname().nodename
    for form in ("ocsf", "ecs", "otlp", "in-toto"):
        text = capsule("export", "-f", form).stdout.decode()
        assert f'"{here}"' not in text
        assert "__main__" not in text  # of the words of the import
