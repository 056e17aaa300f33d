"""Requests that no good client sends, and some that one does: each drawn from a seed and a number alone."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto

KEY = "sk-fuzz-8c41d7"
"""The key of the server that asks for one."""

LONG_TEXT = "It was a bright cold day in April, and the clocks were striking thirteen. " * 200
HUGE = 9 * 1024 * 1024
"""Bytes; more than a body may have."""

SPEECH = {"model": "tts-1", "voice": "tara", "input": "Hi.", "response_format": "mp3", "speed": 1.5, "seed": 3,
          "stream_format": "audio", "temperature": 0.6, "top_p": 0.9, "repetition_penalty": 1.1,
          "instructions": "Softly."}  # fmt: skip
GENERATE = {"text": "Hi.", "prompt": "Hi.", "model": "default", "voice": "tara", "response_format": "wav",
            "save": True, "speed": 1, "seed": 3, "temperature": 0.6, "top_p": 0.9, "max_tokens": 700,
            "repetition_penalty": 1.1}  # fmt: skip
DRY_RUN = {"text": "Anna: Hi.", "prompt": "Hi.", "model": "default", "voice": "tara", "cast": {"Anna": "leo"},
           "pronunciations": {"Hi": "high"}, "text_cleaning": True}  # fmt: skip
OFFLOAD = {"model": "preview", "force": False, "wait_seconds": 0.1}
CALL = {"jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "list_voices", "arguments": {"language": "en"}}}  # fmt: skip
TOOLS: dict[str, dict[str, object]] = {
         "generate_speech": {"text": "Hi.", "voice": "tara", "speed": 1, "seed": 1, "max_tokens": 700},
         "list_voices": {"language": "en"}, "list_models": {}, "get_gpu_status": {},
         "offload_gpu": {"model": "preview", "force": False, "wait_seconds": 0}}  # fmt: skip
"""MCP's, each with arguments that are right."""
MCP_VERSION = "2026-07-28"
BODIES = {"/v1/audio/speech": SPEECH, "/api/generate": GENERATE, "/api/text": DRY_RUN,
          "/api/offload": OFFLOAD, "/mcp/": CALL}  # fmt: skip

READABLE = ("/", "/v1/models", "/v1/models/tts-1", "/v1/audio/voices", "/v1/audio/models", "/api/files", "/api/models",
            "/api/files/a.wav", "/api/status", "/ready", "/health", "/metrics", "/apidocs", "/apidocs/openapi.json",
            "/ui/js/api.js", "/nowhere")  # fmt: skip
"""What answers GET, and ends."""

WRONG_VALUES = (
    *("", "a", "\x00", "\ud800", "tara\r\nx: y", "../../etc/passwd", "<laugh>", "ß" * 3000, "😀", "١٢٣"),
    *(None, True, False, 0, -1, 1, 2**63, -(2**70), 10**400, 0.1, -0.0, 1e308, float("nan"), float("inf")),
    *([], [[]], ["a", 1, None], {}, {"id": None}, {"id": "tara"}, {"id": {"id": {}}}),
)
ESCAPES = ("%", "%0", "%zz", "%00", "%0d%0a", "%ff%fe", "%ed%a0%80", "%c0%ae", "%2e%2e%2f", "%252e", "%u0041",
           "..", "//",
           "\\", ";a=b", "~", "é", "\x7f", "%5c", "%F0%9F%98%80", ".wav", "a" * 300, "?", "#", "+", " ")  # fmt: skip
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "MKCOL", "PURGE",
           "QUERY", "get", "G ET", "", "GÉT", "X" * 200, "M-SEARCH", "PRI", "BREW")  # fmt: skip
