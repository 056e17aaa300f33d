"""A release: the change log is cut, and what is built holds everything and runs outside the checkout."""

import email
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from benchmarks.house import PACKAGES
from release.__main__ import main as release_main
from release.built import build, check_commands, check_server, extras
from release.changelog import ChangelogError, cut

ROOT = Path(__file__).parents[1]


def test_what_is_unreleased_becomes_a_version_with_a_date():
    text = "# Changes\n\n## Unreleased\n\n- New.\n\n## 0.1.0 – 2026-01-02\n\n- Old.\n"
    assert cut(text, "0.2.0", "2026-03-04") == (
        "# Changes\n\n## Unreleased\n\n## 0.2.0 – 2026-03-04\n\n- New.\n\n## 0.1.0 – 2026-01-02\n\n- Old.\n"
    )


def test_a_version_that_is_to_come_takes_in_what_is_unreleased():
    text = "# Changes\n\n## Unreleased\n\n- Newer.\n\n## 0.2.0 (coming)\n\n- New.\n\n## 0.1.0 – 2026-01-02\n\n- Old.\n"
    assert cut(text, "0.2.0", "2026-03-04") == (
        "# Changes\n\n## Unreleased\n\n## 0.2.0 – 2026-03-04\n\n- New.\n- Newer.\n\n## 0.1.0 – 2026-01-02\n\n- Old.\n"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("# Changes\n", "no section"),
        ("# Changes\n\n## Unreleased\n\n## 0.1.0 – 2026-01-02\n\n- Old.\n", "nothing is unreleased"),
        ("# Changes\n\n## Unreleased\n\n- New.\n\n## 0.2.0 – 2026-01-02\n\n- Old.\n", "released already"),
    ],
)
def test_a_change_log_that_tells_of_no_release_is_refused(text, words):
    with pytest.raises(ChangelogError, match=words):
        cut(text, "0.2.0", "2026-03-04")


def test_the_change_log_can_be_cut():
    assert "## 9.9.9 – 2026-03-04" in cut(
        (ROOT / "CHANGELOG.md")
        .read_text(encoding="utf-8")
        .replace("## Unreleased\n", "## Unreleased\n\n- New.\n"),
        "9.9.9",
        "2026-03-04",
    )


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A checkout with a change log and a version, whose builds are not made."""
    files = {"ROOT": tmp_path, "CHANGELOG": tmp_path / "CHANGELOG.md", "INIT": tmp_path / "__init__.py"}
    for name, path in files.items():
        monkeypatch.setattr(f"release.__main__.{name}", path)
    built = (tmp_path / "dist" / "x.tar.gz", tmp_path / "dist" / "x.whl")
    monkeypatch.setattr("release.__main__._built", lambda *, heavy: built)
    for variable in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{variable}_NAME", "test")
        monkeypatch.setenv(f"GIT_{variable}_EMAIL", "test@example.com")
    files["CHANGELOG"].write_text("# Changes\n\n## Unreleased\n\n- New.\n")
    files["INIT"].write_text('__version__ = "0.1.0"\n')
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "start"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True, timeout=60)
    return tmp_path


def git(folder, *arguments):
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_a_release_is_committed_tagged_and_tells_how_to_publish_it(repository, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["release", "0.2.0"])
    release_main()
    assert "0.2.0" in (repository / "__init__.py").read_text()
    assert "## 0.2.0 – " in (repository / "CHANGELOG.md").read_text()
    assert git(repository, "status", "--porcelain") == ""
    assert git(repository, "tag", "--points-at", "HEAD").split() == ["v0.2.0"]
    told = capsys.readouterr().out
    assert "-t orpheus-openai:0.2.0-gpu -t orpheus-openai:gpu" in told
    assert "uv publish dist/x.tar.gz dist/x.whl" in told


def test_a_release_that_does_not_run_leaves_all_as_it_was(repository, monkeypatch):
    def broken(*, heavy):
        raise AssertionError("it does not start")

    monkeypatch.setattr("release.__main__._built", broken)
    monkeypatch.setattr("sys.argv", ["release", "0.2.0"])
    with pytest.raises(SystemExit, match="it does not start"):
        release_main()
    assert git(repository, "status", "--porcelain") == ""
    assert git(repository, "tag") == ""


@pytest.mark.parametrize("version", ["0.2", "v0.2.0", "", "0.2.0; rm"])
def test_what_is_no_version_is_not_released(repository, monkeypatch, version):
    monkeypatch.setattr("sys.argv", ["release", version])
    with pytest.raises(SystemExit, match="is not a version"):
        release_main()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("dist"))


def test_the_wheel_holds_all_that_it_shows_and_says_under_which_licences(built):
    with zipfile.ZipFile(built[1]) as wheel:
        names = wheel.namelist()
        (metadata,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        told = email.message_from_bytes(wheel.read(metadata))
    for package, folder in ((Path(each).name, Path(each).parent) for each in PACKAGES):
        here = {
            str(path.relative_to(ROOT / folder))
            for path in (ROOT / folder / package).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        assert here == {name for name in names if name.startswith(f"{package}/")}
    assert told["License-Expression"] == "Apache-2.0 AND BSD-3-Clause AND MIT AND OFL-1.1"
    assert {"LICENSE", "THIRD-PARTY.md", "ui/orpheus_ui/static/fonts/LICENSE"} <= set(
        told.get_all("License-File")
    )
    page = str(told.get_payload())
    links = re.findall(r"\]\(([^)]+)\)", page)
    assert links
    assert [link for link in links if not link.startswith("https://")] == []


def test_the_source_distribution_is_a_checkout_that_starts(built):
    with tarfile.open(built[0]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    for name in (
        "start.sh",
        "setup.sh",
        "constraints/cpu.txt",
        "Dockerfile",
        "LICENSES/GPL-3.0.txt",
        "CHANGELOG.md",
    ):
        assert name in names
    assert not [name for name in names if name.startswith((".venv", "tests", "outputs"))]


def test_the_wheel_runs_outside_the_checkout(built, tmp_path):
    """Its requirements are those that are installed here; `./release.sh` installs them afresh, with each extra."""
    pytest.importorskip("espeakng_loader")
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True, timeout=60)
    (site,) = venv.glob("lib/python3*/site-packages")
    # What a .pth file adds is searched for packages, but not for more .pth files: the checkout is not there.
    (site / "requirements.pth").write_text(f"{Path(pytest.__file__).parents[1]}\n")
    pip = [Path(sys.executable).parent / "pip", "--python", venv / "bin" / "python", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", "--no-index", "--ignore-installed", built[1]], check=True, timeout=100)
    program = [str(venv / "bin" / "orpheus-openai")]
    where = subprocess.run(
        [venv / "bin" / "python", "-c", "import orpheus_openai, orpheus_mcp; print(orpheus_openai.__file__)"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert where.stdout.startswith(str(site))
    check_commands(program, tmp_path)
    check_server(program, tmp_path)


def test_every_extra_is_tried():
    assert set(extras()) >= {"preview", "orpheus", "gguf", "gpu", "redis", "otel"}
    assert "test" not in extras()
