"""in-toto: a statement that in-toto's own library takes, and an envelope that DSSE's verifies."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
from in_toto_attestation.v1.resource_descriptor_pb2 import ResourceDescriptor as Resource
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage
from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import SSlibKey

from capsule.errors import CapsuleError
from capsule.export.runs import Run
from tests.exporting import HOSTILE, RUN, bodies, body, every_kind, exported, make_run

Json = dict[str, Any]


def statement_of(run: Run) -> Json:
    (line,) = exported("in-toto", run).splitlines()
    check(line)
    found: Json = orjson.loads(line)
    return found


def check(statement: bytes) -> None:
    """Hold it against the protobufs and the rules of in-toto-attestation."""
    message = json_format.Parse(statement, StatementMessage())
    Statement.copy_from_pb(message).validate()
    predicate = orjson.loads(statement)["predicate"]
    for entry in predicate["monitorLog"]["fileAccess"]:
        ResourceDescriptor.copy_from_pb(json_format.ParseDict(entry, Resource())).validate()
    assert all(predicate[name] for name in ("monitor", "monitoredProcess", "monitorLog"))
    assert {"hostID", "type", "event"} <= predicate["monitoredProcess"].keys()


def test_every_kind_is_taken(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a.jsonl", every_kind())
    found = statement_of(run)
    assert found["predicateType"] == "https://in-toto.io/attestation/runtime-trace/v0.1"
    digest = hashlib.sha256(run.path.read_bytes()).hexdigest()
    assert [one["digest"]["sha256"] for one in found["subject"]] == [digest]
    assert found["predicate"]["capsule_log"] == {
        "run": RUN, "verdict": "intact", "head": run.report.head,
        "publicKey": run.report.public_key, "records": run.report.records,
        "authenticatedThrough": run.report.records - 1,
    }  # fmt: skip
    names = [entry["name"] for entry in found["predicate"]["monitorLog"]["fileAccess"]]
    assert HOSTILE in names


@given(st.lists(bodies, max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_anything_a_log_can_hold(tmp_path: Path, acts: list[Json]) -> None:
    path = tmp_path / "a.jsonl"
    path.unlink(missing_ok=True)
    statement_of(make_run(path, acts))


def test_who_was_talked_to(tmp_path: Path) -> None:
    found = statement_of(make_run(tmp_path / "a.jsonl", [
        body("net.connect", target="[::1]:443", errors={"ECONNREFUSED": 1}),
        body("net.send", target="[::1]:443", bytes=5),
        body("net.send", target="[::1]:443", bytes=6, count=2),
    ]))  # fmt: skip
    connect, send = found["predicate"]["monitorLog"]["network"]
    assert connect["failed"] == 1
    assert send == {
        "address": "[::1]:443", "activity": "net.send", "count": 3, "bytes": 11, "failed": 0,
        "ip": "::1", "port": 443, "invokingProcess": {"proc": 1, "pid": 100, "exe": "/bin/sh"},
    }  # fmt: skip


def key_file(path: Path, key: Any, password: bytes | None = None) -> Path:
    how = BestAvailableEncryption(password) if password else NoEncryption()
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how))
    return path


def test_an_envelope_that_others_verify(tmp_path: Path) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    pem = key_file(tmp_path / "key.pem", key)
    run = make_run(tmp_path / "a.jsonl", every_kind())
    text = exported("in-toto", run, key=pem)
    envelope = orjson.loads(text)
    payload = base64.b64decode(envelope["payload"])
    assert payload + b"\n" == exported("in-toto", run)
    keyid = envelope["signatures"][0]["keyid"]
    public = key.public_key().public_bytes_raw().hex()
    theirs = SSlibKey(keyid, "ed25519", "ed25519", {"public": public})
    Envelope.from_dict(orjson.loads(text)).verify([theirs], 1)
    envelope["payload"] = base64.b64encode(payload.replace(b"127.0.0.1", b"127.0.0.2")).decode()
    with pytest.raises(VerificationError):
        Envelope.from_dict(envelope).verify([theirs], 1)


def test_keys_that_do_not_serve(tmp_path: Path) -> None:
    run = make_run(tmp_path / "a.jsonl", [])
    (tmp_path / "text").write_text("no key")
    key = ed25519.Ed25519PrivateKey.generate()
    for path, said in (
        (tmp_path / "none", "cannot read the key"),
        (tmp_path / "text", "no private key in PEM"),
        (key_file(tmp_path / "locked", key, b"x"), "is encrypted"),
        (key_file(tmp_path / "ec", ec.generate_private_key(ec.SECP256R1())), "no Ed25519 key"),
    ):
        with pytest.raises(CapsuleError, match=said):
            exported("in-toto", run, key=path)
