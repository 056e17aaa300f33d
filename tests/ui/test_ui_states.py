"""The page in a real Chromium: what it shows is so, whoever reads it and however."""

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orpheus_openai.catalog import load_catalog
from tests.support.chromium import (
    ENGLISH,
    IN_CHROMIUM,
    faults,
    in_chinese,
    speak,
    speak_button,
    violations,
    wait_until_heard,
)
from tests.support.environment import environ
from tests.support.hub import Hub
from tests.support.served import serving

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Locator, Page, expect

pytestmark = IN_CHROMIUM

SETTLED_SECONDS = 5.0
"""In which what has just been drawn has its place."""

GERMAN = "Das ist ein kleiner Text, und er ist nicht in der Sprache, die sie spricht."
ARABIC = "مرحبا بالعالم، هذا نص قصير."


def box(page: Page) -> Locator:
    return page.locator("#text")


def kept(page: Page) -> Locator:
    return page.locator("#history .kept")


# --- who speaks --------------------------------------------------------------------------------------------------


def test_who_speaks_is_in_sight_and_a_text_in_another_language_gets_a_hint(page: Page) -> None:
    page.get_by_role("tab", name="French").click()
    speaker = page.get_by_role("button", name="Voice: tara, English")
    expect(speaker).to_be_in_viewport()
    speaker.click()
    expect(page.get_by_role("radio", name="tara")).to_be_focused()
    expect(page.get_by_role("tab", name="English")).to_have_attribute("aria-selected", "true")

    box(page).fill(GERMAN)
    hint = page.locator("#tongue-note")
    expect(hint).to_contain_text("This looks like German; tara speaks English.")
    expect(hint.get_by_role("button", name="Use jana")).to_be_visible()
    assert violations(page) == []
    in_chinese(page)
    expect(hint).to_contain_text("文本看起来是德语；tara 说的是英语。")
    hint.get_by_role("button", name="改用 jana").click()
    expect(hint).to_be_hidden()
    expect(page.locator("#speaker")).to_contain_text("jana")


def test_a_voice_belongs_to_the_models_that_know_it(open_page: Callable[..., Page], server_url: str) -> None:
    def two_sizes(route: Any) -> None:
        offer = route.fetch().json()
        for model in offer["models"]:
            if model["id"] in ("medium-3b", "small-1b", "medium-3b-de"):
                model["status"] = "available"
            if model["id"] == "small-1b":
                model["voices"] = ["tara"]
        route.fulfill(json={**offer, "default": "medium-3b"})

    def choose(size: str) -> None:
        page.locator("#model .picker").click()
        page.locator(".option", has_text=size).click()

    page = open_page(f"{server_url}/#voice=leo", answers={"**/api/models": two_sizes})
    expect(page.locator("#speaker")).to_contain_text("leo")
    page.locator("#language-fr").click()
    pierre = page.locator("#voices .voice", has_text="pierre")
    expect(pierre).to_contain_text("Its model is not here")
    expect(page.get_by_role("radio", name="pierre")).to_be_disabled()
    page.locator("#language-de").click()
    expect(page.get_by_role("radio", name="jana")).to_be_enabled()
    assert violations(page) == []
    choose("1B")
    expect(page.locator("#toasts")).to_contain_text(
        "Orpheus 1B does not know the voice leo; tara speaks now."
    )
    expect(page.locator("#voice-languages [role=tab]")).to_have_count(1)
    expect(page.locator("#voices .voice")).to_have_count(1)

    choose("3B")
    in_chinese(page)
    page.locator("#language-fr").click()
    expect(pierre).to_contain_text("其模型不在此处")
    page.locator("#language-en").click()
    page.locator("#voices").get_by_text("leo", exact=True).click()
    choose("1B")
    expect(page.locator("#toasts")).to_contain_text("Orpheus 1B 没有 leo 这个声音；现在由 tara 来说。")


# --- what is told is so ------------------------------------------------------------------------------------------


