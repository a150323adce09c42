# cython: language_level=3
"""A private key in memory of its own: locked, left out of core dumps, wiped when erased.

The 32 secret bytes live in one anonymous page, filled by getrandom(2), and never become a
Python object. OpenSSL gets a copy for the length of one signature and wipes that itself
(EVP_PKEY_free → OPENSSL_secure_clear_free, crypto/ec/ecx_key.c).
"""

from cpython.buffer cimport PyBuffer_FillInfo
from libc.errno cimport errno

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

cdef extern from "<string.h>" nogil:
    void explicit_bzero(void *s, size_t n)

cdef extern from "<sys/mman.h>" nogil:
    void *mmap(void *addr, size_t length, int prot, int flags, int fd, long offset)
    int munmap(void *addr, size_t length)
    int mlock(const void *addr, size_t length)
    int madvise(void *addr, size_t length, int advice)
    int PROT_READ, PROT_WRITE, MAP_PRIVATE, MAP_ANONYMOUS, MADV_DONTDUMP, MADV_WIPEONFORK
    void *MAP_FAILED

cdef extern from "<sys/random.h>" nogil:
    ssize_t getrandom(void *buf, size_t n, unsigned int flags)

cdef enum:
    PAGE = 4096
    SEED = 32


cdef class _Page:
    """The page itself, lent to OpenSSL through the buffer protocol, read-only."""

    cdef unsigned char *at

    def __cinit__(self):
        cdef void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        if page == MAP_FAILED:
            raise OSError(errno, "no memory for a signing key")
        self.at = <unsigned char *> page
        # Best effort: RLIMIT_MEMLOCK may be 0 and old kernels lack the advice.
        mlock(page, PAGE)
        madvise(page, PAGE, MADV_DONTDUMP)
        madvise(page, PAGE, MADV_WIPEONFORK)
        if getrandom(page, SEED, 0) != SEED:
            raise OSError(errno, "getrandom gave no key")

    def __dealloc__(self):
        if self.at != NULL:
            explicit_bzero(self.at, PAGE)
            munmap(self.at, PAGE)
            self.at = NULL

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.at, SEED, 1, flags)

    cdef void wipe(self) noexcept:
        explicit_bzero(self.at, PAGE)


cdef class WipedKey:
    """An Ed25519 private key, freshly drawn; `capsule.chain.Signer`."""

    cdef _Page page
    cdef bint erased
    cdef readonly bytes public

    def __init__(self):
        self.page = _Page()
        self.erased = False
        self.public = (
            Ed25519PrivateKey.from_private_bytes(self.page).public_key().public_bytes_raw()
        )

    def sign(self, bytes message not None):
        if self.erased:
            raise ValueError("the key is erased")
        return Ed25519PrivateKey.from_private_bytes(self.page).sign(message)

    def erase(self):
        self.erased = True
        if self.page is not None:
            self.page.wipe()
            self.page = None
