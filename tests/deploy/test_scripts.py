"""The two commands: what they install where, which GPU they choose, and what they say when something is missing."""

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from orpheus_openai.catalog import load_catalog
from tests.support.environment import environ

ROOT = Path(__file__).parents[2]
SMI = """#!/bin/sh
set -e  # a reader that has left is an error to the real one, too
case "$*" in
  -L) echo "GPU 0: NVIDIA H200 (UUID: GPU-a)"; sleep 0.1; echo "GPU 1: NVIDIA H200 (UUID: GPU-b)" ;;
  *) echo "0, 20000, 0, [N/A]"; sleep 0.1; echo "1, 300, 90, [N/A]"; echo "2, 300, 5, [N/A]" ;;
esac
"""


@pytest.fixture
def with_gpus(tmp_path):
    """A PATH on which nvidia-smi tells of three cards."""
    smi = tmp_path / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    smi.write_text(SMI)
    smi.chmod(0o755)
    return {"PATH": f"{smi.parent}:{os.environ['PATH']}", "HOME": str(tmp_path), "PYTHON": sys.executable}


def shell(command, environ, folder=ROOT):
    script = f"set -euo pipefail; source '{ROOT}/setup.sh'; {command}"
    return subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def plain_environ(**more):
    return {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent", "PYTHON": sys.executable, **more}


@pytest.mark.parametrize(("names", "known"), [("sh", True), ("nothing/sh", True), ("nothing/nobody", False)])
def test_a_program_may_have_alternatives(names, known):
    assert (shell(f"has_program {names}", plain_environ()).returncode == 0) == known


def test_the_idlest_gpu_has_least_memory_in_use_then_least_load(with_gpus):
    assert shell("choose_gpu; echo $CUDA_VISIBLE_DEVICES", with_gpus).stdout == "2\n"


@pytest.mark.parametrize("name", ["NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES"])
def test_the_users_choice_of_a_gpu_wins(with_gpus, name):
    done = shell("choose_gpu; echo $CUDA_VISIBLE_DEVICES", {**with_gpus, name: "0"})
    assert done.stdout == "0\n"


def test_a_choice_in_the_env_file_counts(with_gpus, tmp_path):
    (tmp_path / ".env").write_text(
        '# NVIDIA_VISIBLE_DEVICES=7\nNVIDIA_VISIBLE_DEVICES="1"  # the quiet one\n'
    )
    assert shell("choose_gpu; echo $CUDA_VISIBLE_DEVICES", with_gpus, tmp_path).stdout == "1\n"


@pytest.mark.parametrize(
    ("checkpoint", "profile"),
    [
        ("orpheus-3b-0.1-ft-q4_k_m.gguf", "gguf"),
        ("isaiahbjork/orpheus-3b-0.1-ft-Q4_K_M-GGUF", "gguf"),
        ("unsloth/orpheus-3b-0.1-ft-GGUF:q8_0", "gguf"),
        ("files", "gguf"),
        ("~/files", "gguf"),
        ("canopylabs/orpheus-3b-0.1-ft", "gpu"),
        ("empty", "gpu"),
    ],
)
def test_a_gguf_file_is_spoken_by_llama_cpp_with_or_without_a_gpu(with_gpus, tmp_path, checkpoint, profile):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "orpheus-q8_0.gguf").touch()
    (tmp_path / "empty").mkdir()
    named = {**with_gpus, "ORPHEUS_MODEL": "auto", "ORPHEUS_MODEL_MEDIUM_3B": checkpoint}
    assert shell("choose_profile", named, tmp_path).stdout == profile
    (tmp_path / ".env").write_text(f"ORPHEUS_MODEL_SMALL_1B={checkpoint}\n")
    assert shell("choose_profile", with_gpus, tmp_path).stdout == profile
    elsewhere = {**named, "ORPHEUS_REMOTE_URL": "http://gpu-box:8000/v1"}
    assert shell("choose_profile", elsewhere, tmp_path).stdout == "orpheus"


def test_the_profile_gguf_installs_llama_cpp_and_a_torch_without_cuda(tmp_path):
    told = 'packages() { echo "packages $*"; }; install_torch_cpu() { echo torch; }; has_gpu() { false; }'
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    done = shell(f"{told}; install gguf {tmp_path}", plain_environ())
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "torch",
        f"packages {tmp_path} -c constraints/cpu.txt -e .[gguf,preview]",
    ]


