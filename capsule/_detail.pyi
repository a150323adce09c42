"""The detail of a fact row: its fields as bytes, and back (capsule/events.py has the layout)."""

from capsule.events import DetailValue

def pack_detail(fields: list[tuple[str, DetailValue]]) -> bytes:
    """The fields as one detail. Bytes stay raw; an integer is 64 bits, signed.

    Raises KeyError for a key that is not in DETAIL_KEYS, OverflowError for a wider integer.
    """

def unpack_detail(detail: bytes) -> list[tuple[str, DetailValue]]:
    """The fields that `pack_detail` packed, in order. ValueError if it is no detail."""
