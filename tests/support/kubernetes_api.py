"""As much of Kubernetes' API as an ingress controller asks for: it lists objects, and watches them never change."""

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

KINDS = {
    "ingresses": "Ingress",
    "ingressclasses": "IngressClass",
    "services": "Service",
    "endpointslices": "EndpointSlice",
    "secrets": "Secret",
    "configmaps": "ConfigMap",
    "nodes": "Node",
}


@contextlib.contextmanager
def kubernetes_api(manifests: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Serve these objects, all in the namespace `default`; yields the address."""
    objects = [
        {
            **manifest,
            "metadata": {"namespace": "default", "uid": str(number), **manifest["metadata"], **VERSION},
        }
        for number, manifest in enumerate(manifests)
    ]
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            address = urlsplit(self.path)
            asked = parse_qs(address.query)
            *_, group, version, plural = address.path.split("/")
            kind = KINDS.get(plural)
            form = {"apiVersion": version if group == "api" else f"{group}/{version}", "kind": kind}
            found = [each for each in objects if each["kind"] == kind]
            if "watch" not in asked:
                self._answer({**form, "kind": f"{kind}List", "metadata": VERSION, "items": found})
                return
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            if "sendInitialEvents" in asked:
                for each in found:
                    self._tell("ADDED", each)
                told = {**VERSION, "annotations": {"k8s.io/initial-events-end": "true"}}
                self._tell("BOOKMARK", {**form, "metadata": told})
            over.wait()

        def _answer(self, value: object) -> None:
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _tell(self, what: str, value: object) -> None:
            line = json.dumps({"type": what, "object": value}).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.05,))
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            over.set()
            server.shutdown()
            serving.join()


VERSION = {"resourceVersion": "1"}
