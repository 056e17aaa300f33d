#!/usr/bin/env bash
# Sets up everything, once, and runs all checks and tests. Arguments go to pytest: ./test.sh -k encode
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source ./setup.sh

install_programs chromium:chromium nginx:nginx-light haproxy:haproxy caddy:caddy redis-server:redis-server \
  promtool:prometheus openssl:openssl curl:curl
install test .venv-test
install_inspector .venv-test
install_ray .venv-test
PATH=$PWD/.venv-test/bin:$PATH:/usr/sbin
export HF_HUB_OFFLINE=1 # the tests make their own checkpoints; nothing is fetched from a hub

if [ $# -eq 0 ]; then
  # Two workers, a file to each at a time: files share what takes long to start.
  set -- -n 3 --dist loadfile --no-loadscope-reorder
  # An engine of each worker on all cores would make them wait for each other at every step.
  export OMP_NUM_THREADS=1 VLLM_CPU_OMP_THREADS_BIND=nobind
  ruff check .
  ruff format --check .
  mypy
  lint-imports
fi
pytest "$@"
