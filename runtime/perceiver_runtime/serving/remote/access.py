"""How a server is reached: its address, TLS, and what every request carries. Checked before anything is sent."""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from perceiver_runtime.common.errors import InputError, UsageError

Path = str | os.PathLike[str]
Headers = Mapping[str, str]
_LARGEST = 2**31 - 1  # bytes of a message
_RECONNECT = {"initial": 200, "min": 1000, "max": 2000}  # milliseconds; gRPC's own pauses grow to two minutes
_KEY = re.compile(r"[0-9a-z_.-]{1,100}")


@dataclass(frozen=True)
class Access:
    """What `perceiver_runtime.connect` says of it."""

    address: str
    tls: bool = False
    ca: Path | None = None
    certificate: tuple[Path, Path] | None = None
    authority: str | None = None
    token: str | Callable[[], str] | None = None
    headers: Headers | Callable[[], Headers] | None = None
    request_id: str | Callable[[], str] | None = None

    def check(self) -> None:
        """Raise `InputError`, `UsageError`."""
        if not isinstance(self.address, str) or not self.address:
            raise InputError(f"the address is {self.address!r}: give the server's gRPC service, such as 'server:8001'")
        if re.match(r"\w+://", self.address) and not self.address.startswith("dns://"):
            raise UsageError(f"{self.address} is a URL: give host:port of the gRPC service, and tls=True for TLS")
        if not re.search(r":\d{1,5}$|^unix:", self.address):
            raise UsageError(f"{self.address} has no port: give host:port of the gRPC service, Triton's is 8001")
        pair = self.certificate
        if pair is not None and (isinstance(pair, (str, bytes)) or not hasattr(pair, "__len__") or len(pair) != 2):
            raise UsageError(f"certificate is {pair!r}: give two files, the client's certificate and its key")
        files = {"ca": self.ca} | ({} if pair is None else {"certificate": pair[0], "the key of certificate": pair[1]})
        for what, file in files.items():
            if file is not None and not os.path.isfile(file):
                raise InputError(f"{what} is {os.fspath(file)}, which is no file: give one in PEM format")
        if self.authority is not None and not re.fullmatch(r"[0-9A-Za-z.:_-]{1,255}", self.authority):
            raise InputError(f"authority is {self.authority!r}: give the host's name as the ingress knows it")
        if not callable(self.headers) and not callable(self.token):
            self.metadata()
        if not callable(self.request_id):
            self.identity()

    @property
    def secure(self) -> bool:
        """Whether TLS is spoken."""
        return self.tls or self.ca is not None or self.certificate is not None

    def channel(self, grpc: Any) -> Any:
        """A channel of that module. Raises `InputError` where a file cannot be read."""
        options: list[tuple[str, str | int]] = [(f"grpc.max_{way}_message_length", _LARGEST) for way in ("send", "receive")]
        options += [(f"grpc.{which}_reconnect_backoff_ms", pause) for which, pause in _RECONNECT.items()]
        if self.authority is not None:
            options.append(("grpc.default_authority", self.authority))
        if not self.secure:
            return grpc.insecure_channel(self.address, options=options)
        if self.authority is not None:
            options.append(("grpc.ssl_target_name_override", self.authority.partition(":")[0]))
        certificate, key = self.certificate or (None, None)
        credentials = grpc.ssl_channel_credentials(_read(self.ca), _read(key), _read(certificate))
        return grpc.secure_channel(self.address, credentials, options=options)

    def metadata(self) -> dict[str, str]:
        """The headers of a request; functions are asked now. Raises `InputError`, `UsageError`."""
        given = self.headers() if callable(self.headers) else self.headers
        token = self.token() if callable(self.token) else self.token
        if given is not None and not isinstance(given, Mapping):
            raise InputError(f"headers are {given!r}: give names and values, such as {{'traceparent': '00-…'}}")
        found = {}
        for key, value in (given or {}).items():
            name = key.lower() if isinstance(key, str) else ""
            if not _KEY.fullmatch(name) or name.startswith("grpc-") or name.endswith("-bin"):
                raise InputError(f"headers name {key!r}: give names of letters, digits, '-', '_' and '.', not grpc-… or …-bin")
            if not _is_text(value):
                raise InputError(f"the header {name} is {value!r}: give printable ASCII text")
            found[name] = value
        if token is not None:
            if not _is_text(token):
                raise InputError("the token is no printable ASCII text")
            if "authorization" in found:
                raise UsageError("headers have an authorization, which token gives too: give one of them")
            found["authorization"] = f"Bearer {token}"
        return found

    def identity(self) -> str:
        """The id of a call's requests; a function is asked now. Raises `InputError`."""
        given = self.request_id() if callable(self.request_id) else self.request_id
        if given is not None and not _is_text(given):
            raise InputError(f"request_id is {given!r}: give printable ASCII text, or a function that gives it")
        return given or ""


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value.isascii() and value.isprintable()


def _read(file: Path | None) -> bytes | None:
    try:
        return None if file is None else pathlib.Path(file).read_bytes()
    except OSError as error:
        raise InputError(f"{os.fspath(file or '')} cannot be read ({error.strerror}): give a file in PEM format") from error
