"""What keeps a client from its server is said by its cause: name, port, protocol, TLS, certificates, a proxy."""

import http.server
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import perceiver_runtime as pr
from perceiver_runtime.tasks.known_answer import FILE, Sample

rpc = pytest.importorskip("grpc", reason="grpc comes with tritonclient")
from inference_server import Served, serving  # noqa: E402

BUNDLE = Path(__file__).parent / "data" / "golden-1.0" / "flow"
HOST = "model.example"
REQUEST = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={HOST}"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for `HOST` that signs itself, and its key."""
    folder = tmp_path_factory.mktemp("certificates")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    files = ["-addext", f"subjectAltName=DNS:{HOST}", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(["openssl", *REQUEST, *files], check=True, capture_output=True)
    return certificate, key


@pytest.fixture
def over_tls(pair: tuple[Path, Path]) -> Iterator[Served]:
    certificate, key = (file.read_bytes() for file in pair)
    with serving(Served(BUNDLE), credentials=rpc.ssl_server_credentials([(key, certificate)])) as running:
        yield running


@pytest.fixture
def wants_a_certificate(pair: tuple[Path, Path]) -> Iterator[Served]:
    certificate, key = (file.read_bytes() for file in pair)
    credentials = rpc.ssl_server_credentials([(key, certificate)], root_certificates=certificate, require_client_auth=True)
    with serving(Served(BUNDLE), credentials=credentials) as running:
        yield running


def refused(address: str, **options: Any) -> str:
    with pytest.raises(pr.BackendError) as error:
        pr.connect(address, bundle=BUNDLE, timeout=10, **options)
    message = str(error.value)
    assert message.startswith(f"{address} ")
    assert "\n" not in message
    return message.removeprefix(f"{address} cannot be reached, ")


def test_tls(over_tls: Served, pair: tuple[Path, Path]) -> None:
    with pr.connect(over_tls.address, bundle=BUNDLE, ca=pair[0], authority=HOST) as flow:
        assert flow.provider == f"the server {over_tls.address}"


def test_a_client_s_certificate(wants_a_certificate: Served, pair: tuple[Path, Path]) -> None:
    with pr.connect(wants_a_certificate.address, bundle=BUNDLE, ca=pair[0], certificate=pair, authority=HOST) as flow:
        assert flow.provider == f"the server {wants_a_certificate.address}"


def test_every_cause_has_its_message(over_tls: Served, wants_a_certificate: Served, pair: tuple[Path, Path]) -> None:
    certificate, key = pair
    with serving(Served(BUNDLE)) as plain:
        no_tls = refused(plain.address, tls=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = refused(f"127.0.0.1:{free.getsockname()[1]}")
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    messages = {
        "nobody listens there: is the server up": nobody,
        "its name is not found (DNS)": refused("no-such-host.invalid:8001"),
        "it speaks HTTP there, not gRPC: give the port of its gRPC service, 8001": refused(f"127.0.0.1:{web.server_port}"),
        "it does not speak TLS at this port: leave out tls": no_tls,
        "it closed the connection: is it stopping, or does it want TLS": refused(over_tls.address),
        "its certificate is not trusted: give the file of the authority that signed it (ca=)": refused(
            over_tls.address, tls=True
        ),
        "its certificate is for another name": refused(over_tls.address, ca=certificate),
        "ca= or certificate= cannot be used: give files in PEM format": refused(over_tls.address, ca=key, authority=HOST),
    }
    web.shutdown()
    web.server_close()
    for message, found in messages.items():
        assert found.startswith(message), (message, found)
    assert len(set(messages.values())) == len(messages)
    wanted = refused(wants_a_certificate.address, ca=certificate, authority=HOST)
    assert "client's certificate (certificate=)" in wanted


class Quiet(http.server.BaseHTTPRequestHandler):
    def log_message(self, *arguments: Any) -> None:
        """Nothing."""


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (rpc.StatusCode.UNAUTHENTICATED, "refuses this client: check token= and headers="),
        (rpc.StatusCode.PERMISSION_DENIED, "refuses this client: check token= and headers="),
    ],
)
def test_a_token_that_does_not_fit(code: Any, message: str) -> None:
    with serving(Served(BUNDLE, refuse=lambda number: (code, "no"))) as served:
        with pr.connect(served.address, bundle=BUNDLE, token="t") as flow, pytest.raises(pr.BackendError, match=message):
            flow.known_answer(Sample.read(BUNDLE / FILE).inputs)
        assert len(served.asked) == 1


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://server:8000", "is a URL: give host:port of the gRPC service, and tls=True for TLS"),
        ("grpcs://server:8001", "is a URL: give host:port"),
        ("server", "has no port: give host:port of the gRPC service, Triton's is 8001"),
        ("", "the address is '': give the server's gRPC service"),
    ],
)
def test_addresses_that_are_none(address: str, message: str) -> None:
    with pytest.raises((pr.InputError, pr.UsageError), match=message):
        pr.connect(address, bundle=BUNDLE)
