"""`./release.sh VERSION`, and its parts."""

import argparse
import datetime as dt
import re
import subprocess
import sys
from pathlib import Path

from release.built import build, try_all
from release.changelog import ChangelogError, cut
from release.lowest import try_lowest

ROOT = Path(__file__).parents[1]
INIT = ROOT / "orpheus_openai" / "__init__.py"
CHANGELOG = ROOT / "CHANGELOG.md"
DIST = ROOT / "dist"
VERSION = re.compile(r"\d+\.\d+\.\d+((a|b|rc)\d+)?")
TARGETS = ("gpu", "cpu", "preview")


def main() -> None:
    """Do what the arguments say; the exit code tells whether it worked."""
    parser = argparse.ArgumentParser(prog="./release.sh", description="Make a release.")
    parser.add_argument("version", nargs="?", help="for example 0.2.0")
    parser.add_argument(
        "--try", dest="only_try", action="store_true", help="build and try what is here, no more"
    )
    parser.add_argument("--heavy", action="store_true", help="install and run the extras of gigabytes, too")
    parser.add_argument(
        "--lowest", action="store_true", help="try the lowest versions that pyproject.toml allows"
    )
    options = parser.parse_args()
    try:
        if options.lowest:
            try_lowest()
        elif options.only_try:
            _built(heavy=options.heavy)
        else:
            _release(options.version or "", heavy=options.heavy)
    except (ChangelogError, AssertionError) as error:
        sys.exit(f"release: {error}")
    except subprocess.CalledProcessError as error:
        sys.exit(f"release: {error}")


def _built(*, heavy: bool) -> tuple[Path, Path]:
    for old in DIST.glob("orpheus_openai-*"):
        old.unlink()
    sdist, wheel = build(DIST)
    try_all(sdist, wheel, heavy=heavy)
    return sdist, wheel


def _release(version: str, *, heavy: bool) -> None:
    if not VERSION.fullmatch(version):
        raise AssertionError(f"'{version}' is not a version; for example 0.2.0")
    if _git("status", "--porcelain"):
        raise AssertionError("commit or stash what has changed first")
    today = dt.datetime.now(dt.UTC).date().isoformat()
    changelog = cut(CHANGELOG.read_text(encoding="utf-8"), version, today)
    CHANGELOG.write_text(changelog, encoding="utf-8")
    source = INIT.read_text(encoding="utf-8")
    new = re.sub(r'^__version__ = ".*"$', f'__version__ = "{version}"', source, flags=re.MULTILINE)
    INIT.write_text(new, encoding="utf-8")
    try:
        sdist, wheel = _built(heavy=heavy)
    except BaseException:
        _git("checkout", "--", str(CHANGELOG), str(INIT))
        raise
    _git("commit", "--quiet", "--message", f"Version {version}", "--", str(CHANGELOG), str(INIT))
    _git("tag", "--annotate", f"v{version}", "--message", f"Version {version}")
    print(f"\n{version} is committed and tagged here. What makes it public:\n")
    print(f"  git push --follow-tags\n  uv publish {sdist.relative_to(ROOT)} {wheel.relative_to(ROOT)}")
    for target in TARGETS:
        tags = " ".join(f"-t orpheus-openai:{tag}" for tag in (f"{version}-{target}", target))
        print(f"  docker build --target {target} --label org.opencontainers.image.version={version} {tags} .")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
