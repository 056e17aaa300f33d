"""The page in Chromium: what listens to its sound, and what every test of it does."""

import shutil
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx
import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",  # a microphone that hears a beep a second
    "--use-fake-ui-for-media-stream",  # and may be used
]
IN_CHROMIUM = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium; on Debian: apt-get install chromium"),
    pytest.mark.timeout(120),
]
"""The marks of a module of tests in Chromium."""

PATIENCE = 30.0
"""Seconds for what happens at once on an idle machine."""

ENGLISH = "The sea was calm. A small boat came out of the fog. Nobody had expected it."
LONG = "The sea was calm, and a small boat came out of the fog. " * 800

TAP = """
(() => {
  const connect = AudioNode.prototype.connect;
  const taps = new WeakMap();
  const tap = (window.heard = { peak: 0, first: null, clicked: null, sounds: () => {
    let now = 0;
    for (const analyser of tap.analysers) {
      const samples = new Float32Array(analyser.fftSize);
      analyser.getFloatTimeDomainData(samples);
      for (const sample of samples) now = Math.max(now, Math.abs(sample));
    }
    return now;
  }, analysers: [] });
  AudioNode.prototype.connect = function (to, ...more) {
    if (to instanceof AudioDestinationNode) {
      if (!taps.has(this.context)) {
        const analyser = this.context.createAnalyser();
        taps.set(this.context, analyser);
        tap.analysers.push(analyser);
        connect.call(analyser, to);
      }
      return connect.call(this, taps.get(this.context));
    }
    return connect.call(this, to, ...more);
  };
  tap.pieces = [];
  const start = AudioBufferSourceNode.prototype.start;
  AudioBufferSourceNode.prototype.start = function (when) {
    tap.pieces.push({ when, until: when + this.buffer.duration, length: this.buffer.length });
    return start.call(this, when);
  };
  addEventListener("click", () => (tap.clicked = performance.now()), true);
  setInterval(() => {
    const now = tap.sounds();
    if (now > 0.003 && tap.first === null) tap.first = performance.now();
    tap.peak = Math.max(tap.peak, now);
  }, 20);
})();
"""
"""Listens where the sound leaves for the loudspeaker."""


AXE = """() => axe.run({ resultTypes: ["violations"], iframes: false, preload: false })
    .then(({ violations }) => violations)"""
"""All rules; the page has no frames, and no styles from elsewhere that would have to be fetched."""


def in_chinese(page: "Page") -> None:
    """Switch the page's language, in the state it is in."""
    page.locator("#language").click()
    until(page, "document.documentElement.lang === 'zh-Hans'")


def note_phases(page: "Page", words: str) -> None:
    """Let the page gather in `phases` what it says of a speech, and change its language once it has said `words`."""
    page.evaluate(
        """(words) => {
          const phase = document.getElementById("phase");
          window.phases = [];
          const told = () => {
            phases.push(phase.textContent);
            if (phase.textContent.includes(words)) document.getElementById("language").click();
          };
          new MutationObserver(told).observe(phase, { childList: true });
        }""",
        words,
    )


def speak_button(page: "Page") -> Any:
    return page.locator("#speak")


def speak(page: "Page", text: str) -> None:
    page.get_by_role("textbox", name="What should be said?").fill(text)
    speak_button(page).click()


def wait_until_heard(page: "Page", peak: float = 0.02) -> None:
    until(page, f"heard.peak > {peak}")


def wait_for_silence(page: "Page") -> None:
    until(page, "heard.sounds() < 0.001")


def until(page: "Page", expression: str, seconds: float = PATIENCE) -> None:
    """Playwright's own way would need eval in the page, which its policy refuses; asking again from here costs more."""
    came = page.evaluate(
        f"""async () => {{
          const deadline = performance.now() + {1_000 * seconds};
          while (!({expression})) {{
            if (performance.now() > deadline) return false;
            await new Promise((resolve) => setTimeout(resolve, 10));
          }}
          return true;
        }}"""
    )
    assert came, expression


def active_speeches(url: str) -> int:
    return httpx.get(f"{url}/api/status").json()["active_speeches"]


def eventually(holds: Callable[[], bool], seconds: float = PATIENCE) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def violations(page: "Page") -> list[str]:
    axe = pytest.importorskip("axe_playwright_python.base")
    # A colour that is on its way to another one is judged when it has arrived.
    page.evaluate(
        """() => Promise.all(document.getAnimations()
            .filter((each) => each.effect.getComputedTiming().iterations !== Infinity)
            .map((each) => each.finished.catch(() => null)))"""
    )
    if not page.evaluate("'axe' in window"):  # half of what it costs is to read it
        page.evaluate(axe.AXE_SCRIPT)
    found = page.evaluate(AXE)
    return [f"{v['id']}: {[n['html'][:120] for n in v['nodes'][:3]]}" for v in found]


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


def english_left(page: "Page") -> list[str]:
    """What English is left in a Chinese page."""
    chinese = page.locator("html").get_attribute("lang") == "zh-Hans"
    return page.evaluate(ENGLISH_LEFT) if chinese else []


def faults(page: "Page") -> list[str]:
    """What axe finds in the state that the page is in, and what English is left in a Chinese page."""
    return violations(page) + english_left(page)
