"""GET requests in threads: kept connections, dead ones, proxies, TLS, and being stopped."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from embsnap.storage.http_get import Get, Origin, StoppedError, proxy_of

BODY = bytes(range(256)) * 100


class _Server(ThreadingHTTPServer):
    """Answers every path with `BODY`; forwards for clients that take it for their proxy.

    Attributes:
        connections: How many there were.
        asked: The request lines and `Proxy-Authorization` of all requests.
        hangs_up: Whether to close each connection after its answer, without saying so.
        stalls: How long to wait in the middle of the answer, in seconds.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.connections = 0
        self.asked: list[tuple[str, str | None]] = []
        self.hangs_up = False
        self.stalls = 0.0

    def process_request(self, request, client_address) -> None:  # type: ignore[no-untyped-def]
        self.connections += 1
        super().process_request(request, client_address)

    def handle_error(self, request: object, client_address: object) -> None:
        pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._note()
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY[:1000])
        time.sleep(self.server.stalls)
        self.wfile.write(BODY[1000:])
        self.close_connection = self.server.hangs_up

    def do_CONNECT(self) -> None:
        self._note()
        host, _, port = self.path.partition(":")
        with socket.create_connection((host, int(port))) as there:
            self.send_response(200)
            self.end_headers()
            ways = [(self.connection, there), (there, self.connection)]
            threads = [threading.Thread(target=_pass_on, args=way, daemon=True) for way in ways]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        self.close_connection = True

    def _note(self) -> None:
        self.server.asked.append((self.requestline, self.headers["Proxy-Authorization"]))

    def log_message(self, *arguments: object) -> None:
        pass


def _pass_on(here: socket.socket, there: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := here.recv(1 << 16):
            there.sendall(data)
        there.shutdown(socket.SHUT_WR)


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[_Server]:
    with _Server() as server:
        if context is not None:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def server() -> Iterator[_Server]:
    with serving() as server:
        yield server


def origin_of(server: _Server, **more: object) -> Origin:
    return Origin(f"http://127.0.0.1:{server.server_address[1]}", **more)  # type: ignore[arg-type]


def get(origin: Origin, target: str = "/a?b=c", silence_s: float = 20) -> bytes:
    found: list[bytes] = []
    Get(origin, silence_s).perform(target, {"X-Test": "1"}, lambda response: found.append(response.read()))
    return found[0]


def test_a_connection_is_kept(server: _Server) -> None:
    assert [get(origin_of(server)) for _ in range(3)] == [BODY] * 3
    assert server.connections == 1


def test_a_kept_connection_that_died_is_made_anew(server: _Server) -> None:
    server.hangs_up = True
    assert [get(origin_of(server)) for _ in range(3)] == [BODY] * 3
    assert server.connections == 3


def test_a_connection_with_an_unread_answer_is_not_kept(server: _Server) -> None:
    Get(origin_of(server), 20).perform("/", {}, lambda response: None)
    assert get(origin_of(server)) == BODY
    assert server.connections == 2


def test_a_new_connection_that_fails_is_an_error(server: _Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(TimeoutError):
            get(Origin(f"http://127.0.0.1:{port}"), silence_s=0.2)
    with pytest.raises((HTTPException, ConnectionError)):
        get(Origin(f"http://127.0.0.1:{port}"))


@pytest.mark.parametrize("moment", ["before", "while the answer is read"])
def test_stopping(server: _Server, moment: str) -> None:
    server.stalls = 30
    request, arrived, errors = Get(origin_of(server), 20), bytearray(), []

    def receive(response: HTTPResponse) -> None:
        while data := response.read1(500):
            arrived.extend(data)

    def perform() -> None:
        try:
            request.perform("/", {}, receive)
        except (StoppedError, HTTPException, OSError) as error:
            errors.append(error)

    if moment == "before":
        assert not request.stop()
    thread = threading.Thread(target=perform)
    thread.start()
    if moment != "before":
        while len(arrived) < 1000:
            time.sleep(0.01)
        assert request.stop()
    thread.join(5)
    assert not thread.is_alive()
    assert bytes(arrived) == (b"" if moment == "before" else BODY[:1000])
    assert errors


def test_proxies_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert proxy_of("https://storage.googleapis.com") == ""
    monkeypatch.setenv("https_proxy", "near:3128")
    monkeypatch.setenv("no_proxy", "localhost,.internal")
    assert proxy_of("https://storage.googleapis.com") == "http://near:3128"
    assert proxy_of("https://gcs.internal:4443") == ""
    assert proxy_of("http://storage.googleapis.com") == ""


def test_through_a_proxy(server: _Server) -> None:
    port = server.server_address[1]
    origin = Origin("http://far.invalid:99", proxy=f"http://me:pass%20word@127.0.0.1:{port}")
    assert get(origin) == BODY
    assert server.asked == [("GET http://far.invalid:99/a?b=c HTTP/1.1", "Basic bWU6cGFzcyB3b3Jk")]


def _certificate(path: Path) -> Path:
    """A key and a certificate that it signed itself, for localhost."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    unlocked = serialization.NoEncryption()
    text = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, unlocked) + certificate.public_bytes(pem)
    path.write_bytes(text)
    return path


def test_encrypted_and_through_a_tunnel(server: _Server, tmp_path: Path) -> None:
    cert = str(_certificate(tmp_path / "cert"))
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(cert)
    with serving(theirs) as encrypted:
        port = encrypted.server_address[1]
        with pytest.raises(ssl.SSLCertVerificationError):
            get(Origin(f"https://localhost:{port}"))
        ours = ssl.create_default_context(cafile=cert)
        assert get(Origin(f"https://localhost:{port}", context=ours)) == BODY
        proxy = f"http://me:word@127.0.0.1:{server.server_address[1]}"
        tunnelled = Origin(f"https://localhost:{port}", proxy=proxy, context=ours)
        assert [get(tunnelled) for _ in range(2)] == [BODY] * 2
    assert [line.split()[:2] for line, _ in server.asked] == [["CONNECT", f"localhost:{port}"]]
    assert server.asked[0][1] == "Basic bWU6d29yZA=="
    assert {line for line, _ in encrypted.asked} == {"GET /a?b=c HTTP/1.1"}
