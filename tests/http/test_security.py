"""Keys, and what pages of other sites may do, through HTTP."""

import asyncio
import hashlib
import hmac
import http.client
import json
import subprocess
import sys

import httpx
import msgspec
import pytest

from orpheus_eleven.errors import PATHS
from orpheus_openai.app import create_app, with_middleware
from orpheus_openai.errors import AuthenticationError, ConfigurationError, RateLimitError
from orpheus_openai.gpu.monitor import GPUMonitor
from orpheus_openai.http.caller import caller_of, prepare_speech
from orpheus_openai.http.middleware import hosts
from orpheus_openai.http.middleware import keys as key_ring
from orpheus_openai.http.middleware.audit import AuditLog
from orpheus_openai.http.middleware.hosts import HostRule
from orpheus_openai.http.middleware.keys import KEY_HEADERS, OPEN_LISTS, PUBLIC_FOLDERS, PUBLIC_PATHS, KeyRing
from orpheus_openai.observability.metrics import Metrics
from orpheus_openai.settings import Settings, load_settings
from orpheus_openai.speech.request import SpeechRequest
from orpheus_openai.speech.service import SpeechService
from tests.support.environment import environ
from tests.support.in_process import asking
from tests.support.local_server import running
from tests.support.served import serving

pytest.importorskip("espeakng_loader")

KEY, OTHER_KEY, PLAIN_KEY = "sk-one-7d1f", "sk-two-99aa", "sk-three-b2c4"
KEYS = (f"phone:{KEY}", f"desk:sha256:{hashlib.sha256(OTHER_KEY.encode()).hexdigest()}", PLAIN_KEY)
SPEECH = {"model": "tts-1", "voice": "tara", "input": "Good morning.", "response_format": "pcm"}


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    return create_app(Settings(model="preview", api_keys=KEYS, output_dir=tmp_path_factory.mktemp("outputs")))


@pytest.fixture(scope="module")
def client(app):
    with running(app) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def open_client(tmp_path_factory):
    """A server without keys."""
    settings = Settings(model="preview", output_dir=tmp_path_factory.mktemp("outputs"))
    with running(create_app(settings)) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


def bearer(key):
    return {"authorization": f"Bearer {key}"}


def routes(app):
    """Every method and path of the application, with something in the place of parameters."""
    found = {("GET", "/nowhere"), ("GET", "/v1"), ("POST", "/mcp"), ("POST", "/mcp/"), ("GET", "/mcp/more")}
    for route in app.routes:
        path = "/".join("wav" if "{" in part else part for part in route.path_format.split("/"))
        methods = getattr(route, "methods", None) or {"GET", "POST"}
        found |= {(method, path) for method in methods if method != "OPTIONS"}
    return sorted(found)


def is_public(path):
    return path in PUBLIC_PATHS | OPEN_LISTS or path.startswith(PUBLIC_FOLDERS)


def test_every_route_but_the_public_ones_refuses_without_a_key_and_with_a_wrong_one(app, client):
    closed = [(method, path) for method, path in routes(app) if not is_public(path)]
    assert len(closed) > 15
    assert {"/v1/audio/speech", "/api/generate", "/api/events", "/api/status", "/mcp"} <= {
        p for _, p in closed
    }
    for method, path in closed:
        for headers in (
            {},
            bearer("sk-wrong"),
            {"authorization": f"Basic {KEY}"},
            {"authorization": "Bearer"},
            {"x-api-key": "sk-wrong", "api-key": KEY},
            {**bearer("sk-wrong"), "x-api-key": KEY},
        ):
            answer = client.request(method, path, headers=headers)
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.headers["x-request-id"].startswith("req_")
            if method != "HEAD":
                error = answer.json()["detail" if PATHS.match(path) else "error"]
                assert error["message"]
                assert "sk-" not in error["message"]
                if not PATHS.match(path):
                    assert error["type"] == "invalid_request_error"
                    assert error["code"] == "invalid_api_key"


def test_every_route_lets_a_right_key_in(app, client):
    for method, path in routes(app):
        with client.stream(method, path, headers=bearer(KEY)) as answer:
            assert answer.status_code != 401, (method, path)


