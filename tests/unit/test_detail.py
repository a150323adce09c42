"""A fact row's detail, packed and unpacked."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsule._detail import pack_detail, unpack_detail
from capsule.events import DETAIL_FIELD, DETAIL_KEYS, DetailValue

values = st.one_of(
    st.binary(max_size=50),
    st.integers(-(2**63), 2**63 - 1),
    st.lists(st.binary(max_size=20), max_size=8),
)
details = st.lists(st.tuples(st.sampled_from(DETAIL_KEYS), values), max_size=8)


@given(details)
def test_what_is_packed_is_unpacked(fields: list[tuple[str, DetailValue]]) -> None:
    assert unpack_detail(pack_detail(fields)) == fields


def test_layout() -> None:
    packed = pack_detail([("to", b"/x"), ("tid", -2), ("argv", [b"ls", b""])])
    key = DETAIL_KEYS.index
    assert packed == b"".join(
        (
            DETAIL_FIELD.pack(key("to"), 0, 2) + b"/x",
            DETAIL_FIELD.pack(key("tid"), 1, 8) + struct.pack("<q", -2),
            DETAIL_FIELD.pack(key("argv"), 2, 10) + b"\2\0\0\0ls\0\0\0\0",
        )
    )


@given(details, st.data())
def test_what_is_cut_is_no_other_detail(
    fields: list[tuple[str, DetailValue]], data: st.DataObject
) -> None:
    """A torn detail is refused, unless the cut falls between two fields."""
    packed = pack_detail(fields)
    cut = packed[: data.draw(st.integers(0, len(packed)))]
    try:
        found = unpack_detail(cut)
    except ValueError:
        return
    assert found == fields[: len(found)]
    assert pack_detail(found) == cut


@given(st.binary(max_size=60))
def test_any_bytes_are_a_detail_or_refused(data: bytes) -> None:
    try:
        fields = unpack_detail(data)
    except ValueError:
        return
    assert pack_detail(fields) == data


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
def test_an_integer_over_64_bits_is_refused(number: int) -> None:
    with pytest.raises(OverflowError):
        pack_detail([("tid", number)])


def test_what_is_no_value_is_refused() -> None:
    for value in (None, "text", [b"a", None], [1]):
        with pytest.raises(TypeError):
            pack_detail([("tid", value)])  # type: ignore[list-item]