HEADERS = {
    "Range": ("bytes=0-", "bytes=-0", "bytes=-9", "bytes=5-1", "bytes=99999999999999999999-", "bytes=0-1,3-4", "bytes",
              "bytes=a-b", "lines=1-2", "bytes=--1", "bytes=٣-", "bytes=1-" + "9" * 400),
    "Authorization": ("", "Bearer", "Bearer ", "bearer sk-wrong", "Basic Og==", f"Bearer {KEY}x", "Bearer é",
                      "Bearer " + "a" * 9000, f"{KEY}", f"Bearer  {KEY} ", f"Digest {KEY}", "Bearer \t"),
    "Origin": ("null", "http://[", "http://[::1", "http://é", "http://127.0.0.1:99999999", "file://", "//", ":",
               "http://evil.example", "http://a]b", "http://[v1.x]", "http://xn--\u2100", "x" * 5000),
    "Sec-Fetch-Site": ("cross-site", "none", "same-origin", "", "é", "same-origin,cross-site"),
    "Host": ("", "a:b:c", "[::1", "é", "x" * 3000, "evil.example", "127.0.0.1:0"),
    "Content-Type": ("", "text/plain", "application/json; charset=utf-16", "multipart/form-data", "a/b/c", "é/x",
                     "multipart/form-data; boundary=x", "application/x-www-form-urlencoded", ";", "x" * 2000),
    "Content-Encoding": ("gzip", "br", "identity", "x"),
    "Accept": ("", "*/*", "application/openmetrics-text", "application/openmetrics-text;q=x", "text/plain;q=NaN",
               ",,;;==", "application/json, text/event-stream", "text/*;q=1e999", "é", "a/b;version=\xff"),
    "Accept-Encoding": ("gzip", "gzip;q=0", "*", "é"),
    "If-None-Match": ("*", '"', '""', 'W/"x"', "x" * 4000),
    "Cookie": ("a", "=;=;=", "a=b; a=" + "c" * 3000, "\xff=\xfe", '$x="'),
    "X-Forwarded-For": ("", "1.2.3.4", "::1", "fe80::1%eth0", "a, b, c", "unknown", "999.1.1.1", "é", "1.2.3.4:99",
                        "[::1]:5", "::ffff:1.2.3.4", ",", "x" * 2000),
    "X-Forwarded-Proto": ("https", "", "ftp", "é"),
    "Traceparent": ("00-" + "0" * 32 + "-" + "0" * 16 + "-01", "00-x", "ff-" + "a" * 32 + "-" + "b" * 16 + "-01", "é"),
    "X-Request-Id": ("req_mine", "a" * 5000, "é"),
    "Mcp-Session-Id": ("", "x", "é", "0" * 32, "a" * 3000),
    "Mcp-Protocol-Version": ("", "1", "2025-06-18", "9999-99-99", "é"),
    "Last-Event-Id": ("", "0", "-1", "x", "9" * 400),
    "Access-Control-Request-Method": ("POST", "", "é"),
    "Access-Control-Request-Headers": ("x", "authorization, é", "a" * 3000),
    "Upgrade": ("websocket", "h2c", "é", "websocket, h2c"),
    "Sec-WebSocket-Key": ("", "dGhlIHNhbXBsZSBub25jZQ==", "é"),
    "Sec-WebSocket-Version": ("13", "8", "x"),
    "Connection": ("close", "keep-alive, close", "Upgrade, close"),
    "Expect": ("100-continue", "200-ok"),
    "X-Empty": ("", " ", "\t"),
}  # fmt: skip
BROKEN_HEADERS = (b"no colon", b": no name", b"a b: c", b" folded: x", b"x:\x00y", b"x: a\rb", b"x: a\nb",
                  b"\xff\xfe: x",
                  b"x: " + b"y" * 70_000, b"Content-Length", b"Host: a\r\nHost: b", b"x: y\r\n z")  # fmt: skip
BROKEN_LINES = (b"GET", b"GET /", b"GET / HTTP", b"GET / HTTP/9.9", b"GET / HTTP/1.1 x", b"GET  / HTTP/1.1",
                b"\x00", b"",
                b"GET /\x00 HTTP/1.1", b"GET http://[ HTTP/1.1", b"GET http://x:y/ HTTP/1.1", b"GET * HTTP/1.1",
                b"CONNECT a:1 HTTP/1.1", b"PRI * HTTP/2.0\r\n\r\nSM", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
                b"GET /" + b"a" * 70_000 + b" HTTP/1.1", b"GET / HTTP/1.1\rX", b"GET \xff\xfe HTTP/1.1",
                b"GET /\xc3\xa9 HTTP/1.1", b"OPTIONS * HTTP/1.1", b"GET / http/1.1", b"GET / ICY/1.0",
                b"GET http:// HTTP/1.1", b"GET ?a HTTP/1.1", b"GET //a HTTP/1.1", b"GET /a#b HTTP/1.1")  # fmt: skip
