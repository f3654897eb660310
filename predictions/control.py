"""The question that the health page puts to inference workers over the broker."""

from typing import Any

from celery.worker.control import inspect_command

from predictions import worker


@inspect_command()
def loaded_model(state: Any, **_: Any) -> dict[str, Any]:
    """Whether the worker's present child has its network loaded."""
    children = state.consumer.pool.info["processes"]
    return {"ready": worker.ready_pid() in children}
