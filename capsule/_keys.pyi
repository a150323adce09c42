class WipedKey:
    """An Ed25519 private key in locked memory that `erase` (and its end) overwrites."""

    @property
    def public(self) -> bytes:
        """The raw public key, 32 bytes."""

    def sign(self, message: bytes) -> bytes:
        """A signature, 64 bytes (RFC 8032). ValueError once erased."""

    def erase(self) -> None:
        """Overwrite the secret and give its page back."""