@pytest.mark.parametrize("key", [KEY, OTHER_KEY, PLAIN_KEY])
def test_plain_and_hashed_and_nameless_keys_all_speak(client, key):
    assert client.post("/v1/audio/speech", json=SPEECH, headers=bearer(key)).status_code == 200


@pytest.mark.parametrize("name", ["authorization", "Authorization"])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER "])
def test_the_scheme_may_be_written_as_one_likes(client, name, scheme):
    assert client.get("/v1/models", headers={name: f"{scheme} {KEY}"}).status_code == 200


@pytest.mark.parametrize("name", [name.decode() for name in KEY_HEADERS])
def test_a_key_may_stand_in_the_headers_that_programs_know(client, name):
    assert client.post("/v1/audio/speech", json=SPEECH, headers={name: OTHER_KEY}).status_code == 200
    assert (
        client.get("/v1/models", headers={name.title(): KEY, "authorization": "Basic eDp5"}).status_code
        == 200
    )
    assert client.get("/v1/models", headers={name: "sk-wrong"}).status_code == 401
    assert client.get("/v1/models", headers={name: ""}).status_code == 401


@pytest.mark.parametrize("name", [name.decode() for name in KEY_HEADERS])
def test_a_bearer_counts_where_several_keys_come(client, name):
    assert client.get("/v1/models", headers={**bearer(KEY), name: "sk-wrong"}).status_code == 200
    assert client.get("/v1/models", headers={**bearer("sk-wrong"), name: KEY}).status_code == 401


@pytest.mark.parametrize("path", [*sorted(OPEN_LISTS), "/v1//audio/voices/"])
def test_lists_to_choose_from_are_read_without_a_key_and_show_what_is_everybodys(client, path):
    shared = client.get(path, headers=bearer(KEY)).json()
    for headers in ({}, bearer("sk-wrong")):
        answer = client.get(path, headers=headers)
        assert (answer.status_code, answer.json()) == (200, shared)
        assert client.head(path, headers=headers).status_code == 200
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            assert client.request(method, path, headers=headers, json={}).status_code == 401


def test_lists_can_be_closed():
    settings = Settings(model="preview", api_keys=KEYS, open_lists=False)
    with running(create_app(settings)) as url, httpx.Client(base_url=url, timeout=60) as client:
        for path in OPEN_LISTS:
            assert client.get(path).status_code == 401
            assert client.get(path, headers=bearer(KEY)).status_code == 200


@pytest.mark.parametrize(
    "path", ["/", "/health", "/ready", "/apidocs", "/apidocs/openapi.json", "/ui/js/api.js"]
)
def test_the_page_the_manual_and_signs_of_life_are_public(client, path):
    assert client.get(path, follow_redirects=True).status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        *((path, 401) for path in ("//api/status", "/./api/status", "/health/../api/status", "/API/status",
                                   "/api/status/", "/%61pi/status")),
        # What begins as the page or the manual does is theirs, and they have no such file.
        *((path, 404) for path in ("/ui/../api/status", "/ui/%2e%2e/api/status", "/apidocs/../v1/models",
                                   "/ui//api/status")),
    ],
)  # fmt: skip
def test_no_spelling_of_a_path_leads_round_the_key(client, path, status):
    connection = http.client.HTTPConnection(client.base_url.host, client.base_url.port, timeout=30)
    connection.request("GET", path)  # as it is spelt, which httpx would tidy
    answer = connection.getresponse()
    assert answer.status == status
    assert json.loads(answer.read()).keys() == {"error"}
    connection.close()


def test_a_servers_root_path_leads_nobody_round_the_key():
    # Litestar's router drops everything up to the root path, wherever that stands.
    app = create_app(Settings(model="preview", api_keys=KEYS))

    async def status(path):
        async with asking(app, root_path="/tts") as client:
            return (await client.get(path)).status_code

    assert asyncio.run(status("/ui/tts/api/status")) == 401
    assert asyncio.run(status("/tts/api/status")) == 401
    assert asyncio.run(status("/tts/health")) == 200