CHUNKS = (b"5\r\nhello\r\n0\r\n\r\n", b"zz\r\nhello\r\n", b"-5\r\nhello\r\n", b"FFFFFFFFFFFFFFFFF\r\nx", b"5\r\nhel",
          b"5;ext=\x00\r\nhello\r\n0\r\n\r\n", b"5\nhello\n0\n\n", b"5\r\nhelloX\r\n0\r\n\r\n",
          b"0\r\nTrailer: x\r\n\r\n",
          b"\r\n\r\n", b"0x5\r\nhello\r\n0\r\n\r\n",
          b"00000000000000000000000000000005\r\nhello\r\n0\r\n\r\n")  # fmt: skip
LENGTHS = (
    b"",
    b"-1",
    b"+5",
    b"5, 5",
    b"5, 6",
    b"x",
    b"1e3",
    b"0x10",
    b"99999999999999999999999",
    b"5 5",
    b"\xd9\xa3",
)


class Manner(Enum):
    """How the client behaves once it has sent what it sends."""

    READS = auto()
    """It asked for the connection to be closed, and reads until it is."""
    LEAVES = auto()
    """It does not wait for an answer."""
    WONDERS = auto()
    """Nobody can say whether an answer is due, or when it will end: it listens for a moment, and leaves."""


@dataclass(frozen=True)
class Malformed:
    """One conversation."""

    kind: str
    manner: Manner
    data: bytes
    head: bool = False
    """Whether the answer has a header only."""


def conversation(seed: int, number: int) -> Malformed:
    """The conversation of that number; a third of them are about bodies."""
    rng = random.Random(f"{seed}/{number}")
    kind = rng.choices(list(KINDS), list(KINDS.values()))[0]
    return kind(rng)


def request(
    rng: random.Random, method: str, target: str, body: bytes = b"", *, headers: dict[str, str] | None = None
) -> bytes:
    """A request that is well formed itself, with one key or another or none, and `headers`."""
    given = {"Host": "127.0.0.1", "Connection": "close"}
    if rng.random() < 0.9:
        given["Authorization"] = f"Bearer {KEY}"
    if body or method == "POST":
        given |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    if target.startswith("/mcp"):
        given["Accept"] = "application/json, text/event-stream"
    lines = "".join(f"{name}: {value}\r\n" for name, value in {**given, **(headers or {})}.items())
    return f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode() + body


def wrong_json(rng: random.Random) -> Malformed:
    target, good = rng.choice(list(BODIES.items()))
    body = dict(good)
    for _ in range(rng.choice((1, 1, 2, 5))):
        change = rng.randrange(3)
        if change == 0 and body:
            del body[rng.choice(list(body))]
        elif change == 1:
            body[rng.choice(list(good))] = rng.choice(WRONG_VALUES)
        else:
            body[str(rng.choice(WRONG_VALUES))] = rng.choice(WRONG_VALUES)
    text = json.dumps(body, ensure_ascii=rng.random() < 0.5)
    return Malformed("json", Manner.READS, request(rng, "POST", target, text.encode(errors="surrogatepass")))


