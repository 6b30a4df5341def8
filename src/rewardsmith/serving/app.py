"""Puts the parts of a server together: the application that uvicorn runs.

application = reward_app(models, access, limits, metrics, state)
"""

from __future__ import annotations

from rewardsmith.protocols import Router
from rewardsmith.serving.access import Access
from rewardsmith.serving.counted_router import CountedRouter
from rewardsmith.serving.gate import Gate
from rewardsmith.serving.limits import Limits
from rewardsmith.serving.metrics import Metrics
from rewardsmith.serving.models import Models
from rewardsmith.serving.routes import Routes
from rewardsmith.serving.server import State


def reward_app(
    models: Models, access: Access, limits: Limits, metrics: Metrics, state: State, router: Router | None = None
) -> Gate:
    """The ASGI application over models that are loaded; with a `router`, `/v1/compare` can ask a judge."""
    for name in models.names():
        model = models.find(name)
        counted = metrics.model(name)
        counted.serve(model.info)
        counted.follow(model.batcher)
        model.batcher.observe(counted.batch)
    counting = CountedRouter(router, metrics) if router is not None else None
    routes = Routes(models, limits, metrics, ready=lambda: state.reason, router=counting)
    return Gate(routes, access, limits, metrics)
