"""The process in which llama.cpp lives: parameters in by standard input, its address out, gone when the input ends.

A script of its own, which imports nothing of this package, so that it starts at once and holds nothing but llama.cpp.
It reads one line of JSON, the fields of `llama_process.Parameters`. When the model is loaded it writes one,
`{"address": "http://127.0.0.1:N", "devices": ["…"]}`; the devices are the graphics cards it knows, null where it cannot
tell. What goes wrong before that stands on standard error, and it ends with status 1.
"""

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http import HTTPStatus
from typing import Any, NoReturn

ERRORS_AND_WARNINGS = 2
"""llama.cpp's level of what it writes to standard error."""

SPARE_CONNECTIONS = 4
"""Threads of its HTTP server beside one for each stream, for what else is asked meanwhile."""

POLL_SECONDS = 0.05

PR_SET_PDEATHSIG = 1


def main() -> NoReturn:
    """Serve until standard input ends."""
    parameters = json.loads(sys.stdin.buffer.readline())
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing else may come between
    _die_with_parent()
    program = parameters["program"]
    if program:
        started: dict[str, Any] = {"address": _run_program(program, parameters), "devices": None}
    else:
        started = {"address": _run_inside(parameters), "devices": _devices()}
    print(json.dumps(started), file=answer, flush=True)
    _end_with_input()


def _run_inside(parameters: dict[str, Any]) -> str:
    """Start llama.cpp's server in this process; it goes on in threads of its own."""
    import xllamacpp  # noqa: PLC0415

    options = xllamacpp.CommonParams()
    options.model.path = parameters["model"]
    options.n_ctx = parameters["context"] * parameters["slots"]
    options.n_parallel = parameters["slots"]
    options.n_threads_http = parameters["slots"] + SPARE_CONNECTIONS
    options.cpuparams.n_threads = options.cpuparams_batch.n_threads = parameters["threads"]
    if parameters["gpu_layers"] is not None:
        options.n_gpu_layers = parameters["gpu_layers"]
    # It finds out how many layers fit on a card by loading the model another time, a second of the start; without one
    # nothing is to be found out.
    options.fit_params = parameters["gpu_layers"] is None and bool(_devices())
    options.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(path, 0.0) for path in parameters["adapters"]]
    options.port = 0
    options.api_keys = [parameters["api_key"]]
    options.cors_origins = ""
    options.ui = False
    options.endpoint_slots = False
    options.cache_ram_mib = 0
    options.cache_idle_slots = False
    options.verbosity = ERRORS_AND_WARNINGS
    try:
        server = xllamacpp.Server(options)
    except Exception as error:  # noqa: BLE001  it has no kinds, and what it means stands above it
        sys.exit(str(error))
    global _server  # noqa: PLW0603  it ends with the last that knows it
    _server = server
    return str(server.listening_address)


_server: object = None


def _devices() -> list[str]:
    import xllamacpp  # noqa: PLC0415

    cpu = xllamacpp.ggml_backend_dev_type.GGML_BACKEND_DEVICE_TYPE_CPU
    return [device["description"] for device in xllamacpp.get_device_info() if device["type"] != cpu]


def _run_program(program: str, parameters: dict[str, Any]) -> str:
    """Start a `llama-server` of the user's own in a process below this one."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = [
        *(program, "--model", parameters["model"]),
        *("--host", "127.0.0.1", "--port", str(port)),
        *("--ctx-size", str(parameters["context"] * parameters["slots"])),
        *("--parallel", str(parameters["slots"])),
        *("--threads", str(parameters["threads"])),
        *("--cache-ram", "0", "--no-slots", "--no-webui"),
    ]
    if parameters["gpu_layers"] is not None:
        arguments += ["--n-gpu-layers", str(parameters["gpu_layers"])]
    if parameters["adapters"]:  # an option that is given twice counts once
        arguments += ["--lora-scaled", ",".join(f"{path}:0" for path in parameters["adapters"])]
    environ = {**os.environ, "LLAMA_API_KEY": parameters["api_key"]}  # not for all to see, as arguments are
    try:
        process = subprocess.Popen(  # noqa: S603  the user's own program
            arguments,
            env=environ,
            stdin=subprocess.DEVNULL,
            preexec_fn=_die_with_parent,  # noqa: PLW1509  there is no other thread yet
        )
    except OSError as error:
        sys.exit(f"{program} cannot be run: {error.strerror}")
    threading.Thread(target=_end_with, args=(process,), daemon=True).start()
    address = f"http://127.0.0.1:{port}"
    while not _answers(address):
        time.sleep(POLL_SECONDS)
    return address


def _end_with(process: "subprocess.Popen[bytes]") -> NoReturn:
    code = process.wait()
    sys.stderr.write(f"llama-server ended with status {code}\n")
    sys.stderr.flush()
    os._exit(1)


def _answers(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/health", timeout=5) as answer:  # noqa: S310  its own server
            return bool(answer.status == HTTPStatus.OK)
    except OSError:  # not there yet, or still loading
        return False


def _die_with_parent() -> None:
    """End with the parent also where this process is held up and does not see the end of its input."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _end_with_input() -> NoReturn:
    """Wait for the end of the input and go at once: an orderly end would wait for all who listen."""
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