def test_what_the_preview_ignores_looks_so(page: Page) -> None:
    expect(page.get_by_role("spinbutton", name="Speed")).to_be_enabled()
    for name in ("Temperature", "Top P", "Repetition penalty", "Max tokens", "Seed"):
        expect(page.get_by_role("spinbutton", name=name)).to_be_disabled()
    expect(page.locator("#tags-note")).to_be_hidden()
    box(page).fill("Well, <laugh> then.")
    expect(page.locator("#tags-note")).to_contain_text("does not act emotion tags")
    in_chinese(page)
    expect(page.locator("#tags-note")).to_contain_text("不会演绎情感标签")
    expect(page.locator("#tuning-note")).to_contain_text("预览只能调整语速")


def test_a_notice_goes_when_its_cause_goes_and_a_proxy_that_does_not_reach_the_server_gets_words(
    open_page: Callable[..., Page], server_url: str
) -> None:
    page = open_page(server_url, forgive="400|502")
    alert = page.get_by_role("alert")
    box(page).fill("\x85")  # a space to the server alone
    speak_button(page).click()
    expect(alert).to_contain_text("nothing to speak")
    box(page).fill("Other words.")
    expect(alert).to_be_empty()
    page.route("**/api/generate", lambda route: route.fulfill(status=502, body="<html>Bad Gateway</html>"))
    speak_button(page).click()
    expect(alert).to_contain_text("A proxy on the way")
    in_chinese(page)  # what stands there is said anew
    expect(alert).to_contain_text("途中的代理")


def test_less_than_a_second_has_a_time_and_without_a_gpu_nothing_is_offered_to_be_released(
    page: Page,
) -> None:
    speak(page, "Yes.")
    expect(kept(page)).to_contain_text(re.compile(r"tara · 0\.\d s"))
    expect(page.locator("#total")).to_have_text(re.compile(r"0\.\d s"))
    panel = page.get_by_role("region", name="GPU")
    expect(panel).to_contain_text("Ready")
    expect(panel).not_to_contain_text("Leaves in")
    expect(panel.locator("[data-release]")).to_have_count(0)
    in_chinese(page)
    expect(kept(page)).to_contain_text(re.compile(r"tara · 0\.\d 秒"))


def test_a_models_file_is_offered_with_its_size_seen_coming_and_its_speed_is_told(
    open_page: Callable[..., Page], tmp_path: Path, tiny_gguf: Path
) -> None:
    mirror = load_catalog(None).models["medium-3b"].gguf[0]

    def told(route: Any) -> None:  # what a slow machine says once it has spoken
        status = route.fetch().json()
        slow = {
            "id": "medium-3b",
            "state": "ready",
            "leases": 0,
            "engine": "llama.cpp, Q4_K_M, CPU, 0.5 × real time",
            "real_time_factor": 2.0,
            "advice": "It will not keep up.",
        }
        route.fulfill(json={**status, "models": [slow]})

    with Hub({mirror: {"a-Q4_K_M.gguf": tiny_gguf.read_bytes()}}) as hub:
        hub.held = threading.Event()
        with serving(
            tmp_path, environ(ORPHEUS_MODEL="auto", CUDA_VISIBLE_DEVICES="", **at(hub, tmp_path))
        ) as server:
            page = open_page(server.url, answers={"**/api/status": told}, forgive="ERR_FAILED|502")
            pull = page.locator("#gpu .pull")
            pull.get_by_role("button", name="Download Orpheus 3B").click()
            expect(page.get_by_role("dialog")).to_contain_text(
                re.compile(rf"{mirror}.* is [\d.]+ GiB; .* free")
            )
            assert violations(page) == []
            page.locator("#confirm-yes").click()
            expect(pull.locator("progress")).to_be_visible()
            assert violations(page) == []
            pull.get_by_role("button", name="Break off").click()
            expect(pull).to_contain_text(f"The download of {mirror}:q4_k_m was broken off.")
            in_chinese(page)
            expect(pull).to_contain_text("的下载已中断")
            pull.get_by_role("button", name="下载 Orpheus 3B").click()
            expect(page.get_by_role("dialog")).to_contain_text("大小为")
            page.locator("#confirm-yes").click()
            expect(pull.get_by_role("button", name="中断")).to_be_visible()
            assert faults(page) == []
            hub.held.set()
            expect(pull).to_contain_text("已下载")
            expect(pull.get_by_role("button")).to_have_count(0)  # it can speak here now
            page.route("**/api/events", lambda route: route.abort())  # they tell the true status, too
            page.route("**/api/generate", lambda route: route.fulfill(status=502))
            page.reload()
            box(page).fill("Yes.")
            speak_button(page).click()  # after which the status is asked for
            loaded = page.locator("#gpu .loaded")
            for words in ("CPU · 0.5 × 实时", "跟不上"):
                expect(loaded).to_contain_text(words)
            page.locator("#language").click()
            for words in ("CPU · 0.5 × real time", "not keep up"):
                expect(loaded).to_contain_text(words)
            assert violations(page) == []
            page.goto("about:blank")


