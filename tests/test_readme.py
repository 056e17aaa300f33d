"""What the documentation shows is run: the examples of the README in both languages, and those of the Python page."""

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks.house import PACKAGES
from orpheus_compat.schemas import CreateSpeechRequest
from orpheus_openai import errors
from orpheus_openai.catalog import load_catalog
from orpheus_openai.settings import Settings, variable_name
from tests.support.environment import environ

ROOT = Path(__file__).parents[1]
READMES = ["README.md", "README.zh-CN.md"]


def blocks(name, language):
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def run_python(code, folder):
    settings = environ(PYTHONUTF8="1")
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=settings, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


@pytest.mark.parametrize("readme", READMES)
def test_the_sdk_example_speaks(readme, server_url, tmp_path):
    pytest.importorskip("openai")
    (code,) = blocks(readme, "python")
    run_python(code.replace("http://localhost:8899", server_url), tmp_path)
    assert (tmp_path / "hello.mp3").stat().st_size > 5_000


def test_the_sdk_example_for_programs_speaks(server_url, tmp_path):
    pytest.importorskip("openai")
    code = next(block for block in blocks("docs/integrations.md", "python") if "import OpenAI" in block)
    run_python(code.replace("http://localhost:8899", server_url), tmp_path)
    assert (tmp_path / "hello.mp3").stat().st_size > 5_000


def test_the_curl_example_speaks(server_url, tmp_path):
    (command,) = [block for block in blocks("README.md", "bash") if block.startswith("curl ")]
    command = command.replace("http://localhost:8899", server_url)
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True, timeout=60)
    assert (tmp_path / "fox.mp3").stat().st_size > 5_000


def test_the_command_line_examples_run(tmp_path):
    (block,) = [block for block in blocks("README.md", "bash") if "orpheus-openai speak" in block]
    program = shutil.which("orpheus-openai", path=Path(sys.executable).parent)
    for line in block.strip().splitlines():
        _, *arguments = shlex.split(line, comments=True)
        settings = environ(PORT="0")
        done = subprocess.run(
            [program, *arguments], cwd=tmp_path, env=settings, capture_output=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr.decode()
    assert (tmp_path / "tickets.wav").stat().st_size > 50_000


@pytest.mark.parametrize("which", [0, 1])
def test_the_python_pages_examples_run(which, tmp_path):
    # The preview stands in for a checkpoint of gigabytes; the same class speaks Orpheus in test_orpheus.
    code = blocks("docs/python.md", "python")[which].replace(
        'OrpheusModel("medium-3b")', 'OrpheusModel("preview")'
    )
    output = run_python(code, tmp_path)
    assert (tmp_path / "hello.wav").stat().st_size > 50_000 if which == 0 else "bytes" in output


@pytest.mark.parametrize("readme", READMES)
def test_who_has_windows_is_sent_to_wsl2_on_the_first_screen(readme):
    first_screen = (ROOT / readme).read_text(encoding="utf-8").partition("![")[0]
    assert "WSL2" in first_screen


def test_a_checkout_by_windows_git_keeps_every_text_as_shells_read_it():
    told = subprocess.run(
        ["git", "ls-files", "--eol"], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    )
    files = [line.split(maxsplit=2) for line in told.stdout.splitlines()]
    assert len(files) > 100
    for index, _, rest in files:
        attributes, name = rest.split("\t")
        kept = "eol=lf" in attributes or name.endswith((".png", ".woff2"))
        assert (kept, index in ("i/lf", "i/none", "i/-text")) == (True, True), name


def test_both_languages_say_the_same():
    english, chinese = ((ROOT / name).read_text(encoding="utf-8") for name in READMES)

    def skeleton(text):
        headings = re.findall(r"^(#+) ", text, flags=re.MULTILINE)
        links = {link.replace("-zh.png", "-en.png") for link in re.findall(r"\]\(([^)#]+)", text)}
        return headings, links - set(READMES)

    def commands(name):
        return [shlex.split(block, comments=True) for block in blocks(name, "bash")]

    assert skeleton(english) == skeleton(chinese)
    assert commands("README.md") == commands("README.zh-CN.md")


def test_both_count_the_voices_and_languages_that_there_are():
    catalog = load_catalog()
    assert len(catalog.languages) == 8
    counted = {"README.md": "eight languages and {} voices", "README.zh-CN.md": "八种语言、{} 个声音"}
    for name, words in counted.items():
        assert words.format(len(catalog.voices)) in (ROOT / name).read_text(encoding="utf-8")


def test_the_page_of_openais_api_names_every_field_and_every_error():
    page = (ROOT / "compat/README.md").read_text(encoding="utf-8")
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and hasattr(kind, "code")]
    names = {*CreateSpeechRequest.__struct_fields__, *(kind.code for kind in kinds if kind.code)}
    assert {name for name in names if f"`{name}`" not in page} == set()


