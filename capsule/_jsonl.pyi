"""Event batches as JSON lines."""

def jsonl(batch: bytes | bytearray | memoryview) -> bytes:
    r"""The events of one batch (`capsule.events`), one JSON object a line, in their order.

    Keys, in this order, absent when unknown: line, pid, ts, ts_ns, kind, name, args, ret, retval,
    errno, dur_ns, raw. Texts are what `capsule.text.escape` makes of strace's bytes. A call that
    seccomp stopped has `ret` `?`, not the number that strace printed.

    Raises ValueError for anything that is not an event batch.
    """