def test_all_keys_are_compared_whichever_one_it_is(monkeypatch):
    ring, compared = KeyRing(KEYS), []

    def compare(a, b):
        compared.append((len(a), len(b)))
        return a == b

    monkeypatch.setattr(hmac, "compare_digest", compare)
    names = [ring.owner(key.encode()) for key in (KEY, OTHER_KEY, PLAIN_KEY, "sk-wrong", "x" * 100_000)]
    assert names == ["phone", "desk", "key-3", None, None]
    assert compared == [(32, 32)] * 3 * 5


@pytest.mark.parametrize(
    "entry",
    [
        "phone:",
        ":sk-secret",
        "phone:sha256:12ab",
        "a:b:sk-secret",
        "phone:sha256:" + "g" * 64,
        "sha256:" + "a" * 63,
        "SHA256:" + "a" * 65,
        "phone:sha256",
        "sha256:sk-secret",
    ],
)
def test_a_key_that_makes_no_sense_stops_the_start_without_being_quoted(entry):
    with pytest.raises(ConfigurationError) as caught:
        create_app(Settings(model="preview", api_keys=("sk-fine", entry)))
    assert "entry 2" in str(caught.value)
    assert "sk-" not in str(caught.value)


def test_two_keys_of_one_name_stop_the_start():
    with pytest.raises(ConfigurationError, match="entry 2"):
        KeyRing(("a:sk-1", "a:sk-2"))


