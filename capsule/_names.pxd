"""The names the parser knows: ids in the caller's table, and the kernel's numbers."""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc
from libc.string cimport memcmp, memcpy

from capsule._batch cimport Text
from capsule._numbers cimport SYSCALL_COUNT, SYSCALLS

cdef enum:
    NAME_ROOM = 64
    HASH_SEED = 2166136261  # FNV-1a, 32 bits
    HASH_STEP = 16777619


cdef struct Known:
    char name[NAME_ROOM]
    uint8_t length  # 0: an empty slot
    uint16_t id  # 0: not in the caller's table
    int32_t number  # x86-64
    int32_t number32  # i386


cdef struct Names:
    Known * slots
    uint32_t mask


cdef inline uint32_t hash_step(uint32_t h, unsigned char c) noexcept nogil:
    return (h ^ c) * <uint32_t> HASH_STEP


cdef inline Known * find_name(Names * names, Text name, uint32_t length, uint32_t h) noexcept nogil:
    """The entry of a name whose hash is `h`, or the empty slot where it belongs."""
    cdef uint32_t slot = h & names.mask
    cdef Known * known
    while True:
        known = &names.slots[slot]
        if known.length == 0 or (known.length == length and memcmp(known.name, name, length) == 0):
            return known
        slot = (slot + 1) & names.mask


cdef inline Known * add_name(Names * names, Text name, uint32_t length) noexcept nogil:
    """The entry of a name of 1 to 63 bytes, made if it is new."""
    cdef uint32_t h = <uint32_t> HASH_SEED
    cdef uint32_t i
    cdef Known * known
    for i in range(length):
        h = hash_step(h, name[i])
    known = find_name(names, name, length, h)
    if known.length == 0:
        memcpy(known.name, name, length)
        known.length = <uint8_t> length
        known.number = known.number32 = -1
    return known


cdef inline bint fill_names(Names * names, size_t more) noexcept nogil:
    """Make a table of the kernel's names with room for `more`; False when there is no memory."""
    cdef size_t size = 2048
    cdef Known * known
    cdef uint32_t length
    cdef int i
    while size < 2 * (SYSCALL_COUNT + more):
        size *= 2
    names.slots = <Known *> calloc(size, sizeof(Known))
    if names.slots == NULL:
        return False
    names.mask = <uint32_t> size - 1
    for i in range(SYSCALL_COUNT):
        length = 0
        while SYSCALLS[i].name[length]:
            length += 1
        known = add_name(names, <Text> SYSCALLS[i].name, length)
        known.number = SYSCALLS[i].number
        known.number32 = SYSCALLS[i].number32
    return True