MACHINES = {
    "macOS on ARM64": {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"},
    "Linux on ARM64": {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "aarch64"},
}
NEEDED = {"xllamacpp", "torch", "snac", "espeakng-loader", "av", "numpy", "litestar", "fastmcp", "uvicorn"}


def required(extras, machine):
    """The packages that the project asks for on that machine, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found, waiting = {}, [*project["dependencies"], *(f"orpheus-openai[{extra}]" for extra in extras)]
    while waiting:
        requirement = Requirement(waiting.pop())
        if requirement.marker and not requirement.marker.evaluate(machine):
            continue
        if requirement.name == "orpheus-openai":
            waiting += [
                line for extra in requirement.extras for line in project["optional-dependencies"][extra]
            ]
        else:
            found[canonicalize_name(requirement.name)] = requirement
    return found


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("version", ["3.11", "3.13"])
def test_what_start_would_install_for_a_gguf_file_on_other_processors(tmp_path, machine, version):
    told = (
        'packages() { echo "packages $*"; }; has_gpu() { false; }; has_program() { [ "$1" = libgomp.so.1 ]; }'
    )
    system = MACHINES[machine]["platform_system"]
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").symlink_to(sys.executable)
    command = f"{told}; uname() {{ echo {system}; }}; install_torch_cpu() {{ echo torch; }}; install gguf {tmp_path}"
    done = shell(command, plain_environ())
    assert done.stdout.splitlines()[-1].endswith("-c constraints/cpu.txt -e .[gguf,preview]"), done.stderr
    here = {**MACHINES[machine], "python_version": version, "python_full_version": f"{version}.5"}
    wanted = required(["gguf", "preview"], here)
    assert wanted.keys() >= NEEDED
    assert not wanted.keys() & {"vllm", "triton"}
    pins = {}
    for line in (ROOT / "constraints/cpu.txt").read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            pin = Requirement(line)
            if pin.marker is None or pin.marker.evaluate(here):
                pins.setdefault(canonicalize_name(pin.name), []).append(pin)
    for name, requirement in wanted.items():
        (pin,) = pins[name]
        (exact,) = pin.specifier
        assert requirement.specifier.contains(exact.version, prereleases=True), name


def test_without_a_card_one_line_tells_how_to_have_orpheus_and_the_line_works(tmp_path):
    told = shell("tell_of_gguf", plain_environ()).stderr
    assert told.count("\n") == 1
    assert told.split()[-1] == "./start.sh"
    name, _, value = told.split()[-2].partition("=")
    assert shell("choose_profile", plain_environ(**{name: value}), tmp_path).stdout == "gguf"
    assert value.partition(":")[0] in load_catalog(None).models["medium-3b"].gguf


@pytest.mark.parametrize(("system", "fine"), [("Linux", False), ("Darwin", True)])
def test_what_llama_cpp_takes_from_a_linux_system_is_named(system, fine):
    done = shell(
        f"has_program() {{ false; }}; uname() {{ echo {system}; }}; check_gguf_machine", plain_environ()
    )
    assert (done.returncode == 0, "apt install libgomp1" in done.stderr) == (fine, not fine)


@pytest.mark.parametrize(("library", "known"), [("libc.so.6", True), ("libnobody.so.1", False)])
def test_a_library_may_stand_in_a_programs_place(library, known):
    assert (shell(f"has_program {library}", plain_environ()).returncode == 0) == known


def test_the_profile_follows_the_machine(with_gpus, tmp_path):
    remote = {"ORPHEUS_REMOTE_URL": "http://gpu-box:8000/v1"}
    assert shell("choose_profile", plain_environ(), tmp_path).stdout == "preview"
    assert shell("choose_profile", with_gpus, tmp_path).stdout == "gpu"
    assert shell("choose_profile", {**with_gpus, **remote}, tmp_path).stdout == "orpheus"
    (tmp_path / ".env").write_text("ORPHEUS_REMOTE_URL=http://gpu-box:8000/v1\n")
    assert shell("choose_profile", plain_environ(), tmp_path).stdout == "orpheus"


@pytest.fixture
def with_pip(tmp_path):
    """Make a virtual environment whose pip has a configuration and whose uv says what it is told."""
    programs = tmp_path / "venv" / "bin"
    programs.mkdir(parents=True)

    def with_pip(*config, uv='env | grep -E "^(UV_|SSL_CERT_FILE)" | sort; echo "uv $*"'):
        (programs / "config").write_text("".join(f"{line}\n" for line in config))
        pip = f'[ "$1" = config ] && exec cat {programs}/config; echo "pip $*"'
        for name, script in (("pip", pip), ("uv", uv)):
            (programs / name).write_text(f"#!/bin/sh\n{script}\n")
            (programs / name).chmod(0o755)
        return programs.parent

    return with_pip


def installed(venv, **environ):
    done = shell(f"packages {venv} thing==1", plain_environ(**environ))
    assert done.returncode == 0, done.stderr
    *settings, command = done.stdout.splitlines()
    return dict(line.split("=", 1) for line in settings), command


def test_uv_is_told_what_pip_is_told(with_pip):
    venv = with_pip(
        ":env:.find-links='/env/wheels'",
        "global.cert='/etc/ca.crt'",
        "global.constraint='/etc/constraints.txt'",
        "global.extra-index-url='\\nhttps://one.example/simple\\nhttps://two.example/simple'",
        "global.find-links='/global/wheels'",
        "global.index-url='https://global.example/simple'",
        "global.timeout='60'",
        "install.index-url='https://install.example/simple'",
    )
    settings, command = installed(venv)
    assert settings == {
        "SSL_CERT_FILE": "/etc/ca.crt",
        "UV_CONSTRAINT": "/etc/constraints.txt",
        "UV_DEFAULT_INDEX": "https://install.example/simple",
        "UV_FIND_LINKS": "/env/wheels",
        "UV_INDEX": "https://one.example/simple https://two.example/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }
    assert command == f"uv pip install --quiet --python {venv}/bin/python thing==1"


def test_what_uv_is_told_itself_counts_first(with_pip):
    venv = with_pip("global.index-url='https://pip.example/simple'")
    settings, _ = installed(venv, UV_DEFAULT_INDEX="https://uv.example/simple")
    assert settings["UV_DEFAULT_INDEX"] == "https://uv.example/simple"


def test_what_uv_cannot_follow_or_fails_at_is_left_to_pip(with_pip):
    by_pip = ({}, "pip install --quiet thing==1")
    assert installed(with_pip("global.proxy='http://proxy:3128'")) == by_pip
    assert installed(with_pip(uv="exit 2")) == by_pip
    venv = with_pip()
    (venv / "bin" / "uv").unlink()
    assert installed(venv) == by_pip


def test_a_missing_python_is_explained_in_words(tmp_path):
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("bash", "cat", "dirname", "sed", "tail"):
        (tools / name).symlink_to(shutil.which(name))
    done = subprocess.run(
        ["bash", str(ROOT / "start.sh")],
        env={"PATH": str(tools), "SETUP_PROFILE": "preview"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "needs Python 3.11 or newer" in done.stderr
    assert "apt install python3" in done.stderr


def start(folder, *arguments):
    """Run start.sh from elsewhere until the server answers; returns what it said and how long it took."""
    settings = environ(ORPHEUS_HOST="127.0.0.1")
    began = time.monotonic()
    process = subprocess.Popen(
        [str(folder / "start.sh"), *arguments], cwd="/", env=settings, stderr=subprocess.PIPE, text=True
    )
    said = ""
    try:
        for line in process.stderr:
            said += line
            if found := re.search(r"Health\s+(\S+)", line):
                assert httpx.get(found.group(1), timeout=10).json()["status"] == "ok"
                return said, time.monotonic() - began
        pytest.fail(said)
    finally:
        process.terminate()
        process.wait(30)
        process.stderr.close()


@pytest.mark.timeout(400)
def test_a_fresh_clone_serves_after_one_command_and_starts_at_once_the_second_time(tmp_path):
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone)], check=True)
    first, _ = start(clone, "--port", "0")
    second, _ = start(clone, "--port", "0")
    assert "setting up" in first
    assert "setting up" not in second
    for door in ("Page", "API", "Docs"):
        assert door in second


# --- start.sh on a machine with GPUs, its installer and its server recorded -------------------------------------------

DRIVER = "580.95.05"
NVIDIA_SMI = """#!/bin/sh
case "$*" in
  -L) {slices} ;;
  *driver_version*) echo "$DRIVER" ;;
  *) printf '0, 20000, 0, Disabled\\n1, 300, 90, Disabled\\n2, 300, 5, [N/A]\\n3, 0, 0, Enabled\\n' ;;
