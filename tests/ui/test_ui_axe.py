"""The page in a real Chromium, judged by axe in each of its states, as two readers have it."""

from collections.abc import Callable, Iterable
from typing import Literal

import pytest

from tests.support.chromium import (
    IN_CHROMIUM,
    LONG,
    faults,
    speak_button,
    until,
    wait_until_heard,
)

pytest.importorskip("playwright.sync_api")
pytest.importorskip("axe_playwright_python.base")
from playwright.sync_api import Page, expect

pytestmark = IN_CHROMIUM


Reader = tuple[str, Literal["dark", "light"], int]
"""Language, scheme and width."""

READERS: tuple[Reader, ...] = (("en", "dark", 1280), ("zh-Hans", "light", 390))
CROSSED: tuple[Reader, ...] = (("en", "light", 1280), ("zh-Hans", "dark", 390))


class Look:
    """Judges states of a page as two readers have it: one after the other, while the state stays."""

    def __init__(self, page: Page) -> None:
        self.wrong: dict[str, list[str]] = {}
        self._page = page
        self._read(*READERS[-1])

    def __call__(self, state: str, *, readers: Iterable[Reader] = READERS) -> None:
        """Note by its name what is wrong with a state."""
        for reader in readers:
            self._read(*reader)
            if found := faults(self._page):
                self.wrong[f"{state}, {reader}"] = found

    def _read(self, language: str, scheme: Literal["dark", "light"], width: int) -> None:
        self._page.emulate_media(color_scheme=scheme)
        self._page.set_viewport_size({"width": width, "height": 900})
        if self._page.locator("html").get_attribute("lang") != language:
            # Not clicked: that would take the focus, and close what is open.
            self._page.evaluate("document.getElementById('language').click()")
            until(self._page, f"document.documentElement.lang === '{language}'")


@pytest.fixture
def opened(open_page: Callable[..., Page], unhurried_url: str) -> Page:
    return open_page(unhurried_url, reduced_motion="reduce", forgive="400")


def test_axe_finds_nothing_while_one_writes_chooses_and_is_refused(opened: Page) -> None:
    page, look = opened, Look(opened)
    look("at first")
    page.locator("#text").fill("Das ist ein <laugh> kleiner Text, und er ist nicht in der Sprache.")
    expect(page.locator("#tongue-note")).to_be_visible()
    expect(page.locator("#tags-note")).to_be_visible()
    page.locator("#language-ko").click()
    look("hints, and other voices")
    page.locator("#voice-search").fill("no such voice")
    page.locator("#text").fill("\x85")  # a space to the server alone
    speak_button(page).click()
    expect(page.get_by_role("alert").locator(".notice")).to_be_visible()
    look("no voice found, and a refusal")
    page.locator("#voice-search").fill("")
    page.locator("#text").fill("x" * 50_001)
    look("too long")
    page.locator("#examples button").nth(1).click()
    expect(page.locator("#toasts .toast")).to_be_visible()
    page.get_by_role("tab", name="MCP").click()
    look("replaced, with undo; another program")
    page.locator("#copy-link").click()
    page.locator("#text").fill("Anna: It costs **$5**.\nBen: Hello!")
    page.locator("#explain").click()
    expect(page.locator("#plan-segments > li")).to_have_count(1)
    look("the plan, and speakers")
    assert look.wrong == {}


def test_axe_finds_nothing_while_one_listens_and_keeps(opened: Page) -> None:
    page, look = opened, Look(opened)
    page.locator("#text").fill(LONG)
    speak_button(page).click()
    wait_until_heard(page)
    expect(page.locator("#mirror mark")).to_have_count(1)
    look("speaking")
    page.locator("#play").click()
    look("paused")
    speak_button(page).click() if "stops" in (speak_button(page).get_attribute("class") or "") else None
    expect(page.locator("#history .kept")).to_have_count(1)
    page.locator("#history [data-does=name]").click()
    look("naming a take", readers=READERS[-1:])  # which another language would end
    page.keyboard.press("Escape")
    page.locator("#model .picker").click()
    look("the history, and the model menu", readers=(*CROSSED, *READERS))
    page.keyboard.press("Escape")
    page.locator("#history-search").fill("no such words")
    look("nothing found")
    page.locator("#history-search").fill("")
    page.locator("#history [data-does=delete]").click()
    expect(page.locator("#toasts .toast")).to_be_visible()
    look("deleted, with undo")
    assert look.wrong == {}
