#!/usr/bin/env bash
# Sets up everything, once, and runs all checks and tests. Arguments go to pytest: ./test.sh -k encode
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source ./setup.sh

# A tenth of what is installed is used, and compiled then; but once, not by each of the hundreds of processes.
export UV_COMPILE_BYTECODE=0
unset PYTHONDONTWRITEBYTECODE

check() {
  ruff check .
  ruff format --check .
  mypy
  lint-imports
}

# What can be done beside something else, as most of it keeps one core busy; it is waited for also where this ends
# early: an installation that was broken off would be in the way the next time.
trap wait EXIT
# The headless shell draws the same pages in half the processor time.
install_programs chromium-headless-shell/chromium:chromium-headless-shell/chromium nginx:nginx-light \
  haproxy:haproxy caddy:caddy redis-server:redis-server promtool:prometheus openssl:openssl curl:curl libgomp.so.1:libgomp1 &
beside=($!)
install test .venv-test
install_inspector .venv-test &
beside+=($!)
install_typescript .venv-test &
beside+=($!)
PATH=$PWD/.venv-test/bin:$PATH:/usr/sbin
export HF_HUB_OFFLINE=1 # the tests make their own checkpoints; nothing is fetched from a hub
everything=false
if [ $# -eq 0 ]; then
  everything=true
  # Three workers for two cores, as many tests wait; a file to each at a time: files share what takes long to start.
  set -- -n 3 --dist loadfile --no-loadscope-reorder
  # An engine of each worker on all cores would make them wait for each other at every step.
  export OMP_NUM_THREADS=1 VLLM_CPU_OMP_THREADS_BIND=nobind
fi
install_vllm .venv-test
install_ray .venv-test
for job in "${beside[@]}"; do
  wait "$job"
done
# Not before: what is installed last puts other versions in the place of packages that mypy would be reading.
checked=
if $everything; then
  check &
  checked=$!
fi
result=0
pytest "$@" || result=$?
# Of what failed beside others, a few are tried once more, alone, and told of: what is wrong fails again.
if $everything && [ "$result" -eq 1 ]; then
  failed=$(python -c "import json; print(len(json.load(open('.pytest_cache/v/cache/lastfailed'))))")
  if [ "$failed" -gt 0 ] && [ "$failed" -le 3 ]; then
    printf 'tried once more, alone: %s\n' "$failed"
    result=0
    pytest --last-failed --last-failed-no-failures none || result=$?
  fi
fi
if [ -n "$checked" ]; then
  wait "$checked" || result=$?
fi
exit "$result"