def broken_json(rng: random.Random) -> Malformed:
    target, good = rng.choice(list(BODIES.items()))
    body = json.dumps(good).encode()
    at = rng.randrange(len(body))
    field = rng.choice(list(good)).encode()
    deep = rng.choice((50, 900, 20_000))
    broken = rng.choice((
        body[:at],
        body[:at] + bytes([rng.randrange(256)]) + body[at + 1 :],
        body[:at] + rng.randbytes(rng.randrange(1, 9)) + body[at:],
        body + body,
        b'{"%s":1,' % field + body[1:],
        body[:-1] + b',"x":' + b"[" * deep + b"]" * deep + b"}",
        body[:-1] + b',"%s":' % field + b'{"a":' * deep,
        body[:-1] + b',"%s":"\\ud83d"}' % field,
        body[:-1] + b',"%s":"\xed\xa0\x80\xff"}' % field,
        body[:-1] + b',"%s":%s}' % (field, rng.choice((b"NaN", b"-Infinity", b"1e999", b"01", b"0x1", b"'a'",
            b"9" * 5000))),
        b"\xef\xbb\xbf" + body,
        json.dumps(good).encode("utf-16"),
        b"",
        rng.choice((b"null", b"[]", b'""', b"0", b"true", b"[[[[", b"\x00", b" ", b"{}", b"{}{}", b"// x")),
        rng.randbytes(rng.randrange(1, 300)),
    ))  # fmt: skip
    return Malformed("broken json", Manner.READS, request(rng, "POST", target, broken))


def rpc(rng: random.Random) -> Malformed:
    message = {
        "jsonrpc": rng.choice(("2.0", "2.0", "2.0", "1.0", 2, None)),
        "id": rng.choice((1, "a", None, 1.5, [], 2**70)),
        "method": rng.choice(("tools/call", "tools/list", "resources/read", "ping", "initialize", "nothing", "", 5)),
        "params": rng.choice((
            {"name": "generate_speech", "arguments": {"text": rng.choice(WRONG_VALUES),
                "speed": rng.choice(WRONG_VALUES)}},
            {"name": "offload_gpu", "arguments": {"model": rng.choice(WRONG_VALUES), "wait_seconds": 0}},
            {"name": "nothing", "arguments": {}},
            {"uri": rng.choice(("x", "audio://../../etc/passwd", "audio://%00", "orpheus://outputs/%2e%2e/a.wav", ""))},
            {"protocolVersion": "2025-06-18", "capabilities": rng.choice(WRONG_VALUES), "clientInfo": {"name": "a"}},
            rng.choice(WRONG_VALUES),
        )),
    }  # fmt: skip
    for name in rng.sample(list(message), rng.choice((0, 0, 1))):
        del message[name]
    text = json.dumps([message] * 2 if rng.random() < 0.1 else message).encode()
    return Malformed("rpc", Manner.READS, request(rng, "POST", "/mcp/", text, headers=odd_headers(rng, 0.2)))


def tool_call(rng: random.Random) -> Malformed:
    """An MCP call that is one, without a session, of a tool that is not given what it wants."""
    tool, good = rng.choice(list(TOOLS.items()))
    arguments = dict(good)
    for _ in range(rng.choice((0, 1, 1, 2))):
        arguments[rng.choice([*good, *good, "nothing"])] = rng.choice(WRONG_VALUES)
    method, params = "tools/call", {"name": tool, "arguments": arguments}
    if rng.random() < 0.2:
        method, tool = "resources/read", f"orpheus://outputs/{rng.choice(ESCAPES)}{rng.choice(ESCAPES)}"
        params = {"uri": tool}
    envelope = {
        "protocolVersion": MCP_VERSION,
        "clientInfo": {"name": "x", "version": "1"},
        "clientCapabilities": {},
    }
    meta = {f"io.modelcontextprotocol/{name}": value for name, value in envelope.items()}
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
    headers = {"Mcp-Protocol-Version": MCP_VERSION, "Mcp-Method": method, "Mcp-Name": tool}
    data = request(rng, "POST", "/mcp/", json.dumps(message).encode(), headers=headers)
    # A header of a name that cannot stand in one breaks the request.
    return Malformed("tool call", Manner.READS if tool in TOOLS else Manner.WONDERS, data)


def pcm(rng: random.Random) -> Malformed:
    audio_format = rng.choice(("mp3", "opus", "aac", "flac", "wav", "pcm", "exe", "%00", "..", "mp3%2f"))
    return Malformed(
        "pcm",
        Manner.READS,
        request(rng, "POST", f"/api/encode/{audio_format}", rng.randbytes(rng.randrange(999))),
    )


