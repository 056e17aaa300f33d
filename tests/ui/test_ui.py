"""The page's files: how they are served, that they need no other server, and that all words are in both languages."""

import asyncio
import gzip
import http.client
import json
import logging
import re
import socket
import time
from collections.abc import AsyncIterator, Iterator
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from orpheus_openai.app import create_app
from orpheus_openai.settings import Settings
from orpheus_ui import routes
from orpheus_ui.routes import MAX_PCM_BYTES, MAX_TIMED_BYTES
from tests.support.local_server import running

STATIC = Path(__file__).parents[2] / "ui" / "orpheus_ui" / "static"
SCRIPTS = sorted((STATIC / "js").glob("*.js"))
HTML = (STATIC / "index.html").read_text(encoding="utf-8")
WORDS = {
    name: json.loads((STATIC / "i18n" / f"{name}.json").read_text(encoding="utf-8")) for name in ("en", "zh")
}

COMMENT = re.compile(r"/\*.*?\*/|(?<![:\"'`\\/])//[^\n]*", re.DOTALL)
LITERAL = re.compile(r'"(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\.)*`')
SENTENCE = re.compile(
    r"[A-Z][a-z]+ [a-z]+|[a-z]+ [a-z]+ [a-z]+ [a-z]+|[a-z]{2}[.!?]\s|[\u3000-\u30ff\u4e00-\u9fff]"
)
OWN_NAMES = {'"English"', '"中文"'}
"""What each language calls itself stands in none of the two."""
PROGRAMS = "snippets.js"
"""Programs are for no reader's language."""
OF_PROGRAMS = {
    "file_not_found",
    "invalid_form",
    "invalid_json",
    "invalid_message",
    "invalid_type",
    "method_not_supported",
    "nothing_to_interrupt",
    "unknown_field",
    "unknown_message",
    "unknown_url",
    "utterance_in_progress",
}
"""Errors of whoever writes a request: the page would show the server's words."""


@pytest.fixture(scope="module")
def client(server_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server_url) as client:
        yield client


def code(script: Path) -> str:
    return COMMENT.sub("", script.read_text(encoding="utf-8"))


def keys_in_use() -> tuple[set[str], list[re.Pattern[str]]]:
    """Keys that stand in the page as they are, and patterns of those that are put together."""
    whole = set(re.findall(r'data-i18n(?:-[a-z-]+)?="([^"]+)"', HTML))
    patterns = []
    for script in SCRIPTS:
        for literal in LITERAL.findall(code(script)):
            text = literal[1:-1]
            if literal.startswith('"'):
                whole.add(text)
            elif re.match(r"[a-z_]+\.", text):
                parts = re.split(r"\$\{[^}]*\}", text)
                patterns.append(re.compile(r"[\w-]+".join(re.escape(part) for part in parts)))
    return whole, patterns


def test_both_languages_have_the_same_keys() -> None:
    assert WORDS["en"].keys() == WORDS["zh"].keys()


def test_both_languages_fill_in_the_same_values() -> None:
    def blanks(words: str) -> set[str]:
        return set(re.findall(r"\{(\w+)\}", words))

    assert {k for k in WORDS["en"] if blanks(WORDS["en"][k]) != blanks(WORDS["zh"][k])} == set()


def test_chinese_has_words_of_its_own_for_all_but_signs_and_names() -> None:
    chinese = re.compile("[\u4e00-\u9fff]")
    left = {
        key: re.sub(r"\{\w+\}", "", words) for key, words in WORDS["zh"].items() if not chinese.search(words)
    }
    words = {word for text in left.values() for word in re.findall("[A-Za-z]+", text)}
    assert words == {"C", "Ctrl", "Esc", "GPU", "GiB", "SSML"}


def test_every_error_that_the_page_can_meet_has_words() -> None:
    root = STATIC.parents[2]
    sources = [*(root / "orpheus_openai").rglob("*.py"), *(root / "compat" / "orpheus_compat").rglob("*.py")]
    code_of = re.compile(r'\bcode(?:: str \| None)? ?= ?"([a-z_]+)"')
    codes = {code for path in sources for code in code_of.findall(path.read_text(encoding="utf-8"))}
    assert len(codes) > 40
    assert {code for code in codes if f"error.{code}" not in WORDS["en"]} == OF_PROGRAMS


def test_every_key_is_used() -> None:
    whole, patterns = keys_in_use()
    unused = [k for k in WORDS["en"] if k not in whole and not any(p.fullmatch(k) for p in patterns)]
    assert unused == []


