"""deploy/kubernetes/ingress.yaml, given to Traefik as a cluster would: by its API, which here is a stand-in.

Traefik reads an Ingress by two of its providers, of which one takes ingress-nginx' annotations.
"""

import asyncio
import base64
import contextlib
import os
import shutil
import ssl
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.balancers import DEPLOY, balancer, make_certificate, replaced
from tests.support.kubernetes_api import kubernetes_api
from tests.support.listeners import PATIENCE, SHORT, paused_listeners
from tests.support.ports import free_port
from tests.support.socket_client import assert_sockets_pass

yaml = pytest.importorskip("yaml")

CLASSES = {"nginx": "k8s.io/ingress-nginx", "traefik": "traefik.io/ingress-controller"}
"""Ingress classes, and which controller they mean."""


@dataclass
class Ingress:
    """Where one class listens, and whom to trust there."""

    url: str
    trusted: ssl.SSLContext


def of_the_cluster(folder: Path, server_port: int) -> list[dict[str, Any]]:
    """The Ingress in both classes and the Service, with what a cluster or a user puts beside them."""
    text = replaced((DEPLOY / "kubernetes/ingress.yaml").read_text(), **{"speech.example.com": "localhost"})
    service = yaml.safe_load((DEPLOY / "kubernetes/service.yaml").read_text())
    (port,) = service["spec"]["ports"]
    objects = [service]
    for name, controller in CLASSES.items():
        ingress = yaml.safe_load(replaced(text, **{"ingressClassName: nginx": f"ingressClassName: {name}"}))
        ingress["metadata"]["name"] += f"-{name}"
        meant = {"apiVersion": "networking.k8s.io/v1", "kind": "IngressClass", "metadata": {"name": name}}
        objects += [ingress, {**meant, "spec": {"controller": controller}}]
    slice_of = {"name": "speech-1", "labels": {"kubernetes.io/service-name": service["metadata"]["name"]}}
    files = {"tls.crt": "cert.pem", "tls.key": "key.pem"}
    return [
        *objects,
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": slice_of,
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": True, "serving": True}}],
            "ports": [{"name": port["name"], "port": server_port, "protocol": "TCP"}],
        },
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": ingress["spec"]["tls"][0]["secretName"]},
            "type": "kubernetes.io/tls",
            "data": {
                name: base64.b64encode((folder / file).read_bytes()).decode() for name, file in files.items()
            },
        },
    ]


@pytest.fixture(scope="module")
def ingresses(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Ingress]]:
    """One Traefik, which has a port for each class."""
    traefik = shutil.which(
        "traefik", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    )
    if traefik is None:
        pytest.skip("traefik is not installed")
    folder = tmp_path_factory.mktemp("traefik")
    make_certificate(folder)
    ports = {name: free_port() for name in CLASSES}
    with contextlib.ExitStack() as stack:
        api = stack.enter_context(kubernetes_api(of_the_cluster(folder, int(server_url.rpartition(":")[2]))))
        command = [
            traefik,
            *(f"--entrypoints.for-{name}.address=127.0.0.1:{port}" for name, port in ports.items()),
            "--entrypoints.for-traefik.asdefault=true",
            "--entrypoints.for-traefik.http.tls=true",
            f"--providers.kubernetesingress.endpoint={api}",
            "--providers.kubernetesingress.token=none",
            f"--providers.kubernetesingressnginx.endpoint={api}",
            "--providers.kubernetesingressnginx.token=none",
            "--providers.kubernetesingressnginx.httpsentrypoint=for-nginx",
            f"--entrypoints.unencrypted.address=127.0.0.1:{free_port()}",
            "--providers.kubernetesingressnginx.httpentrypoint=unencrypted",
            "--global.checknewversion=false",
            "--global.sendanonymoususage=false",
        ]
        stack.enter_context(balancer(command, folder, ports["nginx"]))
        trusted = ssl.create_default_context(cafile=str(folder / "cert.pem"))
        found = {name: Ingress(f"https://localhost:{port}", trusted) for name, port in ports.items()}
        for ingress in found.values():
            asyncio.run(until_routed(ingress))
        yield found


async def until_routed(ingress: Ingress) -> None:
    """It listens before it has read what is to be routed, with a certificate of its own until then."""
    async with asyncio.timeout(PATIENCE), httpx.AsyncClient(verify=ingress.trusted) as client:
        while True:
            with contextlib.suppress(httpx.TransportError):
                if (await client.get(f"{ingress.url}/health")).status_code == 200:
                    return
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("name", CLASSES)
async def test_an_ingress_passes_sockets_speech_as_it_is_made_and_the_servers_own_words(
    ingresses: dict[str, Ingress], name: str
) -> None:
    ingress = ingresses[name]
    await assert_sockets_pass(ingress.url, ssl=ingress.trusted)
    async with httpx.AsyncClient(base_url=ingress.url, verify=ingress.trusted, timeout=PATIENCE) as client:
        too_long = {**SHORT, "input": "a" * 2 * 1024 * 1024}  # more than ingress-nginx takes by default
        refused = await client.post("/v1/audio/speech", json=too_long)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input")
        async with paused_listeners(client, 1):
            assert (await client.get("/api/status")).json()["active_speeches"] == 1
