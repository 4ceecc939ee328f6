"""What a caller asks of a bundle beside that it is whole: that its manifest is a known one, that a key's holder signed it.

Both are tied to what the reader checks anyway: the manifest's bytes, and through the sums in it every file while it is held
open. So nothing is hashed twice, and nothing can be exchanged between the check of a signature and the use of a file.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from perceiver_runtime.bundle.held_file import open_regular
from perceiver_runtime.bundle.manifest import Manifest
from perceiver_runtime.bundle.origin.keys import read_key
from perceiver_runtime.bundle.origin.signature import FILE, GIT_FILES, MAX_BYTES, signed_files
from perceiver_runtime.common.errors import IntegrityError, UsageError

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Trust:
    """The manifest's sha256 in hex, and a public key in PEM; None where it is not asked for."""

    manifest_sha256: str | None = None
    public_key: bytes | None = None

    @classmethod
    def of(cls, manifest_sha256: str | None = None, public_key: str | os.PathLike[str] | bytes | None = None) -> Trust:
        """With a key in a file, or as its content. Raises `UsageError`, `InputError`."""
        if manifest_sha256 is not None and not re.fullmatch(r"[0-9a-f]{64}", manifest_sha256):
            raise UsageError(f"the manifest's sha256 is {manifest_sha256[:80]!r}: give 64 digits, as perceiver inspect does")
        key = public_key if public_key is None or isinstance(public_key, bytes) else read_key(public_key)
        return cls(manifest_sha256, key)

    def check_manifest(self, folder: Path, text: bytes, signature: bytes | None) -> None:
        """Raise `IntegrityError` unless a manifest's text is the one asked for, and signed; before it is read."""
        digest = hashlib.sha256(text).hexdigest()
        if self.manifest_sha256 not in (None, digest):
            raise IntegrityError(
                f"the manifest of {folder} has sha256 {digest}, not {self.manifest_sha256}: it is another bundle"
            )
        if self.public_key is not None and self._signed(folder, signature).get(MANIFEST) != digest:
            raise IntegrityError(f"{folder / MANIFEST} is not what was signed: do not use this bundle")

    def check_files(self, folder: Path, manifest: Manifest, signature: bytes | None, found: Collection[str]) -> None:
        """Raise `IntegrityError` unless all that the manifest lists was signed so, and no other file was, or is there."""
        if self.public_key is None:
            return
        signed = self._signed(folder, signature)
        listed = {entry.path: entry.sha256 for entry in manifest.files}
        changed = sorted(name for name, digest in listed.items() if signed.get(name) != digest)
        others = sorted((set(signed) | set(found)) - listed.keys() - {MANIFEST, FILE, *GIT_FILES})
        if changed:
            raise IntegrityError(f"{folder / changed[0]} is not what was signed: do not use this bundle")
        if others:
            raise IntegrityError(f"{folder} holds, or was signed with, {others[0]!r}, no file of the bundle: do not use it")

    def _signed(self, folder: Path, signature: bytes | None) -> dict[str, str]:
        assert self.public_key is not None
        if signature is None:
            raise IntegrityError(f"{folder} is not signed, it has no {FILE}: do not use it, or sign it with perceiver sign")
        try:
            return signed_files(signature, self.public_key)
        except IntegrityError as error:
            raise IntegrityError(f"{folder}: {error}") from error


def read_signature(folder: Path) -> bytes | None:
    """The signature in a bundle's folder, None where there is none. Raises `IntegrityError`."""
    if not os.path.lexists(folder / FILE):
        return None
    with os.fdopen(open_regular(folder / FILE), "rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise IntegrityError(f"{folder / FILE} has more than the {MAX_BYTES} bytes allowed: do not use this bundle")
    return content
