"""/healthz for those who restart us, /metrics for those who watch us."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest

from aircheck import __version__
from aircheck.faces.api.metrics import NodeCollector
from aircheck.faces.api.models import Health, Volume
from aircheck.service.health import VolumeStatus
from aircheck.service.services import Services


def health_routes(services: Services, registry: CollectorRegistry, collector: NodeCollector) -> APIRouter:
    router = APIRouter(tags=["operations"])

    @router.get(
        "/healthz",
        operation_id="getHealth",
        responses={503: {"model": Health, "description": "A volume is failing."}},
    )
    async def get_health(response: Response) -> Health:
        """200 while this node can record, 503 while one of its disks cannot be written."""
        health = _health(services, await services.health.volumes())
        response.status_code = 200 if health.status == "ok" else 503
        response.headers["cache-control"] = "no-store"
        return health

    @router.get(
        "/metrics",
        operation_id="getMetrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def get_metrics() -> Response:
        """Prometheus metrics; each is explained in the reference."""
        collector.refresh(await services.health.volumes())
        text = await asyncio.to_thread(generate_latest, registry)
        return Response(text, media_type=CONTENT_TYPE_PLAIN_0_0_4)

    return router


def _health(services: Services, volumes: tuple[VolumeStatus, ...]) -> Health:
    return Health(
        status="failing" if any(volume.is_failing for volume in volumes) else "ok",
        version=__version__,
        uptime_ms=round(services.health.uptime_s * 1000),
        streams=len(services.streams.list()),
        active_recordings=len(services.recordings.active()),
        volumes=[
            Volume(
                path=volume.path,
                size_bytes=volume.size_bytes,
                free_bytes=volume.free_bytes,
                is_failing=volume.is_failing,
                last_error=volume.last_error,
            )
            for volume in volumes
        ],
    )
