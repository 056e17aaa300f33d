#!/usr/bin/env bash
# Makes a release: ./release.sh VERSION. CONTRIBUTING.md says what it does; `./release.sh --help`, what else it can.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source ./setup.sh

venv=.venv-release
[ -x "$venv/bin/python" ] || "$(find_python)" -m venv "$venv"
"$venv/bin/pip" install --quiet "uv==$UV_VERSION" "hatchling>=1.27" "hatch-fancy-pypi-readme>=25.1"
uv_as_pip "$venv"
PATH=$PWD/$venv/bin:$PATH exec "$venv/bin/python" -m release "$@"
