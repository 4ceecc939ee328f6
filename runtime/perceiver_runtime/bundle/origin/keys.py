"""Keys of elliptic curves in PEM, as OpenSSF model signing takes them; the only module that imports `cryptography`."""

from __future__ import annotations

import hashlib
import importlib
import os
from typing import Any

from perceiver_runtime.common.errors import BackendError, InputError

CURVES = {"secp256r1": ("P-256", "SHA256"), "secp384r1": ("P-384", "SHA384"), "secp521r1": ("P-521", "SHA512")}
MAX_BYTES = 1 << 16


def read_key(path: str | os.PathLike[str]) -> bytes:
    """The content of a file with a key. Raises `InputError`."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"the key {os.fspath(path)} cannot be read: {error.strerror or error}") from error
    if len(content) > MAX_BYTES:
        raise InputError(f"{os.fspath(path)} is larger than a key: give a file in PEM")
    return content


class Keys:
    """What `cryptography` does with keys."""

    def __init__(self) -> None:
        """Raises `BackendError` where the package is missing."""
        try:
            self._serialization = importlib.import_module("cryptography.hazmat.primitives.serialization")
            self._hashes = importlib.import_module("cryptography.hazmat.primitives.hashes")
            self._curves = importlib.import_module("cryptography.hazmat.primitives.asymmetric.ec")
            self._errors = importlib.import_module("cryptography.exceptions")
        except ImportError as error:
            raise BackendError("signatures need the package cryptography: pip install 'perceiver-runtime[sign]'") from error

    def public(self, pem: bytes) -> Any:
        """A public key. Raises `InputError`."""
        if b"PRIVATE KEY" in pem:
            raise InputError("this is a private key: give the public one, of openssl pkey -in key.pem -pubout")
        try:
            key = self._serialization.load_pem_public_key(pem)
        except (ValueError, self._errors.UnsupportedAlgorithm) as error:
            raise InputError("this is no public key in PEM, which begins with -----BEGIN PUBLIC KEY-----") from error
        return self._of_a_curve(key, self._curves.EllipticCurvePublicKey)

    def private(self, pem: bytes, password: bytes | None) -> Any:
        """A private key. Raises `InputError`."""
        if b"PRIVATE KEY" not in pem:
            raise InputError("this is no private key in PEM, which begins with -----BEGIN PRIVATE KEY-----")
        try:
            key = self._serialization.load_pem_private_key(pem, password)
        except TypeError as error:  # a password without encryption, or the other way round
            wanted = "is encrypted: give its password" if password is None else "is not encrypted: leave out the password"
            raise InputError(f"the private key {wanted}") from error
        except (ValueError, self._errors.UnsupportedAlgorithm) as error:
            raise InputError("the private key cannot be read: it is damaged, or the password is not its own") from error
        return self._of_a_curve(key, self._curves.EllipticCurvePrivateKey)

    def hint(self, public: Any) -> str:
        """The sha256 in hex of a public key's PEM."""
        kinds = self._serialization
        pem: bytes = public.public_bytes(kinds.Encoding.PEM, kinds.PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(pem).hexdigest()

    def sign(self, private: Any, content: bytes) -> bytes:
        """The signature of a content."""
        return bytes(private.sign(content, self._algorithm(private)))

    def signed(self, public: Any, signature: bytes, content: bytes) -> bool:
        """Whether a content's signature was made with the private key of this public one."""
        try:
            public.verify(signature, content, self._algorithm(public))
        except self._errors.InvalidSignature:
            return False
        return True

    def _algorithm(self, key: Any) -> Any:
        return self._curves.ECDSA(getattr(self._hashes, CURVES[key.curve.name][1])())

    def _of_a_curve(self, key: Any, kind: Any) -> Any:
        if not isinstance(key, kind) or key.curve.name not in CURVES:
            names = ", ".join(name for name, _ in CURVES.values())
            raise InputError(f"the key is of another kind than the format takes: make one of an elliptic curve, {names}")
        return key
