"""The page in a real Chromium, judged by axe in each of its states, in both languages."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.chromium import ENGLISH, IN_CHROMIUM, LONG, speak_button, violations, wait_until_heard
from tests.support.ui_server import page_server, unhurried

pytest.importorskip("playwright.sync_api")
pytest.importorskip("axe_playwright_python.sync_playwright")
from playwright.sync_api import Page, expect

pytestmark = IN_CHROMIUM

READERS = [("en-US", "dark", 1280), ("zh-CN", "light", 390)]
"""Each language in one of the schemes and widths; `test_ui_browser` has the others in English."""


@pytest.fixture(params=READERS, ids=[locale for locale, *_ in READERS])
def opened(request: Any, open_page: Callable[..., Page], unhurried_url: str) -> Page:
    locale, scheme, width = request.param
    page = open_page(
        unhurried_url,
        locale=locale,
        color_scheme=scheme,
        reduced_motion="reduce",
        viewport={"width": width, "height": 900},
        forgive="400",
    )
    page.set_default_timeout(20_000)
    return page


ENGLISH_LEFT = """() => {
  const sentence = /[A-Za-z]{2,} +[a-z]{2,} +[a-z]{2,}/;
  const users = "#mirror, textarea, pre, .kept-text, .verdicts, #plan-segments, [lang=en]";
  const all = [...document.querySelectorAll("body *")];
  const seen = all.filter((node) => node.checkVisibility() && !node.closest(users));
  const said = seen.flatMap((node) => [
    ...[...node.childNodes].filter(({ nodeType }) => nodeType === Node.TEXT_NODE).map(({ data }) => data),
    ...["aria-label", "title", "placeholder"].map((name) => node.getAttribute(name) ?? ""),
  ]);
  return said.filter((words) => sentence.test(words.replace(/“[^”]*”/g, "")));
}"""
"""What is said in English, the reader's own text and programs aside."""


def english_left(page: Page) -> list[str]:
    """What English is left in a Chinese page."""
    chinese = page.locator("html").get_attribute("lang") == "zh-Hans"
    return page.evaluate(ENGLISH_LEFT) if chinese else []


def fault(page: Page, state: str) -> dict[str, list[str]]:
    """What axe finds in this state, by its name, and what English is left in a Chinese page; {} for nothing."""
    found = violations(page) + english_left(page)
    return {state: found} if found else {}


def test_axe_finds_nothing_while_one_writes_chooses_and_is_refused(opened: Page) -> None:
    page = opened
    wrong = fault(page, "at first")
    page.locator("#text").fill("Das ist ein <laugh> kleiner Text, und er ist nicht in der Sprache.")
    expect(page.locator("#tongue-note")).to_be_visible()
    expect(page.locator("#tags-note")).to_be_visible()
    wrong |= fault(page, "hints")
    page.locator("#model .picker").click()
    wrong |= fault(page, "the model menu")
    page.keyboard.press("Escape")
    page.locator("#language-ko").click()
    wrong |= fault(page, "other voices")
    page.locator("#voice-search").fill("no such voice")
    wrong |= fault(page, "no voice found")
    page.locator("#voice-search").fill("")
    page.locator("#text").fill("\x85")  # a space to the server alone
    speak_button(page).click()
    expect(page.get_by_role("alert").locator(".notice")).to_be_visible()
    wrong |= fault(page, "a refusal")
    page.locator("#text").fill("x" * 50_001)
    wrong |= fault(page, "too long")
    page.locator("#examples button").nth(1).click()
    expect(page.locator("#toasts .toast")).to_be_visible()
    page.get_by_role("tab", name="MCP").click()
    wrong |= fault(page, "replaced, with undo; another program")
    page.locator("#copy-link").click()
    page.locator("#text").fill("Anna: It costs **$5**.\nBen: Hello!")
    page.locator("#explain").click()
    expect(page.locator("#plan-segments > li")).to_have_count(1)
    wrong |= fault(page, "the plan, and speakers")
    assert wrong == {}


def test_axe_finds_nothing_while_one_listens_and_keeps(opened: Page) -> None:
    page = opened
    page.locator("#text").fill(LONG)
    speak_button(page).click()
    wait_until_heard(page)
    expect(page.locator("#mirror mark")).to_have_count(1)
    wrong = fault(page, "speaking")
    page.locator("#play").click()
    wrong |= fault(page, "paused")
    speak_button(page).click() if "stops" in (speak_button(page).get_attribute("class") or "") else None
    expect(page.locator("#history .kept")).to_have_count(1)
    page.locator("#history [data-does=name]").click()
    wrong |= fault(page, "naming a take")
    page.keyboard.press("Escape")
    page.locator("#history-search").fill("no such words")
    wrong |= fault(page, "nothing found")
    page.locator("#history-search").fill("")
    page.locator("#history [data-does=delete]").click()
    expect(page.locator("#toasts .toast")).to_be_visible()
    wrong |= fault(page, "deleted, with undo")
    assert wrong == {}


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
def test_axe_finds_nothing_when_a_model_in_use_is_to_be_released_and_when_the_server_is_gone(
    open_page: Callable[..., Page], tmp_path: Any, a_card: None, locale: str
) -> None:
    with page_server(tmp_path, wrap=unhurried) as url:
        page = open_page(
            url, locale=locale, forgive="ERR_CONNECTION_REFUSED|ERR_INCOMPLETE_CHUNKED|ERR_EMPTY|ERR_SOCKET"
        )
        page.locator("#text").fill(LONG)
        speak_button(page).click()
        page.locator("#gpu [data-release]").click()
        expect(page.get_by_role("dialog")).to_be_visible()
        wrong = fault(page, "the question")
        page.keyboard.press("Escape")
    expect(page.locator("#connection")).to_have_attribute("data-state", "lost", timeout=60_000)
    expect(page.get_by_role("alert").locator(".notice")).to_be_visible()
    wrong |= fault(page, "the server is gone")
    page.locator("#text").fill(ENGLISH)
    assert wrong == {}
    page.goto("about:blank")
