"""The load balancers of deploy/ on loopback, their configurations changed in nothing but names and addresses."""

import contextlib
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.support.listeners import PATIENCE

DEPLOY = Path(__file__).parents[2] / "deploy"


def replaced(text: str, **changes: str) -> str:
    for old, new in changes.items():
        assert old in text, f"deploy/ has no '{old}' any more"
        text = text.replace(old, new)
    return text


def nginx(folder: Path, port: int, addresses: list[str]) -> list[str]:
    servers = "\n".join(f"server {address} max_fails=1 fail_timeout=5s;" for address in addresses)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    # Started as root, its workers would be somebody who may not enter pytest's folders.
    user = "user root; " if os.geteuid() == 0 else ""
    text = replaced(
        (DEPLOY / "nginx.conf").read_text(),
        **{
            "worker_processes auto": f"{user}worker_processes 1; daemon off",
            "/run/nginx.pid": f"{folder}/nginx.pid",
            "server 127.0.0.1:8899 max_fails=1 fail_timeout=5s;": servers,
            "listen 80;": f"listen unix:{folder}/http.sock;",
            "listen 443 ": f"listen 127.0.0.1:{port} ",
            "/etc/ssl/speech.example.com/fullchain.pem": f"{folder}/cert.pem",
            "/etc/ssl/speech.example.com/privkey.pem": f"{folder}/key.pem",
            "server_tokens off;": f"server_tokens off; {temporary}",
        },
    )
    (folder / "nginx.conf").write_text(text)
    return ["nginx", "-e", f"{folder}/error.log", "-p", str(folder), "-c", f"{folder}/nginx.conf"]


def caddy(folder: Path, port: int, addresses: list[str]) -> list[str]:
    text = replaced(
        (DEPLOY / "Caddyfile").read_text(),
        **{
            "speech.example.com {": "{\n\tadmin off\n\tauto_https off\n}\n"
            f"https://localhost:{port} {{\n\ttls {folder}/cert.pem {folder}/key.pem",
            "reverse_proxy 127.0.0.1:8899 {": f"reverse_proxy {' '.join(addresses)} {{",
        },
    )
    (folder / "Caddyfile").write_text(text)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", f"{folder}/Caddyfile"]


def caddy_version() -> tuple[int, ...]:
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", subprocess.check_output(["caddy", "version"], text=True))
    return tuple(int(part) for part in found.groups()) if found else ()


def haproxy(folder: Path, port: int, addresses: list[str]) -> list[str]:
    servers = "\n".join(f"    server s{i} {address}" for i, address in enumerate(addresses))
    text = replaced(
        (DEPLOY / "haproxy.cfg").read_text(),
        **{
            "bind :8899": f"bind 127.0.0.1:{port}",
            "    server-template instance 8 instances:8899 resolvers container resolve-prefer ipv4": servers,
        },
    )
    (folder / "haproxy.cfg").write_text(text)
    return ["haproxy", "-db", "-f", f"{folder}/haproxy.cfg"]


BALANCERS = {"nginx": (nginx, "https"), "haproxy": (haproxy, "http"), "caddy": (caddy, "https")}


def make_certificate(folder: Path) -> None:
    """Write cert.pem and key.pem for localhost."""
    new_key = "openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2"
    names = "-subj /CN=localhost -addext subjectAltName=DNS:localhost"
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run([*new_key.split(), *names.split(), *files], check=True, capture_output=True)


@contextlib.contextmanager
def balancer(command: list[str], folder: Path, port: int) -> Iterator[None]:
    log = folder / "balancer.log"
    with log.open("wb") as output:
        home = {**os.environ, "XDG_DATA_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
        process = subprocess.Popen(command, stdout=output, stderr=output, env=home)
    try:
        deadline = time.monotonic() + PATIENCE
        while not listens(port):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield
    finally:
        process.terminate()  # and not kill, which would leave nginx' workers behind
        process.wait(PATIENCE)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