def test_every_key_that_is_used_has_words() -> None:
    asked = set(re.findall(r'data-i18n(?:-[a-z-]+)?="([^"]+)"', HTML))
    for script in SCRIPTS:
        asked |= set(re.findall(r'\bt\("([^"]+)"', code(script)))
    assert asked - WORDS["en"].keys() == set()


def test_no_words_for_people_stand_in_the_scripts() -> None:
    found = {
        (script.name, literal)
        for script in SCRIPTS
        if script.name != PROGRAMS
        for literal in LITERAL.findall(code(script))
        if literal not in OWN_NAMES and SENTENCE.search(re.sub(r"\$\{[^}]*\}", "1", literal))
    }
    assert found == set()


def test_no_words_for_people_stand_in_the_html_but_where_no_script_can_bring_them() -> None:
    texts: dict[str | None, list[str]] = {}

    class Texts(HTMLParser):
        language: str | None = None

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag == "p":
                self.language = dict(attrs).get("lang")

        def handle_endtag(self, tag: str) -> None:
            if tag == "p":
                self.language = None

        def handle_data(self, data: str) -> None:
            if data.strip():
                texts.setdefault(self.language, []).append(data.strip())

    Texts().feed(HTML)
    assert set(texts.pop(None)) == {"Orpheus"}
    assert texts.keys() == {"en", "zh-Hans"}
    assert len(texts["en"]) == len(texts["zh-Hans"])
    assert re.findall(r'\s(?:aria-label|placeholder|title|alt)="', HTML) == []


