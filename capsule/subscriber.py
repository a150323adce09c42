"""`capsule.subscribe()`: a run's records as they are logged, as an iterator. Knows ZeroMQ.

    with capsule.subscribe("ipc:///run/user/1000/build.sock", ["action.net"]) as stream:
        for record in stream:
            print(record.topic, record.data["target"])

The iteration ends with the run. Losses are filled from the log where it can be read;
`stream.lost` counts those that could not be.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import zmq
import zmq.asyncio
from zmq.utils.monitor import recv_monitor_message

from capsule import curve
from capsule.endpoints import parse_endpoint
from capsule.errors import CapsuleError, UsageError
from capsule.frames import unpack
from capsule.reassemble import Ended, Gap, Item, Reassembler, Record
from capsule.refill import LogReader

HIGH_WATER_MARK = 100_000
SILENCE_S = 5.0
"""A publisher says something each second; one silent for so long is gone."""

_UNKNOWN_KEY = (
    "the publisher does not know our key; have its public half ({public}) put into the "
    "publisher's --authorized-keys directory"
)
_KEYS_DEMANDED = "the publisher hung up on us; it demands keys: give --server-key and --key"
_KEYS_IN_VAIN = (
    "the publisher hung up on us; it demands no keys, or --server-key is not its public key"
)
_REFUSALS = (
    zmq.EVENT_HANDSHAKE_FAILED_AUTH,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
)


class Silent(CapsuleError):
    """The publisher was heard and then no more, without the end of its run."""

    exit_status = 3


class _Subscription:
    """What the blocking and the asyncio variant share."""

    def __init__(
        self,
        sock: zmq.Socket[bytes],
        url: str,
        topics: Sequence[str],
        *,
        from_start: bool,
        log: str | Path | None,
        key: str | Path | None,
        server_key: str | None,
        silence_s: float,
    ) -> None:
        endpoint = parse_endpoint(url)
        self.url = endpoint.url
        self._sock = sock
        self._reader = LogReader(Path(log) if log is not None else None)
        self._state = Reassembler(topics, from_start=from_start, read_log=self._reader)
        self._items: Iterator[Item] = iter(())
        self._silence_s = silence_s
        self._heard_s: float | None = None
        self._key_name = (
            f"{str(key or curve.default_base()).removesuffix(curve.SECRET)}{curve.PUBLIC}"
        )
        self._with_keys = server_key is not None
        self.lost = 0
        """Messages that are known to be missing and could not be read from the log."""
        self.ended: Ended | None = None
        """Set once the run's stream is over."""
        sock.set(zmq.RCVHWM, HIGH_WATER_MARK)
        sock.set(zmq.LINGER, 0)
        sock.set(zmq.RECONNECT_IVL, 50)
        sock.set(zmq.RECONNECT_IVL_MAX, 1000)
        sock.set(zmq.TCP_KEEPALIVE, 1)
        sock.set(zmq.HEARTBEAT_IVL, 2000)
        sock.set(zmq.HEARTBEAT_TIMEOUT, 10_000)
        sock.set(zmq.IPV6, int("[" in endpoint.url))
        if server_key is not None:
            pair = curve.load_pair(Path(key or f"{curve.default_base()}{curve.SECRET}"))
            curve.introduce(sock, pair, curve.load_public(server_key))
        elif not endpoint.local:
            raise UsageError(
                f"{url}: beyond this machine a stream is encrypted; give the publisher's public "
                "key with --server-key, and your own with --key"
            )
        # The stream's own topic comes last: its first heartbeat then follows all the others.
        for topic in (*self._state.topics, "stream."):
            sock.set_string(zmq.SUBSCRIBE, topic)

    def _connect(self) -> None:
        try:
            self._sock.connect(self.url)
        except zmq.ZMQError as error:
            raise CapsuleError(f"cannot connect to {self.url}: {error.strerror}") from None

    @property
    def heard(self) -> bool:
        """Whether the publisher was heard at all."""
        return self._heard_s is not None

    @property
    def joined(self) -> bool:
        """Whether the stream is joined: from here on a loss is noticed."""
        return self._state.is_joined

    def close(self) -> None:
        """Unsubscribe and close."""
        self._sock.close(linger=0)

    def _take(self, message: Sequence[bytes]) -> None:
        self._heard_s = time.monotonic()
        try:
            frame = unpack(message)
        except ValueError:
            raise CapsuleError(f"what is published on {self.url} is not a run") from None
        self._items = self._state.feed(frame)

    def _next(self) -> Item | None:
        """The next item that is there; keeps the counts."""
        item = next(self._items, None)
        if self._state.missing_start:
            raise CapsuleError(
                f"{self.url}: the run's log is out of reach here, so its start cannot be had; "
                "say where the log is with --log (log=), or leave --from-start (from_start) away"
            )
        if isinstance(item, Gap) and not item.filled:
            self.lost += item.count or 1
        elif isinstance(item, Ended):
            self.ended = item
        return item

    def _refused(self, event: int) -> CapsuleError | None:
        if event not in _REFUSALS:
            return None
        reason = _KEYS_IN_VAIN if self._with_keys else _KEYS_DEMANDED
        if event == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
            reason = _UNKNOWN_KEY.format(public=self._key_name)
        return CapsuleError(f"{self.url}: {reason}")

    def _silent(self) -> Silent:
        return Silent(
            f"{self.url}: nothing heard for {self._silence_s:g} s, and the run has not ended; "
            "its publisher is gone or cut off"
        )

    def _left_s(self) -> float | None:
        """Seconds of silence that are left to the publisher; None before it was ever heard."""
        if self._heard_s is None:
            return None
        return max(0.0, self._heard_s + self._silence_s - time.monotonic())


