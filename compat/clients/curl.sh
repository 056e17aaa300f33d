#!/usr/bin/env bash
# Checks a server with curl alone: ./curl.sh [BASE_URL], e.g. http://localhost:8899/v1
set -uo pipefail

base=${1:-${BASE_URL:-http://127.0.0.1:8899/v1}}
key=${OPENAI_API_KEY:-none}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failed=0

report() { # title, what was wrong (empty: nothing)
  if [ -z "$2" ]; then
    printf 'ok      %s\n' "$1"
  else
    printf 'FAILED  %s: %s\n' "$1" "$2"
    failed=1
  fi
}

# speak JSON [CURL OPTIONS]: body in $folder/body, headers in $folder/headers, status on standard output
speak() {
  local body=$1
  shift
  curl --silent --show-error --max-time 120 --output "$folder/body" --dump-header "$folder/headers" \
    --write-out '%{http_code}' --header "Authorization: Bearer $key" \
    --header 'Content-Type: application/json' --data "$body" "$@" "$base/audio/speech"
}

request() { # FORMAT [MORE FIELDS]
  printf '{"model": "tts-1", "voice": "alloy", "input": "The quick brown fox jumped over the lazy dog.", ' &&
    printf '"response_format": "%s"%s}' "$1" "${2:-}"
}

header() { sed -n "s/^$1: *//Ip" "$folder/headers" | tr -d '\r' | tail -n 1; }
first_bytes() { head -c "$1" "$folder/body" | od -An -v -tx1 | tr -d ' \n'; }

check_format() { # FORMAT MEDIA-TYPE PATTERN-OF-THE-FIRST-BYTES
  local status wrong=
  status=$(speak "$(request "$1")")
  [ "$status" = 200 ] || wrong="status $status: $(head -c 300 "$folder/body")"
  [[ $wrong || $(header content-type) == "$2"* ]] || wrong="content-type $(header content-type)"
  [[ $wrong || $(first_bytes 4) =~ ^$3 ]] || wrong="first bytes $(first_bytes 4)"
  [[ $wrong || $(wc -c <"$folder/body") -gt 1000 ]] || wrong="only $(wc -c <"$folder/body") bytes"
  report "$1" "$wrong"
}

check_error() { # TITLE STATUS PARAM JSON
  local status wrong=
  status=$(speak "$4")
  [ "$status" = "$2" ] || wrong="status $status instead of $2"
  [[ $wrong ]] || grep -q '"type":"invalid_request_error"' "$folder/body" || wrong="no OpenAI error: $(cat "$folder/body")"
  [[ $wrong ]] || grep -q "\"param\":\"$3\"" "$folder/body" || wrong="param is not $3: $(cat "$folder/body")"
  [[ $wrong || $(header x-request-id) ]] || wrong="no x-request-id"
  report "$1" "$wrong"
}

check_stream() {
  local status wrong=
  status=$(speak "$(request pcm)" --no-buffer)
  [ "$status" = 200 ] || wrong="status $status"
  [[ $wrong || $(header transfer-encoding) == chunked ]] || wrong="not streamed in chunks"
  report "streamed in chunks" "$wrong"
}

check_events() {
  local status wrong=
  status=$(speak "$(request mp3 ', "stream_format": "sse"')" --no-buffer)
  [ "$status" = 200 ] || wrong="status $status"
  [[ $wrong || $(header content-type) == text/event-stream* ]] || wrong="content-type $(header content-type)"
  [[ $wrong ]] || head -n 1 "$folder/body" | grep -q '^data: {"type":"speech.audio.delta"' || wrong="no audio event first"
  [[ $wrong ]] || tail -n 2 "$folder/body" | grep -q '^data: {"type":"speech.audio.done"' || wrong="no done event last"
  report "server-sent events" "$wrong"
}

check_models() {
  local wrong=
  curl --silent --fail --max-time 10 --header "Authorization: Bearer $key" "$base/models" |
    grep -q '"id":"tts-1"' || wrong="tts-1 is not listed"
  report "models" "$wrong"
}

check_format mp3 audio/mpeg 'ff[ef]|494433'
check_format opus audio/ogg 4f676753
check_format aac audio/aac 'fff[19]'
check_format flac audio/flac 664c6143
check_format wav audio/wav 52494646
check_format pcm audio/pcm ''
check_stream
check_events
check_models
check_error "unknown voice" 400 voice '{"model": "tts-1", "voice": "nobody", "input": "Hello."}'
check_error "no text" 400 input '{"model": "tts-1", "voice": "alloy", "input": ""}'
check_error "missing field" 400 input '{"model": "tts-1", "voice": "alloy"}'
check_error "unknown model" 404 model '{"model": "no-such-model", "voice": "alloy", "input": "Hello."}'
exit "$failed"
