#!/usr/bin/env bash
# Brings the constraints up to date: the newest versions that pyproject.toml allows, for every system it supports.
# Names and versions only; where they are fetched from is each machine's own affair.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source ./setup.sh

venv=.venv-constraints
"$(find_python)" -m venv "$venv"
"$venv/bin/pip" install --quiet "uv==$UV_VERSION"
uv_as_pip "$venv"

# compile FILE HELD EXTRA…
compile() {
  local file=$1 held=$2 extras=()
  shift 2
  local extra
  for extra in "$@"; do
    extras+=(--extra "$extra")
  done
  printf '%s\n' "$held" >"$venv/held.txt"
  "$venv/bin/uv" pip compile pyproject.toml "${extras[@]}" --constraint "$venv/held.txt" --upgrade --universal \
    --python-version 3.11 --no-emit-index-url --no-emit-find-links --no-annotate --no-header --quiet \
    --output-file "$venv/compiled.txt"
  {
    echo "# What ${file%.txt} installs, by constraints/refresh.sh"
    cat "$venv/compiled.txt"
  } >"constraints/$file"
}

compile cpu.txt "torch==$TORCH_CPU_VERSION" preview orpheus gguf redis otel test
compile gpu.txt "" preview gpu redis otel
rm -r "$venv"