def test_the_manual_offers_a_field_for_the_key(client, open_client):
    with_keys = client.get("/apidocs/openapi.json").json()
    assert with_keys["security"] == [{"key": []}, {"x-api-key": []}]
    assert with_keys["components"]["securitySchemes"] == {
        "key": {"type": "http", "scheme": "bearer"},
        "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    }
    assert not open_client.get("/apidocs/openapi.json").json().get("security")


def test_no_key_is_found_in_log_or_audit_log_and_the_audit_log_has_its_name(tmp_path):
    audit = tmp_path / "audit.jsonl"
    settings = environ(
        ORPHEUS_API_KEYS=",".join(KEYS), ORPHEUS_AUDIT_LOG=str(audit), ORPHEUS_LOG_LEVEL="debug"
    )
    with serving(tmp_path, settings) as server:
        for key in (KEY, OTHER_KEY, PLAIN_KEY, "sk-wrong-5555"):
            httpx.post(f"{server.url}/v1/audio/speech", json=SPEECH, headers=bearer(key), timeout=60)
            httpx.post(f"{server.url}/v1/audio/speech", content=b"{", headers=bearer(key))
            for name in KEY_HEADERS:
                httpx.get(f"{server.url}/v1/models", headers={name.decode(): key})
            httpx.get(f"{server.url}/nowhere?key={key}", headers=bearer(key))
    written = "".join(file.read_text(errors="replace") for file in tmp_path.rglob("*") if file.is_file())
    assert written.count("/v1/audio/speech") > 8
    assert '"key":"phone"' in written
    for key in (KEY, OTHER_KEY, PLAIN_KEY, "sk-wrong-5555"):
        assert key not in written
        assert hashlib.sha256(key.encode()).hexdigest() not in written


def test_who_asks_for_a_websocket_is_asked_for_a_key_as_everybody(tmp_path):
    upgrade = {"connection": "Upgrade", "upgrade": "websocket"}
    upgrade |= {"sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}
    with serving(tmp_path, environ(ORPHEUS_API_KEYS=KEY, ORPHEUS_LOG_LEVEL="debug")) as server:
        for path in ("/mcp/", "/api/events", "/v1/models", "/nowhere"):
            answer = httpx.get(f"{server.url}{path}", headers=upgrade)
            assert answer.status_code == 401, path
            assert answer.headers["x-request-id"].startswith("req_")
        assert httpx.get(f"{server.url}/v1/models", headers={**upgrade, **bearer(KEY)}).status_code == 403
        log = server.log.read_text()
    assert "pip install" not in log
    assert KEY not in log


def inside_middleware(application, keys=KEYS, audit=None):
    """`application` inside the middleware that every server's application has around it."""
    settings = Settings(model="preview", api_keys=keys)
    metrics = Metrics(SpeechService.create(settings), GPUMonitor())
    return with_middleware(
        application, settings, keys=KeyRing(keys), audit=audit, metrics=metrics, tracing=None
    )


async def knock(handler, path="/v1/speech", headers=(), **scope):
    """Ask for a WebSocket; returns the first message that is answered."""
    sent = []

    async def receive():
        return {"type": "websocket.connect"}

    async def send(message):
        sent.append(message)

    asked = {
        "type": "websocket",
        "path": path,
        "headers": list(headers),
        "client": ("203.0.113.9", 5),
        **scope,
    }
    await handler(asked, receive, send)
    return sent[0]


async def test_a_websocket_passes_the_same_rings_as_every_request(tmp_path):
    """Whichever server runs the application, none gets past keys and audit log."""
    seen, audit = [], AuditLog(str(tmp_path / "audit.jsonl"))

    async def application(scope, receive, send):
        assert (await receive())["type"] == "websocket.connect"
        seen.append(scope)
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close"})

    handler = inside_middleware(application, audit=audit)
    for headers in ([], [(b"authorization", b"Bearer sk-wrong")]):
        refused = await knock(handler, headers=headers)
        assert (refused["type"], refused["code"]) == ("websocket.close", 1008)
        assert "API key" in refused["reason"]
    told = await knock(handler, extensions={"websocket.http.response": {}})
    assert (told["type"], told["status"]) == ("websocket.http.response.start", 401)
    assert seen == []

    accepted = await knock(handler, headers=[(b"authorization", f"Bearer {KEY}".encode())])
    assert accepted["type"] == "websocket.accept"
    (scope,) = seen
    assert dict(accepted["headers"])[b"x-request-id"].decode() == scope["state"]["request_id"]
    assert caller_of(scope).account == "key:phone"
    audit.close()
    lines = map(json.loads, (tmp_path / "audit.jsonl").read_text().splitlines())
    told = [(line["status"], line["key"], line["method"]) for line in lines]
    refusals = [(403, None, "WEBSOCKET")] * 2 + [(401, None, "WEBSOCKET")]
    assert told == [*refusals, (101, "phone", "WEBSOCKET")]


async def test_a_key_may_come_late_on_elevenlabs_paths_and_few_may_wait_so(monkeypatch):
    monkeypatch.setattr(key_ring, "MOST_UNKNOWN", 1)
    path, refused = "/v1/text-to-speech/tara/stream-input", {"websocket.http.response": {}}
    callers = []

    async def application(scope, receive, send):
        if callers:
            await send({"type": "websocket.accept"})
            return
        assert (await knock(handler, path, extensions=refused))["status"] == 429
        with pytest.raises(AuthenticationError):
            scope["state"]["unlock"](b"sk-wrong")
        scope["state"]["unlock"](KEY.encode())
        callers.append(caller_of(scope).account)
        await send({"type": "websocket.accept"})
        assert (await knock(handler, path))["type"] == "websocket.accept"

    handler = inside_middleware(application)
    assert (await knock(handler, path))["type"] == "websocket.accept"
    assert callers == ["key:phone"]
    assert (await knock(handler, "/v1/audio/speech/stream", extensions=refused))["status"] == 401
    assert (await knock(handler, path, [(b"xi-api-key", b"sk-wrong")], extensions=refused))["status"] == 401


async def test_speech_over_a_websocket_counts_against_its_callers_share():
    service = SpeechService.create(Settings(model="preview", rate_limit="1/hour"))
    refused = []

    async def application(scope, receive, send):
        await receive()
        speech = prepare_speech(scope, service, SpeechRequest(text="Hello.", model="preview"))
        try:
            async for _ in speech.stream():
                pass
        except RateLimitError as error:
            refused.append(error)
        await send({"type": "websocket.accept"})

    handler = inside_middleware(application, keys=())
    first, second = await knock(handler), await knock(handler)
    assert dict(first["headers"])[b"x-ratelimit-remaining-requests"] == b"0"
    assert second["type"] == "websocket.accept"
    assert [error.headers["x-ratelimit-remaining-requests"] for error in refused] == ["0"]
    await service.manager.close()


@pytest.mark.parametrize(
    "path", ["/v1/audio/speech/stream", "/v1/text-to-speech/tara/stream-input", "/anything"]
)
async def test_a_websocket_of_a_foreign_page_is_refused_on_a_server_without_keys(path):
    """Browsers ask nobody before they open one: CORS does not protect it."""
    reached = []

    async def application(scope, _receive, _send):
        reached.append(scope["path"])

    foreign = [(b"origin", b"https://evil.example"), (b"host", b"127.0.0.1:8899")]
    assert (await knock(inside_middleware(application, keys=()), path, headers=foreign))["code"] == 1008
    assert reached == []


@pytest.mark.parametrize("path", ["/mcp/", "/mcp", "/v1/models", "/", "/nowhere"])
async def test_no_door_of_today_opens_a_websocket(tmp_path, path):
    app = create_app(Settings(model="preview", output_dir=tmp_path))
    assert (await knock(app, path))["type"] == "websocket.close"


@pytest.mark.parametrize(("host", "keys", "warned"), [
    ("0.0.0.0", "", True), ("127.0.0.1", "", False), ("0.0.0.0", KEY, False),
])  # fmt: skip
def test_a_server_for_everybody_without_keys_warns_at_its_start(tmp_path, host, keys, warned):
    command = [sys.executable, "-m", "orpheus_openai", "serve", "--host", host, "--port", "0"]
    settings = environ(ORPHEUS_API_KEYS=keys)
    with subprocess.Popen(command, cwd=tmp_path, env=settings, stderr=subprocess.PIPE, text=True) as server:
        log = list(iter(server.stderr.readline, "orpheus-openai is ready\n"))
        server.terminate()
        server.communicate()
    assert ("NO KEYS" in "".join(log)) is warned


# --- pages of other sites ---------------------------------------------------------------------------------------------

FOREIGN = (
    {"sec-fetch-site": "cross-site", "origin": "https://evil.example"},
    {"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:3000"},
    {"origin": "https://evil.example"},
    {"origin": "null"},
)


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/audio/speech"),
        ("POST", "/api/offload"),
        ("DELETE", "/api/files/a.wav"),
        ("POST", "/mcp"),
    ],
)
def test_a_foreign_page_can_change_nothing_on_a_server_without_keys(open_client, headers, method, path):
    answer = open_client.request(
        method, path, headers={**headers, "content-type": "text/plain"}, content="{}"
    )
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "cross_site_request"
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "http://é", "http://a]b", "//", ":", ""])
def test_an_origin_that_is_no_url_is_foreign(open_client, origin):
    answer = open_client.post("/api/offload", json={}, headers={"origin": origin.encode()})
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "cross_site_request"