def test_no_script_or_style_stands_in_the_html() -> None:
    assert re.findall(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", HTML) == []


def test_the_page_names_no_other_server() -> None:
    for path in [*SCRIPTS, *STATIC.glob("*.css"), STATIC / "index.html"]:
        for url in re.findall(
            r"(?:https?:)?//[\w.-]+\.\w+", COMMENT.sub("", path.read_text(encoding="utf-8"))
        ):
            assert url == "http://www.w3.org", f"{path.name} names {url}"


def test_every_module_that_the_page_begins_with_is_announced_to_the_browser() -> None:
    announced = set(re.findall(r'modulepreload" href="ui/js/([\w.]+)"', HTML))
    needed, following = set(), ["main.js"]
    while following:
        found = set(re.findall(r'\bfrom "\./([\w.]+)"', code(STATIC / "js" / following.pop()))) - needed
        needed |= found
        following += found
    assert announced == needed


def test_examples_are_there_in_every_language_of_the_catalog(client: httpx.Client) -> None:
    examples = json.loads((STATIC / "examples.json").read_text(encoding="utf-8"))
    languages = {language["id"] for language in client.get("/api/models").json()["languages"]}
    assert examples.keys() == languages
    for texts in examples.values():
        assert {f"example.{name}" for name in texts} <= WORDS["en"].keys()


def test_the_page_is_served_with_a_strict_policy(client: httpx.Client) -> None:
    answer = client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_files_are_compressed_and_not_sent_again(client: httpx.Client) -> None:
    first = client.get("/ui/js/main.js")
    assert first.headers["content-encoding"] == "gzip"
    assert first.headers["content-type"].startswith("text/javascript")
    again = client.get("/ui/js/main.js", headers={"if-none-match": first.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""
    plain = client.get("/ui/js/main.js", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == first.content


def test_head_tells_the_size_and_sends_nothing(client: httpx.Client) -> None:
    answer = client.head("/", headers={"accept-encoding": "identity"})
    assert answer.status_code == 200
    assert int(answer.headers["content-length"]) == len((STATIC / "index.html").read_bytes())


@pytest.mark.parametrize(
    "path", ["/ui/nothing.js", "/ui/fonts/LICENSE", "/ui/..%2f..%2froutes.py", "/ui/%2e%2e/assets.py"]
)
def test_nothing_but_the_page_is_served(client: httpx.Client, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert "error" in answer.json()


def test_all_of_the_page_weighs_less_than_300_kb() -> None:
    files = [p for p in STATIC.rglob("*") if p.suffix in {".html", ".css", ".js", ".json", ".svg"}]
    fonts = sum(p.stat().st_size for p in STATIC.rglob("*.woff2"))
    assert sum(len(gzip.compress(p.read_bytes())) for p in files) + fonts < 300_000


@pytest.mark.parametrize(
    ("audio_format", "begins"), [("mp3", b"\xff\xf3"), ("opus", b"OggS"), ("flac", b"fLaC"), ("wav", b"RIFF")]
)
def test_what_was_heard_is_encoded_in_the_format_that_was_asked_for(
    client: httpx.Client, audio_format: str, begins: bytes
) -> None:
    wanted = {"text": "Hello there.", "model": "preview", "response_format": "pcm"}
    pcm = client.post("/api/generate", json=wanted).content
    answer = client.post(f"/api/encode/{audio_format}", content=pcm)
    assert answer.status_code == 200
    assert answer.content.startswith(begins)


def test_pcm_comes_back_as_it_went_in_whatever_the_pieces(client: httpx.Client) -> None:
    pcm = bytes(range(256)) * 40

    def pieces() -> Iterator[bytes]:
        yield from (pcm[i : i + 333] for i in range(0, len(pcm), 333))

    assert client.post("/api/encode/pcm", content=pieces()).content == pcm


def test_an_unknown_format_is_refused_in_words(client: httpx.Client) -> None:
    answer = client.post("/api/encode/midi", content=b"\0\0")
    assert answer.status_code == 400
    assert "mp3" in answer.json()["error"]["message"]


def test_encoding_has_a_bound_counts_as_a_request_and_may_be_left(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    settings = Settings(model="preview", output_dir=tmp_path, rate_limit="2/minute")
    with running(create_app(settings)) as url, httpx.Client(base_url=url, trust_env=False) as client:
        connection = http.client.HTTPConnection(client.base_url.host, client.base_url.port, timeout=30)
        connection.putrequest("POST", "/api/encode/mp3")
        connection.putheader("content-length", str(MAX_PCM_BYTES + 2))
        connection.endheaders()
        assert connection.getresponse().status == 413
        connection.close()
        place = (client.base_url.host, client.base_url.port)
        with socket.create_connection(place, timeout=60) as leaver:
            leaver.sendall(
                b"POST /api/encode/wav HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999\r\n\r\n...."
            )
        for _ in range(600):
            if "/api/encode/wav 499" in caplog.text:
                break
            time.sleep(0.05)
        statuses = [client.post("/api/encode/wav", content=bytes(4800)).status_code for _ in range(3)]
    assert statuses == [200, 429, 429]
    assert "/api/encode/wav 499" in caplog.text
    assert "unhandled" not in caplog.text


def test_words_and_their_times_become_subtitles(client: httpx.Client) -> None:
    words = [
        {"word": "Hello", "start": 0.1, "end": 0.4, "span": [0, 5]},
        {"word": "there", "start": 0.5, "end": 1.2, "span": [6, 11]},
    ]
    told = {"text": "Hello there.", "words": words}
    answer = client.post("/api/caption/srt", json=told)
    assert answer.text == "1\n00:00:00,100 --> 00:00:01,200\nHello there.\n"
    assert client.post("/api/caption/vtt", json=told).text.startswith("WEBVTT\n")
    for path, body in (
        ("ass", told),
        ("srt", {**told, "text": "Hello"}),
        ("srt", {**told, "words": [*reversed(words)]}),
        ("srt", {**told, "words": []}),
        ("srt", {**told, "text": "Hello there." + " " * 50_000}),
        ("srt", {**told, "words": [{**words[0], "end": 1e308}]}),
        ("vtt", {**told, "words": [{**words[0], "start": -1.0}]}),
        ("srt", {}),
    ):
        assert client.post(f"/api/caption/{path}", json=body).status_code == 400
    assert client.post("/api/caption/srt", content=bytes(MAX_TIMED_BYTES + 1)).status_code == 413


async def test_whoever_sends_slowly_keeps_no_place_and_one_caller_has_two(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "ENCODER_SECONDS", 2.0)

    async def slow() -> AsyncIterator[bytes]:
        yield bytes(4800)
        await asyncio.sleep(4)  # httpx reads no answer before all is sent

    with running(create_app(Settings(model="preview", output_dir=tmp_path))) as url:
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as client:
            sent = [asyncio.create_task(client.post("/api/encode/wav", content=slow())) for _ in range(3)]
            statuses = sorted([(await each).status_code for each in sent])
            assert statuses == [408, 408, 429]
            assert (await client.post("/api/encode/wav", content=bytes(4800))).status_code == 200


async def test_few_are_encoded_at_once_and_the_line_has_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "ENCODERS", 1)
    monkeypatch.setattr(routes, "ENCODER_QUEUE", 0)
    going_on, ended = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield bytes(4800)
        going_on.set()
        await ended.wait()

    with running(create_app(Settings(model="preview", output_dir=tmp_path))) as url:
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as client:
            first = asyncio.create_task(client.post("/api/encode/wav", content=slow()))
            await going_on.wait()
            async with asyncio.timeout(30):
                while (await client.post("/api/encode/wav", content=bytes(4800))).status_code == 200:
                    pass  # the first may not have come so far yet
            second = await client.post("/api/encode/wav", content=bytes(4800))
            assert second.json()["error"]["code"] == "overloaded"
            ended.set()
            assert (await first).status_code == 200
