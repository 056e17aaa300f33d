"""Take the README's pictures of the page, in Chromium, from a server that runs for as long as that takes.

python -m benchmarks.screenshots [FOLDER]
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import sync_playwright

from benchmarks.serving import serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DESKTOP = {"viewport": {"width": 1360, "height": 900}, "device_scale_factor": 1.5}
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
SHOTS = {
    "desktop-dark": {**DESKTOP, "color_scheme": "dark"},
    "desktop-light": {**DESKTOP, "color_scheme": "light"},
    "phone": {**PHONE, "color_scheme": "dark"},
}
LANGUAGES = {"en": ("en-US", "tara", ["leo", "mia"]), "zh": ("zh-CN", "长乐", ["白芷"])}
"""The browser's language, the voice that speaks, and those that have spoken before."""

BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")

HEARD = 0.4
"""How far into the speech the picture is taken, as a part of the whole."""


def main(folder: Path) -> None:
    """Write one PNG for each shot and language."""
    folder.mkdir(parents=True, exist_ok=True)
    chromium = next(filter(None, map(shutil.which, BROWSERS)), None)
    with (
        tempfile.TemporaryDirectory() as scratch,
        serving(Path(scratch), {**os.environ, "ORPHEUS_MODEL": "preview"}) as server,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for shot, options in SHOTS.items():
            for language in LANGUAGES:
                path = folder / f"{shot}-{language}.png"
                _take(browser, server.url, language, options, path)
                print(path)


def _take(browser: "Browser", url: str, language: str, options: dict[str, object], path: Path) -> None:
    locale, voice, before = LANGUAGES[language]
    context = browser.new_context(locale=locale, **options)  # type: ignore[arg-type]
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector("html[data-ready]")
    page.locator(f"#language-{language}").click()
    for i, other in enumerate(before):
        _speak(page, other, example=i * 2)
        page.keyboard.press("Escape")
    _speak(page, voice, example=1)
    wave = page.locator("#wave")
    box = wave.bounding_box()
    assert box is not None  # noqa: S101  it is on the page
    page.mouse.click(box["x"] + box["width"] * HEARD, box["y"] + box["height"] / 2)
    page.mouse.move(0, 0)
    page.evaluate("scrollTo(0, 0); document.activeElement.blur()")
    page.wait_for_timeout(400)
    page.screenshot(path=path)
    context.close()


def _speak(page: "Page", voice: str, example: int) -> None:
    kept = page.locator("#history .kept").count()
    page.locator("#voices").get_by_text(voice, exact=True).click()
    page.locator("#examples button").nth(example).click()
    page.locator("#speak").click()
    page.locator("#history .kept").nth(kept).wait_for()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "docs" / "screenshots")
