"""orpheus-openai on a Ray cluster: the same application, one engine to a replica, as many replicas as are needed.

serve run deploy.ray.serve_app:build gpus=1 max_replicas=4
"""
# ruff: noqa: INP001  a package called ray would stand in the way of the real one

import logging
from typing import TYPE_CHECKING

from pydantic import BaseModel, Field
from ray import serve
from ray.serve.config import AutoscalingConfig

if TYPE_CHECKING:
    from litestar import Litestar
    from ray.serve import Application


class Arguments(BaseModel):
    """What `serve run` is told as name=value; the server's own settings come from the environment, as ever."""

    gpus: float = Field(1.0, ge=0, description="Of a GPU, for each replica; 0.5 puts two on one card.")
    cpus: float = Field(2.0, gt=0, description="Processors for each replica: codec, encoders, HTTP.")
    min_replicas: int = Field(1, ge=0)
    max_replicas: int = Field(4, ge=1)
    target_streams: int = Field(
        16, ge=1, description="Requests to a replica at which another one is started."
    )
    max_streams: int = Field(24, ge=1, description="Requests to a replica at most; more wait in Ray's queue.")
    drain_seconds: float = Field(
        120.0, ge=0, description="How long a replica that leaves may finish its streams."
    )


def create_app() -> "Litestar":
    """Make the application of one replica, in the replica's process."""
    from orpheus_openai.app import create_app  # noqa: PLC0415  the head node needs no engine
    from orpheus_openai.logs import configure_logging  # noqa: PLC0415
    from orpheus_openai.settings import load_settings  # noqa: PLC0415

    doubts: list[str] = []
    settings = load_settings(warn=doubts.append)
    configure_logging(settings)
    for doubt in doubts:
        logging.getLogger(__name__).warning(doubt)
    return create_app(settings)


def build(arguments: Arguments) -> "Application":
    """Build the Ray Serve application."""
    replica = serve.deployment(
        serve.ingress(create_app)(),
        name="speech",
        ray_actor_options={"num_gpus": arguments.gpus, "num_cpus": arguments.cpus},
        autoscaling_config=AutoscalingConfig(
            min_replicas=arguments.min_replicas,
            max_replicas=arguments.max_replicas,
            target_ongoing_requests=arguments.target_streams,
            downscale_delay_s=600,
        ),
        max_ongoing_requests=arguments.max_streams,
        graceful_shutdown_timeout_s=arguments.drain_seconds,
        graceful_shutdown_wait_loop_s=1,
    )
    return replica.bind()
