"""The grammar inside a call: strings, comments, decorations, arguments.

A text is bytes up to `end`, and a line terminator (CR or LF) is at `end` or comes later, so that a
look at the byte after any byte of the text needs no check. Every function is linear in what it reads, and
what one of them has searched in vain is remembered so that it is not searched again.
"""

from libc.stdint cimport uint32_t
from libc.string cimport memcmp

from capsule._batch cimport Array, Span, Text, array_reserve

cdef extern from *:
    """
    /* What a byte may begin inside an argument list. */
    enum { PLAIN, QUOTE, OPEN, CLOSE, COMMA, ANGLE, SLASH };
    static const unsigned char ARG_CLASS[256] = {
        ['"'] = QUOTE, ['('] = OPEN, ['['] = OPEN, ['{'] = OPEN, [')'] = CLOSE, [']'] = CLOSE,
        ['}'] = CLOSE, [','] = COMMA, ['<'] = ANGLE, ['/'] = SLASH,
    };

    #include <emmintrin.h>
    /* The first byte from `p` on for which `found` is not 0, or `end`; sixteen at a time (SSE2). */
    #define FIND_BYTE(name, wide, narrow)                                                       \\
        static inline const unsigned char *name(const unsigned char *p, const unsigned char *end) \\
        {                                                                                       \\
            for (; end - p >= 16; p += 16) {                                                    \\
                __m128i x = _mm_loadu_si128((const __m128i *) p);                               \\
                int mask = _mm_movemask_epi8(wide);                                             \\
                if (mask)                                                                       \\
                    return p + __builtin_ctz(mask);                                             \\
            }                                                                                   \\
            while (p < end && !(narrow))                                                        \\
                p++;                                                                            \\
            return p;                                                                           \\
        }
    #define OR _mm_or_si128
    #define IS(c) _mm_cmpeq_epi8(x, _mm_set1_epi8(c))
    #define MASKED_IS(op, bits, c) \\
        _mm_cmpeq_epi8(op(x, _mm_set1_epi8((char) (bits))), _mm_set1_epi8(c))
    /* x | 0x20 makes [ ] of { }, and x & 0xfe makes ( of ). */
    #define SPECIAL \\
        OR(OR(OR(MASKED_IS(_mm_or_si128, 0x20, '{'), MASKED_IS(_mm_or_si128, 0x20, '}')), \\
              OR(MASKED_IS(_mm_and_si128, 0xfe, '('), IS('"'))), \\
           OR(OR(IS(','), IS('<')), IS('/')))
    /* Which of the 16 bytes from `p` on (of those before `end`) are not plain. */
    static inline uint32_t special_mask(const unsigned char *p, const unsigned char *end)
    {
        uint32_t mask = 0;
        if (end - p >= 16) {
            __m128i x = _mm_loadu_si128((const __m128i *) p);
            return _mm_movemask_epi8(SPECIAL);
        }
        for (int i = 0; i < end - p; i++)
            mask |= (uint32_t) (ARG_CLASS[p[i]] != PLAIN) << i;
        return mask;
    }
    FIND_BYTE(find_quote, IS('"'), *p == '"')
    FIND_BYTE(find_path_end, OR(OR(IS('<'), IS('>')), IS(92)), *p == '<' || *p == '>' || *p == 92)
    """
    int PLAIN, QUOTE, OPEN, CLOSE, COMMA, ANGLE, SLASH
    const unsigned char ARG_CLASS[256]
    uint32_t special_mask(Text p, Text end) noexcept nogil
    int __builtin_ctz(uint32_t mask) noexcept nogil
    Text find_quote(Text p, Text end) noexcept nogil
    Text find_path_end(Text p, Text end) noexcept nogil


cdef struct Scan:
    # Where an argument list stands after scan_args.
    Text close  # the `)` that a return value follows, or NULL
    Text arg  # start of the argument that is not in the spans yet


cdef inline bint is_digit(unsigned char c) noexcept nogil:
    return 48 <= c <= 57


cdef inline unsigned char before(Text p) noexcept nogil:
    return (p - 1)[0]


cdef inline bint ends_with(Text start, Text end, const char * word, Py_ssize_t length) noexcept nogil:
    return end - start >= length and memcmp(end - length, word, length) == 0


cdef inline bint starts_with(Text start, Text end, const char * word, Py_ssize_t length) noexcept nogil:
    return end - start >= length and memcmp(start, word, length) == 0


cdef inline Text skip_string(Text p, Text end) noexcept nogil:
    """The byte after the quote that closes the string whose first byte is `p`; NULL if none."""
    cdef Text q, back
    while True:
        q = find_quote(p, end)
        if q >= end:
            return NULL
        if q == p or before(q) != 92:
            return q + 1
        back = q - 1
        while back > p and before(back) == 92:
            back -= 1
        if (q - back) & 1 == 0:
            return q + 1
        p = q + 1


cdef inline Text skip_comment(Text p, Text end) noexcept nogil:
    """The byte after the comment whose `/*` ends before `p`; comments nest. NULL if it never ends."""
    cdef int depth = 1
    while p < end:
        if p[0] == 42 and p[1] == 47:
            p += 2
            depth -= 1
            if depth == 0:
                return p
        elif p[0] == 47 and p[1] == 42:
            p += 2
            depth += 1
        else:
            p += 1
    return NULL