def at(hub: Hub, folder: Path) -> dict[str, str]:
    """Settings with which models come from there."""
    return {
        "HF_ENDPOINT": hub.url,
        "HF_HUB_CACHE": str(folder / "hub"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_OFFLINE": "0",
    }


# --- every reader ------------------------------------------------------------------------------------------------


def test_a_text_that_runs_from_right_to_left_is_shown_so(page: Page) -> None:
    speak(page, ARABIC)
    expect(kept(page)).to_have_count(1)
    for place in ("#text", "#mirror", "#history .kept-text"):
        node = page.locator(place)
        assert node.get_attribute("dir") == "auto"
    for place in ("#text", "#history .kept-text"):
        assert page.locator(place).evaluate("node => getComputedStyle(node).direction") == "rtl"


OUT_OF_REACH = """() => {
  const room = document.querySelector("dialog[open], #model-panel:not([hidden])") ?? document.documentElement;
  const shown = (what) => [...room.querySelectorAll(what)].filter((node) => node.checkVisibility());
  const meant = "textarea, pre, .unseen, #examples, #tags, [role=tablist]";
  const style = (node) => getComputedStyle(node);
  const scrollable = (node) => node.matches("html, h2, h3") || !["visible", "clip"].includes(style(node).overflowX);
  const sideways = ({ clientWidth, scrollWidth }) => clientWidth > 0 && scrollWidth > clientWidth + 1;
  const cut = (node) => sideways(node) && scrollable(node) && style(node).textOverflow !== "ellipsis";
  const scrolls = [room, ...shown("*")].filter((node) => cut(node) && !node.closest(meant));

  const uncovered = (node) => {
    node.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
    const { left, right, top, bottom } = node.getBoundingClientRect();
    const its = (there) => node.contains(there) || there?.closest("label")?.contains(node);
    const whole = [left + 2, right - 2].every((x) => its(document.elementFromPoint(x, (top + bottom) / 2)));
    return whole && left >= 0 && right <= innerWidth;
  };
  const used = shown("h2, h3, a, button, input:not(.unseen), .option, select, textarea, summary, [tabindex='0']");
  const covered = used.filter((node) => !node.matches(".skip, h2.unseen") && !uncovered(node));
  const told = (what, nodes) => nodes.map((node) => [what, node.cloneNode().outerHTML.slice(0, 120)]);
  return [...told("too wide", scrolls), ...told("covered", covered)];
}"""
"""What is wider than its place and not meant to be, and what cannot be brought into view whole, nothing over it."""


def shown_in(viewport: tuple[int, int], page: Page) -> bool:
    """Whether the menu of models is in view with nothing over it, and nothing is wider than the page."""
    width, height = viewport
    shown = page.locator("#model-panel").bounding_box()
    wide = page.evaluate("document.documentElement.scrollWidth")
    down, right = shown["y"] + shown["height"], shown["x"] + shown["width"]
    above = "([x, y]) => document.getElementById('model-panel').contains(document.elementFromPoint(x, y))"
    covered = not page.evaluate(above, [right - 30, down - 4])
    return (
        wide <= width
        and min(shown["x"], shown["y"]) >= 0
        and down <= height
        and right <= width
        and not covered
    )


def test_the_model_menu_is_in_view_with_what_works_first_and_the_rest_says_what_to_do(page: Page) -> None:
    for width, height in ((1440, 900), (360, 740), (320, 225)):
        page.set_viewport_size({"width": width, "height": height})
        page.get_by_role("button", name=re.compile("^Model")).click()
        expect(page.locator(".option").first).to_contain_text("Preview")
        assert shown_in((width, height), page)
        page.keyboard.press("Escape")
    page.get_by_role("button", name=re.compile("^Model")).click()
    soon = page.locator(".option", has_text="Orpheus 1B")
    expect(soon).to_contain_text("Coming soon")
    expect(soon).to_contain_text("ORPHEUS_MODEL_SMALL_1B")
    expect(soon.locator("input")).to_be_disabled()


def test_at_fourfold_zoom_all_can_be_reached_and_nothing_scrolls_sideways(
    open_page: Callable[..., Page], server_url: str
) -> None:
    page = open_page(server_url, viewport={"width": 320, "height": 225}, reduced_motion="reduce")
    out_of_reach = {}

    def look(state: str) -> None:
        deadline = time.monotonic() + SETTLED_SECONDS
        while (found := page.evaluate(OUT_OF_REACH)) and time.monotonic() < deadline:
            page.wait_for_timeout(50)
        if found:
            out_of_reach[state] = found

    look("at first")
    box(page).fill(
        "Anna: Hello <laugh> there.\nBen: Das ist ein kleiner Text, und er ist nicht in der Sprache."
    )
    page.locator("#explain").click()
    expect(page.locator("#plan-segments > li").first).to_be_visible()
    speak_button(page).click()
    expect(kept(page)).to_have_count(1)
    page.keyboard.press("Escape")
    for tab in ("#language-ko", "#developers [role=tab] >> nth=-1"):
        page.locator(tab).click()
    look("a dialogue, its plan, the history, other voices, another program")
    page.locator("#model .picker").click()
    look("the model menu")
    page.keyboard.press("Escape")
    kept(page).locator("[data-does=name]").click()
    look("naming a take")
    page.keyboard.press("Escape")
    kept(page).locator("[data-does=delete]").click()
    look("deleted, with undo")
    page.locator("#own-voices").click()
    expect(page.locator("#own")).to_be_visible()
    look("voices of one's own")
    page.keyboard.press("Escape")
    page.evaluate("document.getElementById('access').showModal()")
    look("the question for a key")
    assert out_of_reach == {}


def test_a_phone_shows_it_all_voices_before_the_player_fields_that_do_not_zoom_and_tabs_on_one_line(
    open_page: Callable[..., Page], server_url: str
) -> None:
    page = open_page(server_url, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    box(page).fill(ENGLISH)
    expect(speak_button(page)).to_be_in_viewport()
    speak_button(page).tap()
    wait_until_heard(page)
    top = "node => node.getBoundingClientRect().top"
    assert page.locator("#voices").evaluate(top) < page.locator("#wave").evaluate(top)
    fields = "select, textarea, input:not([type=radio], [type=checkbox], [type=range], [type=file])"
    sizes = f"[...document.querySelectorAll('{fields}')].map(f => parseFloat(getComputedStyle(f).fontSize))"
    assert min(page.evaluate(sizes)) >= 16
    # All at the same moment: what stands above them may still be growing.
    tops = f"tabs => tabs.map({top}).map(Math.round)"
    assert len(set(page.locator("#developers [role=tab]").evaluate_all(tops))) == 1
    expect(page.locator("#speaker")).to_be_in_viewport()
    expect(page.locator("#stats")).to_contain_text("Real-time factor")
    in_chinese(page)
    speak_button(page).tap()
    expect(page.locator("#phase")).to_contain_text("停在")
    page.evaluate(
        """() => {
          document.getElementById("phase").textContent = "停在“守灯塔的老人已经”之后";
          document.querySelector("#stats div:nth-child(3)")?.remove();  // a load's time leaves it a line of its own
        }"""
    )
    for width in range(340, 460, 10):
        page.set_viewport_size({"width": width, "height": 740})
        assert page.locator("#phase").bounding_box()["height"] < 50, "a column of characters"
