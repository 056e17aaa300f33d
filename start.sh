#!/usr/bin/env bash
# Sets up what this machine needs, once, and serves. Arguments go to `orpheus-openai serve`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source ./setup.sh

main() {
  local profile
  profile=$(choose_profile)
  [ "$profile" != gpu ] || check_gpu_machine
  [ "$profile" != preview ] || [ -n "${SETUP_PROFILE:-}" ] || tell_of_gguf
  install "$profile" .venv
  choose_gpu
  PATH=$PWD/.venv/bin:$PATH # what vLLM runs by name stands there, too
  exec .venv/bin/orpheus-openai serve "$@"
}

main "$@"