esac
"""
CARDS = 'echo "GPU 0: NVIDIA H100 (UUID: GPU-a)"'
SERVER = """#!/bin/sh
env | grep -E '^(CUDA_|PATH=)' >&2
echo "served $*" >&2
"""


@pytest.fixture
def gpu_machine(tmp_path):
    """A clone with a recording pip and server in its `.venv`, and a PATH of chosen programs: run start.sh there."""
    folder, tools = tmp_path / "clone", tmp_path / "tools"
    programs = folder / ".venv" / "bin"
    programs.mkdir(parents=True)
    tools.mkdir()
    needed = "start.sh setup.sh pyproject.toml tests/support/vllm_cpu.py orpheus_openai/settings/dotenv.py"
    for name in needed.split():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    shutil.copytree(ROOT / "constraints", folder / "constraints")

    def program(path, script):
        path.write_text(script)
        path.chmod(0o755)

    (programs / "python").symlink_to(sys.executable)
    program(programs / "pip", '#!/bin/sh\n[ "$1" = config ] || echo "pip $*" >&2\n')
    program(programs / "orpheus-openai", SERVER)
    for name in "bash cat cksum cut dirname env grep id mkdir paste rm sed sh sort tail tr".split():
        (tools / name).symlink_to(shutil.which(name))

    def run(*, driver=DRIVER, compiler=True, headers=True, slices="", **environ):
        program(tools / "nvidia-smi", NVIDIA_SMI.format(slices=f"{CARDS}; {slices}" if slices else CARDS))
        (tools / "gcc").unlink(missing_ok=True)
        if compiler:
            program(tools / "gcc", "#!/bin/sh\n")
        python = f'exec {sys.executable} "$@"'
        if not headers:
            python = f'case "$*" in *get_path*) echo /usr/include/none ;; *) {python} ;; esac'
        program(tools / "python3.12", f"#!/bin/sh\n{python}\n")
        return subprocess.run(
            [str(folder / "start.sh"), "--port", "0"],
            env={"PATH": str(tools), "HOME": str(tmp_path), "DRIVER": driver, **environ},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def engine_environment(done):
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert "served serve --port 0" in lines
    return dict(line.split("=", 1) for line in lines if re.match(r"^[A-Z_]+=", line))


def test_a_machine_with_a_gpu_gets_vllm_the_idlest_card_and_its_own_programs_on_the_path(gpu_machine):
    done = gpu_machine()
    environ = engine_environment(done)
    assert "pip install --quiet -c constraints/gpu.txt -e .[gpu,preview]" in done.stderr
    assert environ["CUDA_VISIBLE_DEVICES"] == "2"
    assert environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert environ["PATH"].split(":")[0].endswith("clone/.venv/bin")


def test_a_model_that_is_spread_over_two_cards_gets_the_two_idlest(gpu_machine):
    environ = engine_environment(gpu_machine(ORPHEUS_TENSOR_PARALLEL="2"))
    assert environ["CUDA_VISIBLE_DEVICES"] == "2,1"


def test_which_slice_of_a_card_is_left_to_the_server_that_sees_their_memory(gpu_machine):
    done = gpu_machine(slices='echo "  MIG 1g.10gb     Device  0: (UUID: MIG-a)"')
    assert "CUDA_VISIBLE_DEVICES" not in engine_environment(done)


@pytest.mark.parametrize(
    ("machine", "gap", "cure"),
    [
        ({"driver": "570.124.06"}, "570.124.06 is too old", "580 or newer"),
        ({"compiler": False}, "needs a C compiler", "sudo apt install gcc libc6-dev"),
        ({"headers": False}, "/usr/include/none/Python.h is not there", "sudo apt install python3-dev"),
    ],
)
def test_what_vllm_would_fail_at_is_told_with_its_cure_before_anything_is_fetched(
    gpu_machine, machine, gap, cure
):
    done = gpu_machine(**machine)
    assert done.returncode != 0
    assert gap in done.stderr
    assert cure in done.stderr
    assert "pip install" not in done.stderr
    assert "served" not in done.stderr


def test_a_compiler_of_another_name_will_do(gpu_machine):
    engine_environment(gpu_machine(compiler=False, CC="/opt/cc"))