def odd_headers(rng: random.Random, share: float = 1.0) -> dict[str, str]:
    chosen = rng.sample(list(HEADERS), rng.choice((1, 1, 2, 4))) if rng.random() < share else []
    # Without a length of their own, and on their way out: what is asked for is an answer to be read to its end.
    return {name: rng.choice(HEADERS[name]) for name in chosen}


def strange_headers(rng: random.Random) -> Malformed:
    method, body = (
        ("GET", b"") if rng.random() < 0.5 else ("POST", json.dumps(SPEECH | {"input": ""}).encode())
    )
    target = rng.choice(READABLE) if method == "GET" else "/v1/audio/speech"
    if rng.random() < 0.2:
        method, target = rng.choice(
            (("OPTIONS", "/v1/audio/speech"), ("DELETE", "/api/files/a.wav"), ("GET", "/mcp/"))
        )
    headers = odd_headers(rng)
    if "Upgrade" in headers:
        headers["Connection"] = "Upgrade, close"
    endless = target == "/mcp/" or "Upgrade" in headers
    manner = Manner.WONDERS if endless else Manner.READS
    return Malformed("headers", manner, request(rng, method, target, body, headers=headers))


def broken_headers(rng: random.Random) -> Malformed:
    head, _, body = request(
        rng, "POST", "/v1/audio/speech", json.dumps(SPEECH | {"input": " "}).encode()
    ).partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    for _ in range(rng.choice((1, 1, 3))):
        lines.insert(rng.randrange(1, len(lines) + 1), rng.choice(BROKEN_HEADERS))
    if rng.random() < 0.1:
        lines[1:1] = [b"x-%d: y" % number for number in range(500)]
    return Malformed(
        "broken headers",
        Manner.WONDERS,
        rng.choice((b"\r\n", b"\r\n", b"\n")).join(lines) + b"\r\n\r\n" + body,
    )


def broken_lines(rng: random.Random) -> Malformed:
    return Malformed(
        "lines", Manner.WONDERS, rng.choice(BROKEN_LINES) + b"\r\nHost: x\r\nConnection: close\r\n\r\n"
    )


def framing(rng: random.Random) -> Malformed:
    target, good = rng.choice(list(BODIES.items()))
    body = json.dumps(good | {"input": "", "text": "", "prompt": ""}).encode()
    head = (
        f"POST {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n".encode()
    )
    length = b"Content-Length: %s\r\n"
    chunked = b"Transfer-Encoding: chunked\r\n"
    data = rng.choice((
        head + length % rng.choice(LENGTHS) + b"\r\n" + body,
        head + length % b"%d" % (len(body) - rng.randrange(1, len(body))) + b"\r\n" + body,
        head + length % b"%d" % (len(body) + rng.randrange(1, 99)) + b"\r\n" + body,
        head + length % b"5" + length % b"6" + b"\r\n" + body,
        head + length % b"%d" % len(body) + chunked + b"\r\n" + body,
        head + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + rng.choice(CHUNKS),
        head + b"Transfer-Encoding: chunked, identity\r\n\r\n" + rng.choice(CHUNKS),
        head + chunked + b"\r\n" + rng.choice(CHUNKS),
        head + chunked + b"\r\n" + b"%x\r\n" % len(body) + body + b"\r\n" + rng.choice(CHUNKS),
        head + b"\r\n" + body,
    ))  # fmt: skip
    return Malformed("framing", Manner.WONDERS, data)


def paths(rng: random.Random) -> Malformed:
    base = rng.choice(("/api/files/", "/api/files/", "/api/files", "/ui/", "/v1/models/", "/v1/", "/apidocs/assets/",
                       "/apidocs/", "/mcp/", "/", "/api/encode/", "/api/"))  # fmt: skip
    target = base + "".join(rng.choice(ESCAPES) for _ in range(rng.choice((1, 2, 3, 9))))
    if rng.random() < 0.3:
        target += "?" + "&".join(
            rng.choice(ESCAPES) + "=" + rng.choice(ESCAPES) for _ in range(rng.randrange(5))
        )
    method = rng.choice(("GET", "GET", "DELETE", "HEAD", "OPTIONS", "POST"))
    return Malformed("paths", Manner.WONDERS, request(rng, method, target), head=method == "HEAD")


