"""The endpoints for probes and monitors: ``/health/live``, ``/health/ready``, ``/health/db``, ``/metrics``."""

from pliers_db.health.serve.mount import AsgiApp, Endpoints, WsgiApp, asgi_app, wsgi_app
from pliers_db.health.serve.server import HealthServer

__all__ = ["AsgiApp", "Endpoints", "HealthServer", "WsgiApp", "asgi_app", "wsgi_app"]