class Subscription(_Subscription):
    """One run's records, blocking. Made by `subscribe`."""

    def __init__(self, url: str, topics: Sequence[str], **options: Any) -> None:
        self._context = zmq.Context()
        sock = self._context.socket(zmq.SUB)
        self._monitor: zmq.Socket[bytes] | None = None
        try:
            super().__init__(sock, url, topics, **options)
            self._monitor = sock.get_monitor_socket(_MONITORED)
            self._connect()
        except BaseException:
            self._context.destroy(linger=0)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Record]:
        """The records, to the end of the run. Raises Silent when the publisher vanishes."""
        return (item for item in self.items() if isinstance(item, Record))

    def items(self) -> Iterator[Item]:
        """Records, word of gaps, and the end."""
        while self.ended is None:
            item = self.poll(None)
            if item is not None:
                yield item

    def poll(self, timeout_s: float | None = 0.0) -> Item | None:
        """The next item, or None when none comes within `timeout_s` (None: wait for ever).

        Raises Silent when a publisher that was heard is silent for too long.
        """
        deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            item = self._next()
            if item is not None:
                return item
            try:
                message = self._sock.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                if not self._wait(deadline_s):
                    return None
                continue
            self._take(message)

    def _wait(self, deadline_s: float | None) -> bool:
        """Wait for a message; False when the time is over."""
        left_s = self._left_s()
        rest_s = None if deadline_s is None else max(0.0, deadline_s - time.monotonic())
        waits = [wait for wait in (left_s, rest_s) if wait is not None]
        poller = zmq.Poller()
        poller.register(self._sock, zmq.POLLIN)
        if self._monitor is not None:
            poller.register(self._monitor, zmq.POLLIN)
        found = dict(poller.poll(int(min(waits) * 1000) + 1 if waits else None))
        if self._monitor in found and self._monitor is not None:
            event = recv_monitor_message(self._monitor)["event"]
            refused = self._refused(event)
            if refused is not None:
                raise refused
        if found:
            return True
        if self._left_s() == 0.0:
            raise self._silent()
        return deadline_s is None or time.monotonic() < deadline_s

    def close(self) -> None:
        """Unsubscribe and close."""
        self._sock.disable_monitor()
        super().close()
        self._context.destroy(linger=0)


_MONITORED = sum(_REFUSALS)


class AsyncSubscription(_Subscription):
    """One run's records, for asyncio. Made by `subscribe_async`.

    A publisher that refuses our key shows as silence here.
    """

    def __init__(self, url: str, topics: Sequence[str], **options: Any) -> None:
        self._context = zmq.asyncio.Context()
        sock: Any = self._context.socket(zmq.SUB)
        try:
            super().__init__(sock, url, topics, **options)
            self._connect()
        except BaseException:
            self._context.destroy(linger=0)
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    async def __aiter__(self) -> AsyncIterator[Record]:
        """The records, to the end of the run. Raises Silent when the publisher vanishes."""
        async for item in self.items():
            if isinstance(item, Record):
                yield item

    async def items(self) -> AsyncIterator[Item]:
        """Records, word of gaps, and the end."""
        sock: Any = self._sock
        while self.ended is None:
            item = self._next()
            if item is not None:
                yield item
                continue
            left_s = self._left_s()
            if not await sock.poll(None if left_s is None else int(left_s * 1000) + 1):
                raise self._silent()
            self._take(await sock.recv_multipart())

    def close(self) -> None:
        """Unsubscribe and close."""
        super().close()
        self._context.destroy(linger=0)


def subscribe(
    url: str,
    topics: Sequence[str] = (),
    *,
    from_start: bool = False,
    log: str | Path | None = None,
    key: str | Path | None = None,
    server_key: str | None = None,
    silence_s: float = SILENCE_S,
) -> Subscription:
    """Subscribe to the run that is, or will be, published at `url`.

    `topics`: prefixes such as "action.net", "action.proc.exec", "gap", "event.openat"; none
    means every record. `from_start`: the records from before the join too, from the log.
    `log`: where the log is, when it is not where the publisher says. `key`, `server_key`: our
    secret key file and the publisher's public key, for TCP that is encrypted. `silence_s`:
    after so long without a heartbeat the iteration raises `Silent`.

    Raises CapsuleError for what cannot work, a log out of reach included; waits as long as it
    takes for a publisher.
    """
    return Subscription(
        url, topics, from_start=from_start, log=log, key=key, server_key=server_key,
        silence_s=silence_s,
    )  # fmt: skip


def subscribe_async(
    url: str,
    topics: Sequence[str] = (),
    *,
    from_start: bool = False,
    log: str | Path | None = None,
    key: str | Path | None = None,
    server_key: str | None = None,
    silence_s: float = SILENCE_S,
) -> AsyncSubscription:
    """As `subscribe`, for `async with` and `async for`."""
    return AsyncSubscription(
        url, topics, from_start=from_start, log=log, key=key, server_key=server_key,
        silence_s=silence_s,
    )  # fmt: skip