def methods(rng: random.Random) -> Malformed:
    method = rng.choice(METHODS)
    target = rng.choice((*READABLE, *BODIES, "/api/events"))
    return Malformed("methods", Manner.WONDERS, request(rng, method, target), head=method == "HEAD")


def noise(rng: random.Random) -> Malformed:
    data = bytearray(wrong_json(rng).data if rng.random() < 0.8 else rng.randbytes(rng.randrange(2000)))
    for _ in range(rng.choice((1, 2, 8))):
        data[rng.randrange(len(data) or 1) : rng.randrange(len(data) or 1)] = rng.randbytes(rng.randrange(3))
    return Malformed("noise", Manner.WONDERS, bytes(data))


def pipelined(rng: random.Random) -> Malformed:
    first = [
        request(rng, "GET", rng.choice(READABLE), headers={"Connection": "keep-alive"})
        for _ in range(rng.randrange(1, 6))
    ]
    last = rng.choice((wrong_json, paths, framing, broken_lines))(rng)
    manner = Manner.READS if last.manner is Manner.READS else Manner.WONDERS
    return Malformed("pipelined", manner, b"".join([*first, last.data]), head=last.head)


def half_a_request(rng: random.Random) -> Malformed:
    whole = rng.choice((wrong_json, wrong_json, tool_call))(rng).data
    return Malformed("half a request", Manner.LEAVES, whole[: rng.randrange(len(whole))])


def no_patience(rng: random.Random) -> Malformed:
    """Somebody who asks for something long, hears its beginning at most, and leaves."""
    speech = {**SPEECH, "input": LONG_TEXT, "response_format": rng.choice(("mp3", "opus", "aac", "flac", "wav", "pcm")),
              "stream_format": rng.choice(("audio", "sse")), "speed": rng.choice((0.5, 1, 3))}  # fmt: skip
    generate = {"text": LONG_TEXT, "response_format": rng.choice(("wav", "mp3")), "save": rng.random() < 0.7}
    # An MCP call goes on when its client leaves; the protocol wants that.
    call = {**CALL, "params": {"name": "generate_speech", "arguments": {"text": LONG_TEXT[:2000]}}}
    data = rng.choice((
        request(rng, "POST", "/v1/audio/speech", json.dumps(speech).encode()),
        request(rng, "POST", "/api/generate", json.dumps(generate).encode()),
        request(rng, "POST", "/mcp/", json.dumps(call).encode()),
        request(rng, "GET", "/api/events"),
        request(rng, "GET", "/api/events"),
    ))  # fmt: skip
    return Malformed("no patience", rng.choice((Manner.WONDERS, Manner.LEAVES)), data)


def huge(rng: random.Random) -> Malformed:
    target = rng.choice(list(BODIES))
    body = rng.choice((b'{"input":"' + b"a" * HUGE + b'"}', b"[" * HUGE, b"\x00" * HUGE))
    return Malformed("huge", Manner.READS, request(rng, "POST", target, body))


def good(rng: random.Random) -> Malformed:
    """Nothing is wrong with it: what is broken beside it must not harm it."""
    speech = {
        "model": "tts-1",
        "voice": "tara",
        "input": "Good day.",
        "response_format": rng.choice(("mp3", "opus", "pcm")),
    }
    data = request(rng, "POST", "/v1/audio/speech", json.dumps(speech).encode())
    return Malformed("good", Manner.READS, data)


KINDS: dict[Callable[[random.Random], Malformed], float] = {
    wrong_json: 16, broken_json: 16, rpc: 2, tool_call: 3, pcm: 2, strange_headers: 16, broken_headers: 6,
    broken_lines: 6, framing: 6, paths: 12, methods: 5, noise: 4, pipelined: 3, half_a_request: 4, no_patience: 1,
    huge: 0.05, good: 1,
}  # fmt: skip
"""Each kind of conversation and how many of a hundred are of it."""
