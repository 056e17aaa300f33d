#!/usr/bin/env bash
# Sets up what this machine needs, once, and serves. Arguments go to `orpheus-openai serve`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source ./setup.sh

main() {
  local profile
  profile=$(choose_profile)
  install "$profile" .venv
  choose_gpu
  exec .venv/bin/orpheus-openai serve "$@"
}

main "$@"
