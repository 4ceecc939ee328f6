"""Signatures in the format of OpenSSF model signing (the package model-signing): made and checked with `cryptography` alone.

The file `model.sig` in a bundle's folder is a Sigstore bundle of JSON. It holds a DSSE envelope, whose payload is an in-toto
statement with the name and sha256 of every file. With a key of one's own there is no certificate and no log in it, so nothing
of Sigstore's services is needed: model-signing itself brings twenty packages for those, which a device does without.

A signature says that the holder of a private key signed these very files; it says nothing about what they compute.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

from perceiver_runtime.bundle.origin.keys import Keys
from perceiver_runtime.common.errors import IntegrityError
from perceiver_runtime.common.records import parse_json, record

FILE = "model.sig"
GIT_FILES = (".git", ".gitattributes", ".github", ".gitignore")  # that the format leaves out
MAX_BYTES = 1 << 20
_MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD_TYPE = "application/vnd.in-toto+json"
_STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
_PREDICATE_TYPE = "https://model_signing/signature/v1.0"
_SIGN_AGAIN = "sign it with perceiver sign"


@dataclass(frozen=True)
class _PublicKey:
    hint: str | None = None  # sha256 of the key's PEM


@dataclass(frozen=True)
class _Material:
    publicKey: _PublicKey | None = None


@dataclass(frozen=True)
class _Signature:
    sig: str


@dataclass(frozen=True)
class _Envelope:
    payload: str
    payloadType: str
    signatures: tuple[_Signature, ...]


@dataclass(frozen=True)
class _SigstoreBundle:
    mediaType: str
    verificationMaterial: _Material
    dsseEnvelope: _Envelope


@dataclass(frozen=True)
class _Resource:
    name: str
    algorithm: str
    digest: str


@dataclass(frozen=True)
class _Serialization:
    method: str
    hash_type: str


@dataclass(frozen=True)
class _Predicate:
    resources: tuple[_Resource, ...]
    serialization: _Serialization


@dataclass(frozen=True)
class _Subject:
    digest: Mapping[str, str]


@dataclass(frozen=True)
class _Statement:
    _type: str
    subject: tuple[_Subject, ...]
    predicateType: str
    predicate: _Predicate


def sign(files: Mapping[str, str], name: str, private_key: bytes, password: bytes | None = None) -> bytes:
    """The content of a signature of files, by name their sha256 in hex, with a private key in PEM.

    `name` of the whole only informs. Raises `InputError` for a key that cannot be used, `BackendError` without `cryptography`.
    """
    keys = Keys()
    key = keys.private(private_key, password)
    names = sorted(files)
    statement = {
        "_type": _STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": _root([files[each] for each in names])}}],
        "predicateType": _PREDICATE_TYPE,
        "predicate": {
            "resources": [{"name": each, "algorithm": "sha256", "digest": files[each]} for each in names],
            "serialization": {
                "method": "files",
                "hash_type": "sha256",
                "allow_symlinks": False,
                "ignore_paths": [FILE, *GIT_FILES],
            },
        },
    }
    payload = json.dumps(statement, indent=2).encode()
    signature = keys.sign(key, _encoding(payload))
    sealed = {
        "mediaType": _MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": keys.hint(key.public_key())}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": base64.b64encode(payload).decode(),
            "payloadType": _PAYLOAD_TYPE,
            "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
        },
    }
    return json.dumps(sealed).encode()


def signed_files(content: bytes, public_key: bytes) -> dict[str, str]:
    """The sha256 of each file that a signature covers, by name, if it was made with the private key of `public_key`, PEM.

    Raises `IntegrityError` for another key's, and for what is no signature in this format; `InputError` for a key that cannot
    be used, `BackendError` without `cryptography`.
    """
    keys = Keys()
    key = keys.public(public_key)
    sealed = record(_SigstoreBundle, parse_json(content, FILE), FILE, ignored=None)
    envelope, material = sealed.dsseEnvelope, sealed.verificationMaterial.publicKey
    if sealed.mediaType != _MEDIA_TYPE or envelope.payloadType != _PAYLOAD_TYPE or len(envelope.signatures) != 1:
        raise IntegrityError(f"{FILE} is no signature of one key in OpenSSF's model signing format 1.0: {_SIGN_AGAIN}")
    if material is None:
        raise IntegrityError(f"{FILE} was made with a certificate, not with a key: {_SIGN_AGAIN}")
    if material.hint and material.hint != keys.hint(key):
        raise IntegrityError(f"{FILE} was made with another key than the one given: do not use this bundle")
    payload = _decoded(envelope.payload)
    if not keys.signed(key, _decoded(envelope.signatures[0].sig), _encoding(payload)):
        raise IntegrityError(f"{FILE} was not made with the key given, or was changed: do not use this bundle")
    return _resources(record(_Statement, parse_json(payload, FILE), FILE, ignored=None))


def _resources(statement: _Statement) -> dict[str, str]:
    predicate, kinds = statement.predicate, (statement._type, statement.predicateType)
    resources = predicate.resources
    plain = predicate.serialization.method == "files" and predicate.serialization.hash_type == "sha256"
    if kinds != (_STATEMENT_TYPE, _PREDICATE_TYPE) or not plain or {each.algorithm for each in resources} - {"sha256"}:
        raise IntegrityError(f"{FILE} signs in another way than by the sha256 of whole files: {_SIGN_AGAIN}")
    files = {each.name: each.digest for each in resources}
    roots = [subject.digest.get("sha256") for subject in statement.subject]
    if len(files) != len(resources) or roots != [_root([each.digest for each in resources])]:
        raise IntegrityError(f"{FILE} contradicts itself: {_SIGN_AGAIN}")
    return files


def _root(digests: list[str]) -> str:
    """Of all files as one: the sha256 of their sums, one after the other."""
    try:
        return hashlib.sha256(b"".join(map(bytes.fromhex, digests))).hexdigest()
    except ValueError as error:
        raise IntegrityError(f"{FILE} holds a sum that is none: {_SIGN_AGAIN}") from error


def _encoding(payload: bytes) -> bytes:
    """What is signed: DSSE's pre-authentication encoding."""
    return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD_TYPE), _PAYLOAD_TYPE.encode(), len(payload), payload)


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise IntegrityError(f"{FILE} is damaged: copy the bundle again") from error
