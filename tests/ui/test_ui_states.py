"""The page in a real Chromium: what it shows is so, whoever reads it and however."""

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.serving import serving
from orpheus_openai.catalog import load_catalog
from tests.support.chromium import (
    ENGLISH,
    IN_CHROMIUM,
    in_chinese,
    speak,
    speak_button,
    violations,
    wait_until_heard,
)
from tests.support.environment import environ
from tests.support.hub import Hub
from tests.support.ui_server import page_server
from tests.ui.test_ui_axe import english_left

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import Locator, Page, expect

pytestmark = IN_CHROMIUM

GERMAN = "Das ist ein kleiner Text, und er ist nicht in der Sprache, die sie spricht."
ARABIC = "مرحبا بالعالم، هذا نص قصير."


def box(page: Page) -> Locator:
    return page.locator("#text")


def kept(page: Page) -> Locator:
    return page.locator("#history .kept")


# --- who speaks --------------------------------------------------------------------------------------------------


def test_who_speaks_is_in_sight_with_another_languages_voices_open(page: Page) -> None:
    page.get_by_role("tab", name="French").click()
    speaker = page.get_by_role("button", name="Voice: tara, English")
    expect(speaker).to_be_in_viewport()
    speaker.click()
    expect(page.get_by_role("radio", name="tara")).to_be_focused()
    expect(page.get_by_role("tab", name="English")).to_have_attribute("aria-selected", "true")


@pytest.mark.parametrize(
    ("locale", "hint", "use"),
    [
        ("en-US", "This looks like German; tara speaks English.", "Use jana"),
        ("zh-CN", "文本看起来是德语；长乐 说的是中文。", "改用 jana"),
    ],
)
def test_a_text_in_another_language_than_the_voices_gets_a_hint(
    open_page: Callable[..., Page], server_url: str, locale: str, hint: str, use: str
) -> None:
    page = open_page(server_url, locale=locale)
    box(page).fill(GERMAN)
    expect(page.locator("#tongue-note")).to_contain_text(hint)
    assert violations(page) == []
    page.get_by_role("button", name=use).click()
    expect(page.locator("#tongue-note")).to_be_hidden()
    expect(page.locator("#speaker")).to_contain_text("jana")


@pytest.mark.parametrize(
    ("locale", "changed", "off"),
    [
        ("en-US", "Orpheus 1B does not know the voice leo; tara speaks now.", "Its model is not here"),
        ("zh-CN", "Orpheus 1B 没有 leo 这个声音；现在由 tara 来说。", "其模型不在此处"),
    ],
)
def test_a_voice_belongs_to_the_models_that_know_it(
    open_page: Callable[..., Page], server_url: str, locale: str, changed: str, off: str
) -> None:
    def two_sizes(route: Any) -> None:
        offer = route.fetch().json()
        for model in offer["models"]:
            if model["id"] in ("medium-3b", "small-1b", "medium-3b-de"):
                model["status"] = "available"
            if model["id"] == "small-1b":
                model["voices"] = ["tara"]
        route.fulfill(json={**offer, "default": "medium-3b"})

    page = open_page(f"{server_url}/#voice=leo", locale=locale, answers={"**/api/models": two_sizes})
    expect(page.locator("#speaker")).to_contain_text("leo")
    page.locator("#language-fr").click()
    expect(page.locator("#voices .voice", has_text="pierre")).to_contain_text(off)
    expect(page.get_by_role("radio", name="pierre")).to_be_disabled()
    page.locator("#language-de").click()
    expect(page.get_by_role("radio", name="jana")).to_be_enabled()
    assert violations(page) == []
    page.locator("#model .picker").click()
    page.locator(".option", has_text="1B").click()
    expect(page.locator("#toasts")).to_contain_text(changed)
    expect(page.locator("#voice-languages [role=tab]")).to_have_count(1)
    expect(page.locator("#voices .voice")).to_have_count(1)


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


def test_a_notice_goes_when_its_cause_goes(open_page: Callable[..., Page], server_url: str) -> None:
    page = open_page(server_url, forgive="400")
    box(page).fill("\x85")  # a space to the server alone
    speak_button(page).click()
    expect(page.get_by_role("alert")).to_contain_text("nothing to speak")
    box(page).fill("Other words.")
    expect(page.get_by_role("alert")).to_be_empty()


def test_less_than_a_second_has_a_time(page: Page) -> None:
    speak(page, "Yes.")
    expect(kept(page)).to_contain_text(re.compile(r"tara · 0\.\d s"))
    expect(page.locator("#total")).to_have_text(re.compile(r"0\.\d s"))
    in_chinese(page)
    expect(kept(page)).to_contain_text(re.compile(r"tara · 0\.\d 秒"))


def test_without_a_gpu_nothing_is_offered_to_be_released(page: Page) -> None:
    speak(page, ENGLISH)
    panel = page.get_by_role("region", name="GPU")
    expect(panel).to_contain_text("Ready")
    expect(panel).not_to_contain_text("Leaves in")
    expect(panel.locator("[data-release]")).to_have_count(0)


