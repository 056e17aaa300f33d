"""Paths, fields, settings and words of the command line that users know from before 0.2: none goes unsaid."""

import argparse

import msgspec
import pytest

from orpheus_openai.app import create_app
from orpheus_openai.cli import make_parser
from orpheus_openai.settings import Settings
from orpheus_openai.settings.reading import variable_name

SPEECH = "model voice speed seed temperature top_p repetition_penalty response_format"
OPERATIONS = {
    "post /v1/audio/speech": f"{SPEECH} input instructions stream_format",
    "get /v1/audio/models": "",
    "get /v1/audio/voices": "",
    "get /v1/models": "",
    "get /v1/models/{model}": "",
    "post /api/generate": f"{SPEECH} text prompt max_tokens save",
    "get /api/files": "",
    "get /api/files/{name}": "",
    "delete /api/files/{name}": "",
    "get /api/models": "",
    "post /api/offload": "model force wait_seconds",
    "get /api/status": "",
    "get /api/events": "",
    "get /ready": "",
    "get /health": "",
    "get /metrics": "",
}
"""And the fields of their bodies."""
OTHER_PATHS = ("/", "/api/encode/{audio_format:str}", "/apidocs", "/apidocs/openapi.json", "/mcp")
SETTINGS = (
    "PORT GPU_IDLE_TIMEOUT NVIDIA_VISIBLE_DEVICES HOST MODEL MODEL_<MODEL> CATALOG UNLOAD_TIMEOUT MODE PINNED DEVICE "
    "SNAC SNAC_NOISE DTYPE QUANTIZATION TENSOR_PARALLEL MAX_MODEL_LEN MAX_STREAMS REMOTE_URL REMOTE_API_KEY "
    "REMOTE_MODEL MAX_INPUT_CHARS LOAD_WAIT API_KEYS RATE_LIMIT REDIS_URL MAX_CONCURRENT MAX_QUEUE QUEUE_WAIT "
    "REQUEST_TIMEOUT STALL_TIMEOUT BLOCK_LIST MAX_REPETITION MODERATION AUDIT_LOG AUDIT_TEXT CORS_ORIGINS "
    "TRUSTED_PROXIES OUTPUT_DIR OUTPUT_MAX_AGE_HOURS OUTPUT_MAX_BYTES OTEL_EXPORTER_OTLP_ENDPOINT LOG_LEVEL LOG_FORMAT"
)
COMMANDS = {
    "serve": "--host --port --until-stdin-ends",
    "speak": "-o --output --voice --model --format --speed",
    "voices": "",
    "models": "",
    "doctor": "",
    "mcp": "",
}


@pytest.fixture(scope="module")
def app():
    return create_app(Settings(model="preview"))


def test_every_operation_is_there_with_its_fields(app):
    paths = app.openapi_schema.to_schema()["paths"]
    for operation, fields in OPERATIONS.items():
        method, path = operation.split()
        bodies = paths[path][method].get("requestBody", {}).get("content", {}).values()
        known = {name for body in bodies for name in body["schema"]["properties"]}
        assert set(fields.split()) <= known, operation
    assert set(OTHER_PATHS) <= {route.path for route in app.routes}


def test_every_setting_is_there():
    known = {variable_name(field.name).removeprefix("ORPHEUS_") for field in msgspec.structs.fields(Settings)}
    assert set(SETTINGS.split()) <= known


def test_every_command_is_there_with_its_options():
    parser = make_parser()
    (commands,) = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    for name, options in COMMANDS.items():
        known = {word for action in commands.choices[name]._actions for word in action.option_strings}
        assert set(options.split()) <= known, name