def test_the_servers_own_page_and_programs_are_served(open_client):
    own = str(open_client.base_url).rstrip("/")
    for headers in (
        {},
        {"origin": own},
        {"sec-fetch-site": "same-origin", "origin": own},
        {"sec-fetch-site": "none"},
    ):
        assert open_client.post("/v1/audio/speech", json=SPEECH, headers=headers).status_code == 200


def test_without_the_setting_no_foreign_page_may_read(open_client):
    answer = open_client.get("/v1/models", headers={"origin": "https://app.example.com"})
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


OURS = (
    "127.0.0.1", "127.0.0.1:8899", "192.168.1.20:8899", "8.8.8.8", "[::1]:8899", "[fe80::1%eth0]", "localhost",
    "LOCALHOST:8899", "localhost.", "tts.localhost", "box", "box:8899", "box.local", "box.lan", "Box.Internal",
    "box.home.arpa", "host.docker.internal", "orpheus.speech.svc", "orpheus.speech.svc.cluster.local", "",
)  # fmt: skip
THEIRS = (
    "evil.example", "evil.example:8899", "EVIL.EXAMPLE.", "127.0.0.1.evil.example", "localhost.evil.example",
    "box.svc.evil.example", "1.2.3.4.nip.io", "evil.example/", "user@evil.example", "localhost:evil.example",
    "evil.example#.local", "evil.example\\.local", "é.example",
)  # fmt: skip


