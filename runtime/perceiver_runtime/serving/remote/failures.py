"""What an error of a server, or of the way to it, means: to the user, and for another try."""

from __future__ import annotations

import re

_AWAY = ("UNAVAILABLE", "NOT_FOUND", "CANCELLED")  # status codes; a server that stops cancels
# what servers say of workers and versions that went
_AWAY_TEXTS = ("stub process", "is not ready", "is not at ready state", "not found", "unloaded", "no available versions")
_CLOSED_HERE = "channel closed"  # what gRPC says where another thread closed the connection
_BUSY = r"Exceeds maximum queue size"
_REASONS = [  # (what gRPC or Triton says, what it means); the first that is found
    (
        r"error resolving|errors resolving|DNS resolution failed|[Nn]ame resolution",
        "its name is not found (DNS): check the host",
    ),
    (
        r"CERTIFICATE_VERIFY_FAILED",
        "its certificate is not trusted: give the file of the authority that signed it (ca=)",
    ),
    (
        r"[Hh]ostname [Vv]erification|Peer name .* is not in peer certificate|No match found for server name",
        "its certificate is for another name: connect to that name, or give it as authority=",
    ),
    (
        r"WRONG_VERSION_NUMBER",
        "it does not speak TLS at this port: leave out tls, ca and certificate, or give the port that does",
    ),
    (r"security handshaker|invalid certificate", "ca= or certificate= cannot be used: give files in PEM format"),
    (r"handshake failed", "the TLS handshake failed: does the server want a client's certificate (certificate=)?"),
    (
        r"SETTINGS frame|[Hh][Tt][Tt][Pp]1\.x|HTTP/1",
        "it speaks HTTP there, not gRPC: give the port of its gRPC service, 8001 with Triton's defaults",
    ),
    (r"[Cc]onnection refused", "nobody listens there: is the server up, and is this its gRPC port?"),
    (r"http2 header with status: (\d+)", "a proxy or an ingress answered in its place: check its route, and authority="),
    (
        r"Socket closed|[Cc]onnection reset|Broken pipe|GOAWAY",
        "it closed the connection: is it stopping, or does it want TLS (tls=True) or a client's certificate (certificate=)?",
    ),
]


def status_of(error: Exception) -> str:
    """The name of gRPC's status code; empty where there is none."""
    code = getattr(error, "code", None)
    return str(getattr(code(), "name", "")) if callable(code) else ""


def text_of(error: Exception) -> str:
    """What the server says, or gRPC."""
    details = getattr(error, "details", None)
    return str((details() if callable(details) else None) or error)


def may_come_back(error: Exception) -> bool:
    """Whether another try can be answered: the server is away or busy, a worker died, a version is being loaded."""
    text = text_of(error).lower()
    return (status_of(error) in _AWAY and _CLOSED_HERE not in text) or any(part in text for part in _AWAY_TEXTS)


def explained(address: str, model: str, error: Exception, seconds: float) -> str:
    """One line for the user."""
    status, text = status_of(error), text_of(error)
    if status == "DEADLINE_EXCEEDED":
        return f"{address} did not answer for {model} within {seconds:g} s: give a longer timeout"
    if status == "CANCELLED":
        if _CLOSED_HERE in text.lower():
            return f"the connection to {address} was closed while it worked on {model}"
        return f"{address} cancelled the request of {model}: is it stopping? Retry longer (retry_for=)"
    if status in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        return f"{address} refuses this client: check token= and headers=, it says: {_first_line(error)}"
    if re.search(_BUSY, text):
        return f"{address} is busy, the queue of {model} is full: ask less at a time, retry longer (retry_for=), or serve more"
    if "is not healthy" in text:
        return f"{address} lost the worker of {model} and did not start another in time: unload the model there, and load it"
    if status in ("UNAVAILABLE", "UNIMPLEMENTED"):
        for pattern, meaning in _REASONS:
            if re.search(pattern, text):
                return f"{address} cannot be reached, {meaning}"
        if status == "UNAVAILABLE" and "odel" not in text:
            return f"{address} cannot be reached: is the server up, and is this its gRPC port?"
    return f"{address} failed on {model}: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    lines = text_of(error).strip().splitlines() or [repr(error)]
    return f"{status_of(error)} {lines[0]}".strip()