@pytest.mark.parametrize(("locale", "said"), [("en-US", "A proxy on the way"), ("zh-CN", "途中的代理")])
def test_a_proxy_that_does_not_reach_the_server_gets_words(
    open_page: Callable[..., Page], server_url: str, locale: str, said: str
) -> None:
    page = open_page(server_url, locale=locale, forgive="502")
    page.route("**/api/generate", lambda route: route.fulfill(status=502, body="<html>Bad Gateway</html>"))
    box(page).fill(ENGLISH)
    speak_button(page).click()
    expect(page.get_by_role("alert")).to_contain_text(said)


def test_without_a_key_the_page_goes_on_saying_so(open_page: Callable[..., Page], tmp_path: Path) -> None:
    with page_server(tmp_path, keys="right") as url:
        page = open_page(url, forgive="401")
        page.get_by_role("button", name="Not now").click()
        page.get_by_role("button", name="Close this message").click()
        expect(page.locator("#connection")).to_contain_text("No key")
        assert violations(page) == []
        page.locator("#connection").get_by_role("button", name="Enter a key").click()
        page.get_by_role("dialog").get_by_label("Key").fill("right")
        page.keyboard.press("Enter")
        expect(page.locator("#connection")).to_have_text("Connected")
        page.goto("about:blank")


def test_a_key_that_is_no_admins_sees_what_it_may_not_do(
    open_page: Callable[..., Page], tmp_path: Path, a_card: None
) -> None:
    with page_server(tmp_path, keys="anne:a:admin, bert:b") as url:
        for key, may in (("a", True), ("b", False)):
            page = open_page(url, forgive="401")
            page.get_by_role("dialog").get_by_label("Key").fill(key)
            page.keyboard.press("Enter")
            expect(page.locator("#connection")).to_have_text("Connected")
            speak(page, ENGLISH)
            expect(kept(page)).to_have_count(1)
            panel = page.get_by_role("region", name="GPU")
            expect(panel.get_by_role("button", name="Release Preview")).to_have_count(int(may))
            if not may:
                expect(panel).to_contain_text("Only an admin's key can release it.")
                in_chinese(page)
                expect(panel).to_contain_text("只有管理员的密钥才能释放。")
            page.goto("about:blank")


def test_a_models_file_is_offered_with_its_size_seen_coming_and_its_speed_is_told(
    open_page: Callable[..., Page], tmp_path: Path, tiny_gguf: Path
) -> None:
    mirror = load_catalog(None).models["medium-3b"].gguf[0]

    def told(route: Any) -> None:  # what the measure says of a slow machine
        status = route.fetch().json()
        for model in status["models"]:
            model |= {
                "engine": "llama.cpp, Q4_K_M, CPU, 0.5 × real time",
                "real_time_factor": 2.0,
                "advice": "It will not keep up.",
            }
        route.fulfill(json=status)

    with Hub({mirror: {"a-Q4_K_M.gguf": tiny_gguf.read_bytes()}}) as hub:
        hub.held = threading.Event()
        with serving(
            tmp_path, environ(ORPHEUS_MODEL="auto", CUDA_VISIBLE_DEVICES="", **at(hub, tmp_path))
        ) as server:
            page = open_page(server.url, answers={"**/api/status": told}, forgive="ERR_FAILED")
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
            assert english_left(page) == []
            hub.held.set()
            expect(pull).to_contain_text("已下载")
            expect(pull.get_by_role("button")).to_have_count(0)  # it can speak here now
            page.route("**/api/events", lambda route: route.abort())  # they tell the true status, too
            page.reload()
            for words in (("0.5 × 实时", "跟不上"), ("CPU · 0.5 ×", "not keep up")):
                box(page).fill("Yes.")
                speak_button(page).click()  # after which the status is asked for
                for each in words:
                    expect(page.locator("#gpu .loaded")).to_contain_text(each)
                expect(kept(page).filter(has_text="Yes.").first).to_be_visible()
                page.keyboard.press("Escape")
                page.locator("#language").click()
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


@pytest.mark.parametrize("viewport", [(320, 225), (360, 740), (1440, 900)])
def test_the_model_menu_is_in_view_with_what_works_first(
    open_page: Callable[..., Page], server_url: str, viewport: tuple[int, int]
) -> None:
    width, height = viewport
    page = open_page(server_url, viewport={"width": width, "height": height})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_role("button", name=re.compile("^Model")).click()
    expect(page.locator(".option").first).to_contain_text("Preview")
    shown = page.locator("#model-panel").bounding_box()
    assert shown["y"] >= 0
    assert shown["y"] + shown["height"] <= height
    assert shown["x"] >= 0
    assert shown["x"] + shown["width"] <= width


def test_a_phone_has_the_voices_before_the_player_fields_that_do_not_zoom_and_tabs_on_one_line(
    open_page: Callable[..., Page], server_url: str
) -> None:
    page = open_page(server_url, viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    speak(page, ENGLISH)
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