@pytest.mark.parametrize("host", OURS)
def test_names_that_nobody_can_own_are_answered_without_keys(open_client, host):
    assert open_client.get("/v1/models", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("host", THEIRS)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/"), ("GET", "/api/status"), ("POST", "/v1/audio/speech")]
)
def test_a_name_that_a_site_could_point_here_is_refused_without_keys(open_client, host, method, path):
    same_origin = {"sec-fetch-site": "same-origin", "origin": "http://evil.example"}
    answer = open_client.request(method, path, headers={"host": host.encode(), **same_origin})
    assert answer.status_code == 421
    assert answer.json()["error"]["code"] == "unknown_host"
    assert "ORPHEUS_ALLOWED_HOSTS" in answer.json()["error"]["message"]


def test_with_keys_any_name_will_do(client):
    headers = {"host": "speech.example.com", **bearer(KEY)}
    assert client.get("/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("allowed", "host", "status"),
    [
        ("speech.example.com", "Speech.Example.com:443", 200),
        ("speech.example.com", "other.example.com", 421),
        ("*.example.com", "a.b.example.com", 200),
        ("*.example.com", "example.com", 421),
        ("*.example.com", "evilexample.com", 421),
        ("*", "anything.example", 200),
    ],
)
async def test_names_can_be_added(tmp_path, allowed, host, status):
    app = create_app(load_settings({"ORPHEUS_MODEL": "preview", "ORPHEUS_ALLOWED_HOSTS": allowed}, None))
    async with asking(app) as client:
        assert (await client.get("/v1/models", headers={"host": host})).status_code == status


async def test_this_machines_own_names_pass_and_the_resolver_is_asked_once(monkeypatch):
    asked = []
    monkeypatch.setattr("socket.gethostname", lambda: "Box")
    monkeypatch.setattr("socket.getfqdn", lambda: asked.append(1) or "box.example.com")
    rule = HostRule(())
    names = ("box.example.com", "box.evil.example", "other.example.com", "box.example.com:80")
    assert [await rule.passes(host) for host in names] == [True, False, False, True]
    assert asked == [1]


SEARCHED = (
    "nameserver 10.96.0.10\nsearch speech.svc.k8s.example.com svc.k8s.example.com k8s.example.com lan\n"
)


async def test_in_a_pod_services_pass_whatever_the_clusters_domain(tmp_path, monkeypatch):
    resolver = tmp_path / "resolv.conf"
    resolver.write_text(f"search else.where\n{SEARCHED}options ndots:5\n")
    monkeypatch.setattr(hosts, "RESOLVER", resolver)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    async with asking(create_app(Settings(model="preview", output_dir=tmp_path))) as client:
        for name, status in {
            "orpheus.speech.svc.k8s.example.com": 200,
            "orpheus-0.orpheus.other.svc.K8s.example.com.:8899": 200,
            "orpheus.speech.svc": 200,
            "k8s.example.com": 421,
            "www.k8s.example.com": 421,
            "evilsvc.k8s.example.com": 421,
            "orpheus.speech.svc.k8s.example.com.evil.example": 421,
            "orpheus.speech.svc.evil.example": 421,
        }.items():
            assert (await client.get("/v1/models", headers={"host": name})).status_code == status, name


@pytest.mark.parametrize(
    ("searched", "pod"),
    [
        (SEARCHED, False),
        (None, True),
        ("nameserver 10.96.0.10\n", True),
        ("search evil.example\n", True),
        ("search svc.evil.example evil.example\n", True),
        ("search a.svc.evil.example svc.other.example evil.example\n", True),
        ("search a.svc.dev svc.dev dev\n", True),
        (f"{SEARCHED}search lan\n", True),
    ],
)
def test_search_domains_that_no_cluster_wrote_open_nothing(tmp_path, monkeypatch, searched, pod):
    monkeypatch.setattr(hosts, "RESOLVER", tmp_path / "resolv.conf")
    if searched is not None:
        hosts.RESOLVER.write_text(searched)
    if pod:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
    else:
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert hosts.service_suffixes() == ()