def test_chinese_is_punctuated_as_chinese_is():
    text = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")
    prose = re.sub(r"(?<!`)`[^`\n]+`|\]\([^)]*\)", "", text)
    han = "[\u4e00-\u9fff]"
    assert re.findall(rf".*(?:{han}[,;:!?()]|[,;:!?()]{han}|{han}\.).*", prose) == []


PAGES = [
    str(path.relative_to(ROOT)) for folder in (".", "*", "deploy/*") for path in ROOT.glob(f"{folder}/*.md")
]


@pytest.mark.parametrize("page", sorted({page for page in PAGES if not page.startswith(".")}))
def test_links_inside_the_repository_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if not link.startswith(("http://", "https://", "#")):
            assert ((ROOT / page).parent / link.split("#")[0]).exists(), link


def modules_named(text):
    """What stands between backticks and is a way below one of our folders: `tests/http/test_keys.py`, `text/pieces`."""
    for way in set(re.findall(r"`([\w.-]+(?:/[\w.-]+)+)`", text)):
        homes = [home for home in (ROOT, ROOT / "orpheus_openai") if (home / way.split("/")[0]).is_dir()]
        if homes and "NAME" not in way:
            yield way, homes[0]


@pytest.mark.parametrize("page", sorted({page for page in PAGES if not page.startswith((".", "CHANGELOG"))}))
def test_files_that_a_page_names_are_there(page):
    for way, home in modules_named((ROOT / page).read_text(encoding="utf-8")):
        module, _, name = way.rpartition(".")
        there = (home / way).exists() or (home / f"{way}.py").exists()
        assert there or re.search(rf"\b{name}\b", (home / f"{module}.py").read_text(encoding="utf-8")), way


def test_settings_headers_and_metrics_that_a_page_names_are_there():
    files = [
        ROOT / "setup.sh",
        ROOT / "start.sh",
        ROOT / "docker-compose.yml",
        *(ROOT / "deploy").rglob("*.yaml"),
    ]
    files += [file for package in PACKAGES for file in (ROOT / package).rglob("*.py")]
    files += (ROOT / "benchmarks").glob("*.py")
    code = "".join(file.read_text(encoding="utf-8") for file in files)
    known = {variable_name(field.name) for field in msgspec.structs.fields(Settings)}
    names = re.compile(
        r"\bORPHEUS_[A-Z0-9_]*[A-Z0-9]|`(x-orpheus-[a-z-]+)|\borpheus_[a-z_]+_(?:total|seconds|bytes|active|info)\b"
    )
    for page in PAGES:
        named = {found[1] or found[0] for found in names.finditer((ROOT / page).read_text(encoding="utf-8"))}
        # A counter's `_total` is Prometheus' own.
        unknown = {name for name in named - known if name.removesuffix("_total") not in code}
        assert {name for name in unknown if not name.startswith("ORPHEUS_MODEL_")} == set(), page
