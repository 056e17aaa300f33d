"""TLS in front of a server under test, for clients that speak nothing else."""

import asyncio
import contextlib
import datetime as dt
import ipaddress
import ssl
import threading
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

HERE = "127.0.0.1"


def certificate(folder: Path) -> Path:
    """A file with a certificate of this machine's own, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HERE)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(HERE))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "certificate.pem"
    file.write_bytes(made.public_bytes(serialization.Encoding.PEM) + private)
    return file


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    writer.close()


@contextlib.contextmanager
def tls_in_front_of(url: str, file: Path):
    """Serve what is at `url` by TLS, in a thread; yields the address."""
    port = urlsplit(url).port
    loop = asyncio.new_event_loop()

    async def pass_on(reader, writer):
        back_reader, back_writer = await asyncio.open_connection(HERE, port)
        await asyncio.gather(_copy(reader, back_writer), _copy(back_reader, writer))

    async def begin():
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(file)
        # A client that reads in one thread and writes in another, as websockets.sync does, has one TLS state for both,
        # which OpenSSL does not guard: a ticket that is read while the first request is written hangs a few of a
        # thousand handshakes.
        context.num_tickets = 0
        return await asyncio.start_server(pass_on, HERE, 0, ssl=context)

    thread = threading.Thread(target=loop.run_forever, name="tls", daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(begin(), loop).result(30)
    try:
        yield f"https://{HERE}:{server.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
