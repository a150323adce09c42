"""DSSE envelopes signed with Ed25519 (github.com/secure-systems-lab/dsse, protocol.md)."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

import orjson
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from capsule.errors import CapsuleError

MAKE_ONE = "make one with: openssl genpkey -algorithm ed25519 -out FILE"


def pae(payload_type: str, payload: bytes) -> bytes:
    """What is signed: the pre-authentication encoding of type and payload."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


class Signer:
    """Signs with the Ed25519 key of a PEM file (PKCS #8, not encrypted). CapsuleError if it is not.

    `keyid` is the SHA-256 of the public key's DER (SubjectPublicKeyInfo), hex.
    """

    def __init__(self, path: Path) -> None:
        try:
            key = load_pem_private_key(path.read_bytes(), None)
        except OSError as error:
            raise CapsuleError(f"cannot read the key {path}: {error.strerror}") from None
        except TypeError:
            raise CapsuleError(f"the key {path} is encrypted; decrypt it with openssl") from None
        except (ValueError, UnsupportedAlgorithm):
            raise CapsuleError(f"{path} is no private key in PEM; {MAKE_ONE}") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise CapsuleError(f"{path} is no Ed25519 key; {MAKE_ONE}")
        self._key = key
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        self.keyid = hashlib.sha256(public).hexdigest()

    def envelope(self, payload_type: str, payload: bytes) -> bytes:
        """The envelope of a payload, as JSON."""
        signature = self._key.sign(pae(payload_type, payload))
        return orjson.dumps({
            "payload": base64.b64encode(payload).decode(),
            "payloadType": payload_type,
            "signatures": [{"keyid": self.keyid, "sig": base64.b64encode(signature).decode()}],
        })  # fmt: skip