@pytest.mark.parametrize(
    "name", ["https://speech.example.com", "speech.example.com:443", "*.", "a..b", "a b", "**.a"]
)
def test_what_is_no_host_name_is_an_error(name):
    with pytest.raises(ConfigurationError, match="is not a host name"):
        load_settings({"ORPHEUS_ALLOWED_HOSTS": name}, None)


@pytest.mark.parametrize(
    ("settings", "believed"),
    [
        ({}, False),
        ({"ORPHEUS_TRUSTED_PROXIES": "10.0.0.0/8"}, True),
        ({"ORPHEUS_TRUSTED_PROXIES": "127.0.0.1"}, True),
        ({"ORPHEUS_API_KEYS": KEY}, True),
    ],
)
def test_an_address_is_taken_from_a_header_only_where_a_proxy_is_named_or_keys_are_set(
    tmp_path, settings, believed
):
    audit = tmp_path / "audit.jsonl"
    with serving(tmp_path, environ(ORPHEUS_AUDIT_LOG=str(audit), **settings)) as server:
        for last in (1, 2):
            headers = {"x-forwarded-for": f"203.0.113.{last}", **bearer(KEY)}
            assert httpx.get(f"{server.url}/v1/models", headers=headers).status_code == 200
    addresses = {msgspec.json.decode(line)["address"] for line in audit.read_text().splitlines()}
    assert addresses == ({"203.0.113.1", "203.0.113.2"} if believed else {"127.0.0.1"})


def preflight(client, origin):
    asked = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    return client.options("/v1/audio/speech", headers=asked)


@pytest.mark.parametrize("keys", [(), KEYS])
def test_a_listed_site_may_use_the_server_and_others_may_not(tmp_path, keys):
    settings = Settings(
        model="preview", api_keys=keys, cors_origins=("https://app.example.com",), output_dir=tmp_path
    )
    with running(create_app(settings)) as url, httpx.Client(base_url=url, timeout=60) as client:
        allowed = preflight(client, "https://app.example.com")
        assert allowed.status_code == 204
        assert allowed.headers["access-control-allow-origin"] == "https://app.example.com"
        assert allowed.headers["access-control-allow-headers"] == "authorization,content-type"
        assert "POST" in allowed.headers["access-control-allow-methods"]
        assert "access-control-allow-origin" not in preflight(client, "https://evil.example").headers
        listed = {"origin": "https://app.example.com", "sec-fetch-site": "cross-site"}
        spoken = client.post("/v1/audio/speech", json=SPEECH, headers={**listed, **bearer(KEY)})
        assert spoken.status_code == 200
        assert spoken.headers["access-control-allow-origin"] == "https://app.example.com"
        shown = set(spoken.headers["access-control-expose-headers"].split(", "))
        assert {"x-request-id", "x-should-retry", "retry-after"} <= shown
        assert {name for name in spoken.headers if name.startswith("x-orpheus-")} <= shown
        assert "origin" in spoken.headers["vary"]
        if keys:  # also the refusal can be read by the page
            refused = client.post("/v1/audio/speech", json=SPEECH, headers=listed)
            assert refused.status_code == 401
            assert refused.headers["access-control-allow-origin"] == "https://app.example.com"


def test_all_sites_may_use_a_server_that_says_so(tmp_path):
    settings = Settings(model="preview", cors_origins=("*",), output_dir=tmp_path)
    with running(create_app(settings)) as url, httpx.Client(base_url=url, timeout=60) as client:
        assert preflight(client, "https://any.example").headers["access-control-allow-origin"] == "*"
        foreign = {"origin": "https://any.example", "sec-fetch-site": "cross-site"}
        spoken = client.post("/v1/audio/speech", json=SPEECH, headers=foreign)
        assert (spoken.status_code, spoken.headers["access-control-allow-origin"]) == (200, "*")


def test_every_answer_tells_browsers_not_to_guess_and_not_to_frame(open_client):
    for path in ("/", "/v1/models", "/nowhere", "/apidocs", "/ui/js/api.js"):
        headers = open_client.get(path, follow_redirects=True).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["referrer-policy"] == "no-referrer"
