"""The MCP server: its tools and resources, and what it tells an agent about itself."""

import logging
from pathlib import Path

import pydantic
from fastmcp import FastMCP
from fastmcp.exceptions import ToolError, ValidationError
from fastmcp.server.middleware import CallNext, Middleware, MiddlewareContext
from fastmcp.tools import ToolResult
from mcp_types import CallToolRequestParams, ToolAnnotations

from orpheus_mcp.logs import join_our_log
from orpheus_mcp.resources import TEMPLATE, SavedAudio
from orpheus_mcp.results import GeneratedSpeech, GPUStatus, Models, Voices, result_schema
from orpheus_mcp.tools import SpeechTools
from orpheus_openai import __version__
from orpheus_openai.gpu.manager import Offloaded
from orpheus_openai.gpu.monitor import GPUMonitor
from orpheus_openai.outputs import OutputFolder
from orpheus_openai.speech.service import SpeechService

INSTRUCTIONS = (
    "Turns text into expressive speech and saves it as audio files. generate_speech does the work; "
    "list_voices and list_models tell what it takes. Models load when they are needed and leave the GPU when "
    "they have been idle; get_gpu_status looks at that, and offload_gpu frees the memory at once."
)

READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
SPEAKS = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False
)
OFFLOADS = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)


def create_mcp(service: SpeechService, outputs: OutputFolder, folder: Path, monitor: GPUMonitor) -> FastMCP:
    """Make the server as FastMCP knows it, without a transport; `folder` is where `outputs` saves."""
    join_our_log()
    audio = SavedAudio(outputs)
    mcp = FastMCP(
        "orpheus-openai",
        INSTRUCTIONS,
        version=__version__,
        providers=[audio],
        middleware=[PlainErrors()],
        mask_error_details=True,
    )
    tools = SpeechTools(service, outputs, folder, monitor)
    for tool, annotations, result in (
        (tools.generate_speech, SPEAKS, GeneratedSpeech),
        (tools.list_voices, READS, Voices),
        (tools.list_models, READS, Models),
        (tools.get_gpu_status, READS, GPUStatus),
        (tools.offload_gpu, OFFLOADS, Offloaded),
    ):
        mcp.tool(tool, annotations=annotations, output_schema=result_schema(result))
    mcp.resource(
        TEMPLATE, name="saved-audio", description="Audio that generate_speech has saved, by its file's name."
    )(audio.read)
    return mcp


class PlainErrors(Middleware):
    """Arguments that do not fit the schema are explained without the validator's jargon."""

    async def on_call_tool(
        self,
        context: MiddlewareContext[CallToolRequestParams],
        call_next: CallNext[CallToolRequestParams, ToolResult],
    ) -> ToolResult:
        """Run the tool; arguments that it does not take are a ToolError in plain words."""
        try:
            return await call_next(context)
        except ValidationError as error:
            cause = error.__cause__
            if not isinstance(cause, pydantic.ValidationError):
                raise
            faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in cause.errors()]
            raise ToolError("; ".join(faults) + ".", log_level=logging.DEBUG) from error
