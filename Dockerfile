# syntax=docker/dockerfile:1
# Three images from one file:
#   docker build .                    Orpheus on an NVIDIA GPU
#   docker build --target cpu .       Orpheus as a GGUF file on the processor, or decoded from elsewhere (ORPHEUS_REMOTE_URL)
#   docker build --target preview .   the embedded preview voice alone; small

ARG CUDA=13.0.2
ARG PYTHON=3.12

# --- on the CPU ---------------------------------------------------------------------------------------------------

FROM python:${PYTHON}-slim-bookworm AS python
ENV VIRTUAL_ENV=/opt/orpheus \
    PATH=/opt/orpheus/bin:$PATH \
    PYTHONUNBUFFERED=1
# 1000 is the first person's id on most machines, too: what is saved in ./outputs is theirs.
RUN useradd --create-home --uid 1000 orpheus \
    && install --directory --owner=1000 --group=1000 /outputs /home/orpheus/.cache /home/orpheus/.cache/huggingface

FROM python AS python-build
ARG UV=0.13.9
RUN --mount=type=cache,target=/root/.cache/pip \
    python -m venv /opt/uv && /opt/uv/bin/pip install "uv==${UV}" && python -m venv --without-pip /opt/orpheus
WORKDIR /source
COPY pyproject.toml ./
COPY constraints/ constraints/

FROM python-build AS preview-build
# The requirements are a layer of their own: a change of the source does not fetch them again.
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv pip install -c constraints/cpu.txt -r pyproject.toml --extra preview --extra redis --extra otel
COPY . .
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv pip install --no-deps .

FROM python-build AS cpu-build
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv pip install --torch-backend cpu -c constraints/cpu.txt -r pyproject.toml --extra preview --extra gguf --extra redis --extra otel
COPY . .
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv pip install --no-deps .

FROM python AS python-run
ENV HOME=/home/orpheus \
    HF_HOME=/home/orpheus/.cache/huggingface \
    ORPHEUS_OUTPUT_DIR=/outputs \
    PORT=8899
WORKDIR /home/orpheus
# eSpeak NG and what PyAV brings are under the GPL: whoever passes the image on passes on these texts, too.
COPY LICENSE THIRD-PARTY.md /usr/share/doc/orpheus-openai/
COPY LICENSES/ /usr/share/doc/orpheus-openai/LICENSES/
LABEL org.opencontainers.image.source="https://github.com/orpheus-openai/orpheus-openai" \
      org.opencontainers.image.licenses="Apache-2.0 AND BSD-3-Clause AND MIT AND OFL-1.1 AND GPL-3.0-or-later"
USER 1000:1000
VOLUME ["/outputs", "/home/orpheus/.cache"]
EXPOSE 8899
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as web; web.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/health', timeout=4)"]
CMD ["orpheus-openai", "serve"]

FROM python-run AS preview
ENV ORPHEUS_MODEL=preview
COPY --from=preview-build /opt/orpheus /opt/orpheus

FROM python-run AS cpu
# llama.cpp's wheel takes this library from the system.
USER 0:0
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/*
USER 1000:1000
COPY --from=cpu-build /opt/orpheus /opt/orpheus

# --- on the GPU ---------------------------------------------------------------------------------------------------

# vLLM's wheel brings CUDA's libraries. The base tells the container runtime which driver they take; Triton compiles
# its launchers when a model loads, hence the compiler and Python's headers.
FROM nvidia/cuda:${CUDA}-runtime-ubuntu24.04 AS cuda
ENV VIRTUAL_ENV=/opt/orpheus \
    PATH=/opt/orpheus/bin:$PATH \
    PYTHONUNBUFFERED=1
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/* \
    && userdel --remove ubuntu \
    && useradd --create-home --uid 1000 orpheus \
    && install --directory --owner=1000 --group=1000 /outputs /home/orpheus/.cache /home/orpheus/.cache/huggingface

FROM cuda AS gpu-build
ARG UV=0.13.9
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv /opt/uv && /opt/uv/bin/pip install "uv==${UV}" && python3 -m venv --without-pip /opt/orpheus
WORKDIR /source
COPY pyproject.toml ./
COPY constraints/ constraints/
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv pip install -c constraints/gpu.txt -r pyproject.toml --extra preview --extra gpu --extra redis --extra otel
COPY . .
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/uv/bin/uv pip install --no-deps .

FROM cuda AS gpu
ENV HOME=/home/orpheus \
    HF_HOME=/home/orpheus/.cache/huggingface \
    VLLM_CACHE_ROOT=/home/orpheus/.cache/vllm \
    TRITON_CACHE_DIR=/home/orpheus/.cache/triton \
    TORCHINDUCTOR_CACHE_DIR=/home/orpheus/.cache/torchinductor \
    CUDA_CACHE_PATH=/home/orpheus/.cache/nv \
    ORPHEUS_MODEL=medium-3b \
    ORPHEUS_OUTPUT_DIR=/outputs \
    PORT=8899
WORKDIR /home/orpheus
COPY LICENSE THIRD-PARTY.md /usr/share/doc/orpheus-openai/
COPY LICENSES/ /usr/share/doc/orpheus-openai/LICENSES/
LABEL org.opencontainers.image.source="https://github.com/orpheus-openai/orpheus-openai" \
      org.opencontainers.image.licenses="Apache-2.0 AND BSD-3-Clause AND MIT AND OFL-1.1 AND GPL-3.0-or-later"
COPY --from=gpu-build /opt/orpheus /opt/orpheus
USER 1000:1000
VOLUME ["/outputs", "/home/orpheus/.cache"]
EXPOSE 8899
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as web; web.urlopen(f'http://127.0.0.1:{os.environ[\"PORT\"]}/health', timeout=4)"]
CMD ["orpheus-openai", "serve"]
