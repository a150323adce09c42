"""What the parser remembers of a tracee between its lines: one open call or one held call.

Nodes hang in hash buckets by pid and in a list by age. All memory is given back with the node,
but for a few kept to spare the allocator.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from capsule._batch cimport Array, Text, array_append, array_free

cdef enum:
    TS_ROOM = 32
    SPARE_NODES = 64
    SPARE_TEXT = 1 << 16


cdef struct Node:
    Node * chain  # next in the bucket
    Node * older
    Node * newer
    int32_t pid
    bint held  # a completed call that waits for the tracee's next line
    uint8_t flags
    uint8_t ts_len
    int64_t ts_ns
    uint64_t line
    Array text  # the call so far, from its name on
    unsigned char ts[TS_ROOM]


cdef struct Tracees:
    Node ** buckets
    uint32_t mask
    size_t count
    size_t held
    Node * newest
    Node * oldest
    Node * spare
    int spares
    bint failed


cdef inline uint32_t bucket_of(Tracees * t, int32_t pid) noexcept nogil:
    return (<uint32_t> pid * <uint32_t> 2654435769 >> 7) & t.mask


cdef inline bint grow(Tracees * t) noexcept nogil:
    cdef uint32_t size = (t.mask + 1) * 4 if t.buckets != NULL else 256
    cdef Node ** buckets = <Node **> calloc(size, sizeof(Node *))
    cdef Node * node = t.oldest
    cdef uint32_t slot
    if buckets == NULL:
        t.failed = True
        return False
    free(t.buckets)
    t.buckets = buckets
    t.mask = size - 1
    while node != NULL:
        slot = bucket_of(t, node.pid)
        node.chain = buckets[slot]
        buckets[slot] = node
        node = node.newer
    return True


cdef inline Node * find_node(Tracees * t, int32_t pid) noexcept nogil:
    cdef Node * node
    if t.count == 0:
        return NULL
    node = t.buckets[bucket_of(t, pid)]
    while node != NULL and node.pid != pid:
        node = node.chain
    return node


cdef inline void hang(Tracees * t, Node * node) noexcept nogil:
    """Put a node into the bucket of its pid."""
    cdef uint32_t slot = bucket_of(t, node.pid)
    node.chain = t.buckets[slot]
    t.buckets[slot] = node


cdef inline void unhang(Tracees * t, Node * node) noexcept nogil:
    cdef Node ** link = &t.buckets[bucket_of(t, node.pid)]
    while link[0] != node:
        link = &link[0].chain
    link[0] = node.chain


cdef inline Node * add_node(Tracees * t, int32_t pid) noexcept nogil:
    """A new node for a pid that has none; NULL (and `failed`) when there is no memory."""
    cdef Node * node = t.spare
    if t.buckets == NULL or t.count > t.mask:
        if not grow(t):
            return NULL
    if node != NULL:
        t.spare = node.chain
        t.spares -= 1
    else:
        node = <Node *> calloc(1, sizeof(Node))
        if node == NULL:
            t.failed = True
            return NULL
    node.pid = pid
    node.held = False
    node.flags = 0
    node.text.used = 0
    node.newer = NULL
    node.older = t.newest
    if t.newest != NULL:
        t.newest.newer = node
    else:
        t.oldest = node
    t.newest = node
    t.count += 1
    hang(t, node)
    return node


cdef inline void detach_node(Tracees * t, Node * node) noexcept nogil:
    """Take a node out of the buckets and the list; its memory stays the caller's."""
    unhang(t, node)
    if node.older != NULL:
        node.older.newer = node.newer
    else:
        t.oldest = node.newer
    if node.newer != NULL:
        node.newer.older = node.older
    else:
        t.newest = node.older
    t.count -= 1
    if node.held:
        t.held -= 1


cdef inline void free_node(Tracees * t, Node * node) noexcept nogil:
    """Give back a detached node."""
    if t.spares < SPARE_NODES:
        if node.text.room > SPARE_TEXT:
            array_free(&node.text)
        node.chain = t.spare
        t.spare = node
        t.spares += 1
    else:
        array_free(&node.text)
        free(node)


cdef inline void free_tracees(Tracees * t) noexcept nogil:
    cdef Node * node
    while t.oldest != NULL:
        node = t.oldest
        t.oldest = node.newer
        array_free(&node.text)
        free(node)
    while t.spare != NULL:
        node = t.spare
        t.spare = node.chain
        array_free(&node.text)
        free(node)
    free(t.buckets)
    t.buckets = NULL
    t.newest = NULL
    t.count = t.held = t.mask = 0
    t.spares = 0
