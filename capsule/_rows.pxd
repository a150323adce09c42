"""The rows of both batches as C sees them (capsule/events.py has the layouts)."""

from libc.stdint cimport int8_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef struct EventRow:
    # Natural alignment gives it the 88 bytes of the format.
    uint64_t line
    int64_t ts_ns
    int64_t retval
    int64_t dur_ns
    int32_t pid
    uint16_t name_id
    uint8_t kind
    uint8_t flags
    uint32_t text_off
    uint32_t text_len
    uint32_t span_first
    uint32_t span_count
    uint32_t ret_off
    uint32_t ret_len
    uint32_t name_off
    uint32_t errno_off
    uint32_t ts_off
    uint16_t name_len
    uint16_t errno_len
    uint16_t ts_len
    uint16_t reserved0
    uint32_t reserved1

cdef struct Span:
    uint32_t off
    uint32_t len

cdef struct FactRow:
    uint64_t line
    int64_t ts_ns
    int64_t amount
    uint32_t proc
    uint32_t target
    uint32_t errno_id
    uint32_t detail_off
    uint32_t detail_len
    uint16_t kind
    uint8_t access
    uint8_t flags

cdef struct Plan:
    uint16_t kind
    uint16_t kind_pipe
    uint16_t kind_socket
    uint8_t rule
    int8_t arg
    uint8_t amount
    int8_t amount_arg
    uint8_t slow
    int8_t watched

cdef struct Header:
    uint32_t magic
    uint32_t rows
    uint32_t spans
    uint32_t heap

cdef enum:
    MAGIC_EVENTS = 0x31424543  # "CEB1"
    MAGIC_FACTS = 0x31424643  # "CFB1"
    FLAG_RETVAL = 1
    FLAG_JOINED = 2
    FLAG_SELF_NUMBER = 32
    KIND_SYSCALL = 0
    KIND_EXIT = 2
    KIND_KILLED = 3
    KIND_NOTE = 6
    HEADER_SIZE = 16
    ROW_SIZE = 88

cdef enum:
    R_NONE
    R_PATH
    R_AT
    R_OPENRET
    R_OPENATRET
    R_FD
    R_MAPFD
    R_SOCK
    R_SENDADDR
    R_ARG
    R_PID
    R_PIDRET
    R_FDREQ

cdef enum:
    A_NONE
    A_RET
    A_ARG

cdef enum:
    # what a fact row of no event says
    PROCESS_FACT = 0xFFFF
    PROCESS_GONE = 0xFFFE
    FACT_JOINED = 1

cdef struct FactHeader:
    uint32_t magic
    uint32_t rows
    uint32_t strings
    uint32_t heap
    uint32_t first
    uint32_t forget