cdef inline Text skip_decoration(Text p, Text end) noexcept nogil:
    """The byte after the `<…>` whose first inner byte is `p`; NULL if it never ends.

    A path (it begins with `/`) has its own quotes and angle brackets escaped, and may hold one
    nested decoration (`</dev/null<char 1:3>>`). Anything else may hold `[…]` after a colon,
    where `->` is an arrow, and quoted names in which `>` is not escaped.
    """
    cdef bint path = p[0] == 47
    cdef int depth = 1
    cdef int square = 0
    cdef unsigned char c
    if path:  # nearly always without escapes and brackets
        p = find_path_end(p, end)
    while p < end:
        c = p[0]
        if c == 92:
            p += 1
            if p == end:
                return NULL
        elif c == 60:
            depth += 1
        elif c == 62:
            if square == 0:
                depth -= 1
                if depth == 0:
                    return p + 1
        elif not path:
            if c == 34:
                p = skip_string(p + 1, end)
                if p == NULL:
                    return NULL
                continue
            if c == 91:
                if square or before(p) == 58:
                    square += 1
            elif c == 93 and square:
                square -= 1
        p += 1
    return NULL


cdef inline bint returns(Text close, Text end) noexcept nogil:
    """Whether blanks, `= ` and a value follow the `)` at `close`."""
    cdef Text p = close + 1
    while p[0] == 32:
        p += 1
    if p + 2 >= end or p[0] != 61 or p[1] != 32:
        return False
    return is_digit(p[2]) or p[2] == 63 or (p[2] == 45 and is_digit(p[3]))


cdef inline void push_span(Array * spans, Text start, Text end, Text base, uint32_t base_off) noexcept nogil:
    cdef Span * span
    while start < end and start[0] == 32:
        start += 1
    while end > start and before(end) == 32:
        end -= 1
    if array_reserve(spans, sizeof(Span)):
        span = <Span *> (spans.at + spans.used)
        span.off = base_off + <uint32_t> (start - base)
        span.len = <uint32_t> (end - start)
        spans.used += sizeof(Span)


cdef inline void push_last(Array * spans, Text start, Text end, Text base, uint32_t base_off) noexcept nogil:
    """Push the last argument, without the marker of a call that did not return; nothing if blank."""
    while end > start and before(end) == 32:
        end -= 1
    if ends_with(start, end, b"<unfinished ...>", 16):
        end -= 16
    while start < end and start[0] == 32:
        start += 1
    if start < end:
        push_span(spans, start, end, base, base_off)


cdef inline bint decorates(Text start, Text angle) noexcept nogil:
    """Whether the `<` follows what strace decorates: a number or AT_FDCWD."""
    if angle == start:
        return False
    if is_digit(before(angle)):
        return True
    return angle - start >= 8 and before(angle) == 68 and memcmp(angle - 8, b"AT_FDCWD", 8) == 0


cdef inline Scan scan_args(
    Text p, Text end, Array * spans, Text base, uint32_t base_off
) noexcept nogil:
    """Split the arguments that begin at `p`, pushing a span for each but the last.

    The list ends at the first `)` at the top level that a return value follows. If there is
    none (releases up to 4.x lost braces), at the last such `)` at any level. Strings, comments
    and decorations hide what is in them.
    """
    cdef Scan scan
    cdef Text start = p
    cdef Text fallback = NULL
    cdef Text fallback_arg = p
    cdef size_t fallback_used = spans.used
    cdef int depth = 0
    cdef bint comments = True
    cdef bint decorations = True
    cdef Text q
    cdef Text block = p
    cdef uint32_t mask = special_mask(p, end)
    cdef unsigned char kind
    scan.close = NULL
    scan.arg = p
    while True:
        while mask == 0:
            block += 16
            if block >= end:
                break
            mask = special_mask(block, end)
        if mask == 0:
            break
        p = block + __builtin_ctz(mask)
        mask &= mask - 1
        kind = ARG_CLASS[p[0]]
        if kind == COMMA:
            if depth == 0:
                push_span(spans, scan.arg, p, base, base_off)
                scan.arg = p + 1
            continue
        if kind == OPEN:
            depth += 1
            continue
        if kind == CLOSE:
            if p[0] == 41 and returns(p, end):
                if depth == 0:
                    scan.close = p
                    return scan
                fallback = p
                fallback_arg = scan.arg
                fallback_used = spans.used
            if depth:
                depth -= 1
            continue
        if kind == QUOTE:
            q = skip_string(p + 1, end)
            if q == NULL:
                break
        elif kind == ANGLE:
            if not decorations or p[1] == 60 or not decorates(start, p):
                continue
            q = skip_decoration(p + 1, end)
            if q == NULL:
                decorations = False
                continue
        else:
            if not comments or p[1] != 42:
                continue
            q = skip_comment(p + 2, end)
            if q == NULL:
                comments = False
                continue
        # Go on at q.
        if q - block < 16:
            mask &= <uint32_t> 0xffff << (q - block)
        elif q < end:
            block = q
            mask = special_mask(q, end)
        else:
            break
    if fallback != NULL:
        scan.close = fallback
        scan.arg = fallback_arg
        spans.used = fallback_used
    return scan
