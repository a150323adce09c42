"""otlp over real HTTP, to a receiver on this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson
import pytest

from capsule.errors import CapsuleError, UsageError
from capsule.export.otlphttp import TRIES, Sender
from tests.conftest import RunCapsule
from tests.logs import actions
from tests.unit.test_export_otlp import taken


class Receiver:
    """An OTLP/HTTP receiver on this machine; `answers` are its next ones, then 200."""

    def __init__(self) -> None:
        receiver = self
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.answers: list[tuple[int, dict[str, str], bytes]] = []

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append((self.path, dict(self.headers), data))
                status, headers, said = (
                    receiver.answers.pop(0) if receiver.answers else (200, {}, b"{}")
                )
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(said))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    found = Receiver()
    thread = threading.Thread(target=found.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.server.shutdown()
    found.server.server_close()
    thread.join()


def test_a_run_is_sent_to_a_receiver(
    capsule: RunCapsule, log_dir: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    capsule("trace", "-q", "--", "sh", "-c", "cat /no/such; true")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20x,a=b")
    done = capsule("export", "-f", "otlp", "--to", f"{receiver.url}/base/")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    paths = {path for path, _, _ in receiver.requests}
    assert paths == {"/base/v1/logs", "/base/v1/traces"}
    for path, headers, data in receiver.requests:
        assert headers["Content-Type"] == "application/json"
        assert headers["authorization"] == "Bearer x"
        assert (b"resourceLogs" in data) == path.endswith("logs")
    records, spans = taken(b"".join(data for _, _, data in receiver.requests))
    assert len(records) == len(actions(log_dir))
    assert {span.name for span in spans} == {"sh", "cat"}


LINE = b'{"resourceLogs":[]}\n'


def test_what_is_refused_for_now_is_sent_again(receiver: Receiver) -> None:
    receiver.answers = [(503, {"Retry-After": "7"}, b""), (429, {}, b""), (200, {}, b"")]
    pauses: list[float] = []
    with Sender(receiver.url, {}, pause=pauses.append) as sender:
        sender.send(LINE)
    assert [data for _, _, data in receiver.requests] == [LINE] * 3
    assert pauses == [7.0, 2.0]


def test_what_is_refused_for_good_is_an_error(receiver: Receiver) -> None:
    receiver.answers = [(400, {}, b"bad logs\n")]
    with Sender(receiver.url, {}) as sender, pytest.raises(CapsuleError, match=r"400 .*bad logs"):
        sender.send(LINE)


def test_a_receiver_that_stays_busy_is_an_error(receiver: Receiver) -> None:
    receiver.answers = [(503, {}, b"")] * TRIES
    pauses: list[float] = []
    with (
        Sender(receiver.url, {}, pause=pauses.append) as sender,
        pytest.raises(CapsuleError, match="503"),
    ):
        sender.send(LINE)
    assert len(pauses) == TRIES - 1


def test_what_is_rejected_in_part_is_said(capsule: RunCapsule, receiver: Receiver) -> None:
    capsule("trace", "-q", "--", "true")
    said = orjson.dumps({"partialSuccess": {"rejectedLogRecords": "3", "errorMessage": "full"}})
    receiver.answers = [(200, {}, said)]
    done = capsule("export", "-f", "otlp", "--to", receiver.url)
    assert done.returncode == 0
    assert done.stderr.decode().endswith("rejected 3 of them: full\n")


def test_nobody_listens(capsule: RunCapsule) -> None:
    capsule("trace", "-q", "--", "true")
    done = capsule("export", "-f", "otlp", "--to", "http://127.0.0.1:1")
    assert done.returncode == 2
    assert done.stderr == b"capsule: cannot send to http://127.0.0.1:1: Connection refused\n"


@pytest.mark.parametrize("url", ["localhost:4318", "ftp://x", "http://", "http://x:port"])
def test_a_url_that_is_none(url: str) -> None:
    with pytest.raises(UsageError, match="give a URL"):
        Sender(url, {})
