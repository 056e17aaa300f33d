"""The page in a real Chromium where the line is slow, or a part of the page does not come: nothing is blank."""

import itertools
import json
from collections.abc import Callable

import pytest

from tests.support.chromium import (
    ENGLISH,
    IN_CHROMIUM,
    note_phases,
    speak,
    until,
    violations,
    wait_until_heard,
)

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Page, expect

pytestmark = IN_CHROMIUM

SLOW = {"offline": False, "latency": 400, "downloadThroughput": 30_000, "uploadThroughput": 30_000}
"""30 kB/s and 400 ms: less than sound as it is takes, 48 kB/s."""

BOTH_WAYS = """async () => {
  const { ArrivingOpus, ArrivingPCM } = await import("/ui/js/arriving.js");
  const heard = {};
  for (const [format, Arriving] of [["pcm", ArrivingPCM], ["opus", ArrivingOpus]]) {
    const body = JSON.stringify({ text: "The sea was calm. A boat came.", model: "preview", response_format: format });
    const headers = { "content-type": "application/json" };
    const answer = await fetch("/api/generate", { method: "POST", headers, body });
    const samples = [];
    const arriving = new Arriving((piece) => samples.push(...piece));
    for await (const piece of answer.body) arriving.take(piece);
    await arriving.end();
    heard[format] = samples;
  }
  const { pcm, opus } = heard;
  let [both, one, other] = [0, 0, 0];
  for (let i = 0; i < pcm.length; i += 1) {
    both += pcm[i] * opus[i];
    one += pcm[i] ** 2;
    other += opus[i] ** 2;
  }
  return { lengths: [pcm.length, opus.length], alike: both / Math.sqrt(one * other) };
}"""


def test_on_a_slow_line_the_shell_is_there_at_once_and_speech_has_no_gaps_and_says_what_it_waits_for(
    open_page: Callable[..., Page], server_url: str
) -> None:
    page = open_page(server_url, line=SLOW)
    painted = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    words = page.evaluate("performance.getEntriesByName('words')[0].startTime")
    ready = page.evaluate("performance.getEntriesByName('ready')[0].startTime")
    assert painted < words < ready
    assert painted < ready - 1_000
    asked = []
    page.on("request", lambda request: asked.append(request) if "generate" in request.url else None)
    note_phases(page, "Speaking")
    speak(page, ENGLISH)
    wait_until_heard(page)
    until(page, "document.getElementById('speak').textContent.includes('朗读')")
    waits = "Waiting for more sound: the connection or the server is slow."
    assert {"Waiting for the first sound", waits, "Speaking", "正在朗读"} <= set(page.evaluate("phases"))
    assert json.loads(asked[0].post_data)["response_format"] == "opus"
    pieces = page.evaluate("heard.pieces")
    assert sum(piece["length"] for piece in pieces) > 3 * 24_000
    assert [
        later["when"] - earlier["until"] for earlier, later in itertools.pairwise(pieces)
    ] == pytest.approx([0] * (len(pieces) - 1), abs=0.05)


def test_compressed_speech_is_the_same_speech_from_the_first_sample_to_the_last(page: Page) -> None:
    found = page.evaluate(BOTH_WAYS)
    pcm, opus = found["lengths"]
    assert pcm == opus
    assert found["alike"] > 0.95


def test_a_page_without_its_examples_or_its_readers_language_still_speaks(
    open_page: Callable[..., Page], server_url: str
) -> None:
    page = open_page(server_url, locale="zh-CN", forgive="404|503", refuse=("**/examples.json", "**/zh.json"))
    speak(page, ENGLISH)
    wait_until_heard(page)
    expect(page.get_by_role("button", name="Greeting")).to_be_visible()


def test_a_page_that_misses_a_module_says_so_in_both_languages(
    open_page: Callable[..., Page], server_url: str
) -> None:
    page = open_page(server_url, forgive="404|503", refuse=("**/shelf.js",), ready="#failed:not([hidden])")
    expect(page.locator("#failed")).to_contain_text("could not be loaded")
    expect(page.locator("#failed")).to_contain_text("无法加载")
    assert violations(page) == []


def test_without_javascript_the_page_says_what_it_needs(
    open_page: Callable[..., Page], server_url: str
) -> None:
    page = open_page(server_url, java_script_enabled=False, ready="noscript")
    for language, words in (("en", "This page needs JavaScript."), ("zh-Hans", "需要 JavaScript")):
        said = page.locator(f"noscript p[lang={language}]")
        assert words in said.inner_text()
        expect(said).to_be_visible()
