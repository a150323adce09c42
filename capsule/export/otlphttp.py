"""Sending OTLP requests over HTTP (opentelemetry.io/docs/specs/otlp/#otlphttp).

A request that the receiver may take later (429, 502, 503, 504, or no connection once there has been
one) is sent again, after what Retry-After says or a pause that doubles. Headers come from
OTEL_EXPORTER_OTLP_HEADERS, so that a token stands in no command line.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from urllib.parse import unquote, urlsplit

import orjson

from capsule import __version__
from capsule.errors import CapsuleError, UsageError

RETRIED = (429, 502, 503, 504)
TRIES = 6
TIMEOUT_S = 30
LONGEST_PAUSE_S = 60.0


class Sender:
    """Sends lines of `capsule.export.otlp`; `rejected` counts what the receiver would not take."""

    def __init__(
        self, url: str, environ: Mapping[str, str], *, pause: Callable[[float], None] = time.sleep
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"--to {url}: give a URL such as http://127.0.0.1:4318")
        kind = (
            http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        )
        try:
            self._connection = kind(parts.hostname, parts.port, timeout=TIMEOUT_S)
        except ValueError:  # a port that is none
            raise UsageError(f"--to {url}: give a URL such as http://127.0.0.1:4318") from None
        self._url = url
        self._path = parts.path.rstrip("/")
        self._headers = {
            **_headers(environ.get("OTEL_EXPORTER_OTLP_HEADERS", "")),
            "Content-Type": "application/json",
            "User-Agent": f"capsule/{__version__}",
        }
        self._pause = pause
        self._sent = 0
        self.rejected = 0
        self.why = ""

    def __enter__(self) -> Sender:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connection.close()

    def send(self, line: bytes) -> None:
        """Send one request. CapsuleError when it is refused, or cannot be brought there."""
        path = "/v1/logs" if line.startswith(b'{"resourceLogs"') else "/v1/traces"
        for attempt in range(TRIES):
            wait_s = min(2.0**attempt, LONGEST_PAUSE_S)
            try:
                self._connection.request("POST", self._path + path, line, self._headers)
                response = self._connection.getresponse()
                answer = response.read()
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                if attempt == TRIES - 1 or not self._sent:
                    raise CapsuleError(f"cannot send to {self._url}: {_words(error)}") from None
            else:
                if response.status == 200:
                    self._sent += 1
                    self._note(answer)
                    return
                if response.status not in RETRIED or attempt == TRIES - 1:
                    said = answer[:200].decode("utf-8", "replace").strip()
                    raise CapsuleError(
                        f"{self._url}{path} answers {response.status} {response.reason}"
                        + (f": {said}" if said else "")
                    )
                told = response.headers.get("Retry-After", "")
                wait_s = min(float(told), LONGEST_PAUSE_S) if told.isdecimal() else wait_s
            self._pause(wait_s)

    def _note(self, answer: bytes) -> None:
        """Count what the receiver took only in part."""
        try:
            partial = orjson.loads(answer or b"{}").get("partialSuccess") or {}
            for name in ("rejectedLogRecords", "rejectedSpans"):
                self.rejected += int(partial.get(name, 0))
            self.why = str(partial.get("errorMessage") or self.why)
        except (AttributeError, TypeError, ValueError):
            pass  # it took the request; what it says of it is not for us


def _headers(text: str) -> dict[str, str]:
    """`key=value,key=value`, the values percent-encoded (W3C Baggage)."""
    pairs = (item.partition("=") for item in text.split(",") if "=" in item)
    return {name.strip(): unquote(value.strip()) for name, _, value in pairs}


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
