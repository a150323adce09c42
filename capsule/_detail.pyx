"""The detail of a fact row: its fields as bytes, and back (capsule/events.py has the layout)."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.string cimport memcpy

from capsule.events import DETAIL_FIELD, DETAIL_KEYS

cdef packed struct Field:
    uint8_t key
    uint8_t type
    uint32_t size

cdef enum:
    BYTES = 0
    INTEGER = 1
    LIST = 2

cdef tuple KEYS = DETAIL_KEYS
cdef dict INDEX = {key: index for index, key in enumerate(DETAIL_KEYS)}

assert DETAIL_FIELD.size == sizeof(Field)


def pack_detail(list fields not None):
    """Return the fields as one detail."""
    cdef size_t size = 0
    cdef Field field
    cdef int64_t number
    cdef uint32_t length
    cdef bytes item
    cdef char *out
    for _, value in fields:
        size += sizeof(Field) + _size(value)
    detail = PyBytes_FromStringAndSize(NULL, size)
    out = PyBytes_AS_STRING(detail)
    for key, value in fields:
        field.key = INDEX[key]
        field.type = BYTES if isinstance(value, bytes) else INTEGER if isinstance(value, int) else LIST
        field.size = <uint32_t>_size(value)
        memcpy(out, &field, sizeof(Field))
        out += sizeof(Field)
        if field.type == BYTES:
            memcpy(out, PyBytes_AS_STRING(value), field.size)
            out += field.size
        elif field.type == INTEGER:
            number = value
            memcpy(out, &number, sizeof(number))
            out += sizeof(number)
        else:
            for item in <list>value:
                length = <uint32_t>PyBytes_GET_SIZE(item)
                memcpy(out, &length, sizeof(length))
                memcpy(out + sizeof(length), PyBytes_AS_STRING(item), length)
                out += sizeof(length) + length
    return detail


cdef size_t _size(value) except? 0:
    cdef size_t size = 0
    cdef bytes item
    if isinstance(value, bytes):
        return PyBytes_GET_SIZE(value)
    if isinstance(value, int):
        return sizeof(int64_t)
    for item in <list?>value:
        if item is None:
            raise TypeError("an item of a detail is no bytes")
        size += sizeof(uint32_t) + PyBytes_GET_SIZE(item)
    return size


def unpack_detail(bytes detail not None):
    """Return the fields that `pack_detail` packed, in order. ValueError if it is no detail."""
    cdef const char *data = PyBytes_AS_STRING(detail)
    cdef size_t size = PyBytes_GET_SIZE(detail)
    cdef size_t at = 0
    cdef Field field
    cdef int64_t number
    cdef list fields = []
    while at < size:
        if size - at < sizeof(Field):
            raise ValueError("not a detail")
        memcpy(&field, data + at, sizeof(Field))
        at += sizeof(Field)
        if field.size > size - at or field.key >= len(KEYS):
            raise ValueError("not a detail")
        if field.type == BYTES:
            value = PyBytes_FromStringAndSize(data + at, field.size)
        elif field.type == INTEGER and field.size == sizeof(number):
            memcpy(&number, data + at, sizeof(number))
            value = number
        elif field.type == LIST:
            value = _items(data + at, field.size)
        else:
            raise ValueError("not a detail")
        fields.append((KEYS[field.key], value))
        at += field.size
    return fields


cdef list _items(const char *data, size_t size):
    cdef size_t at = 0
    cdef uint32_t length
    cdef list items = []
    while at < size:
        if size - at < sizeof(length):
            raise ValueError("not a detail")
        memcpy(&length, data + at, sizeof(length))
        at += sizeof(length)
        if length > size - at:
            raise ValueError("not a detail")
        items.append(PyBytes_FromStringAndSize(data + at, length))
        at += length
    return items
