"""Logs, metrics and spans of each answer of a batch."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from predictions.models import ModelVersion, Prediction
from tumorsite.observability import metrics, tracing

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class BatchTimer:
    """Times one batch, from the claim of its rows to the record of each answer."""

    traces: Mapping[str, str]
    claimed: int = field(default_factory=time.time_ns)
    began: float = field(default_factory=time.monotonic)
    pictures: int = 1
    engine_start: int = 0
    engine_seconds: float = 0.0

    @classmethod
    def of(cls, rows: Sequence[Prediction]) -> BatchTimer:
        return cls(tracing.kept(row.pk for row in rows))

    @contextlib.contextmanager
    def engine(self, pictures: int) -> Iterator[None]:
        """Times the forward pass over so many pictures."""
        self.pictures, self.engine_start = pictures, time.time_ns()
        start = time.perf_counter()
        try:
            yield
        finally:
            self.engine_seconds = time.perf_counter() - start

    def answered(self, row: Prediction, version: ModelVersion) -> None:
        """Report that one row's answer is recorded."""
        end, whole = time.time_ns(), time.monotonic() - self.began
        total = 0.0
        if row.finished_at is not None:
            total = (row.finished_at - row.queued_at).total_seconds()
        metrics.answered(
            upload_to_result=total,
            engine=self.engine_seconds / self.pictures,
            whole_pass=whole / self.pictures,
        )
        logger.info(
            "prediction %s is %s after %.3f s",
            row.pk,
            row.status,
            total,
            extra={"prediction_id": str(row.pk), "seconds": total, "attempt": row.attempt},
        )
        if tracing.enabled():
            self._trace(row, version, end)

    def _trace(self, row: Prediction, version: ModelVersion, end: int) -> None:
        """Spans of the wait, the pass and the engine, in the trace of the row's own upload."""
        parent = self.traces.get(str(row.pk))
        about = {"tumorsite.prediction_id": str(row.pk), "tumorsite.attempt": row.attempt}
        if row.attempt == 1:
            tracing.record(
                "queue wait",
                start=tracing.nanoseconds(row.queued_at),
                end=self.claimed,
                traceparent=parent,
                **about,
            )
        tracing.record(
            "pass",
            start=self.claimed,
            end=end,
            traceparent=parent,
            **about,
            **{"tumorsite.pictures": self.pictures, "tumorsite.outcome": str(row.status)},
        )
        tracing.record(
            "engine",
            start=self.engine_start,
            end=self.engine_start + int(self.engine_seconds * 1e9),
            traceparent=parent,
            **about,
            **{"tumorsite.pictures": self.pictures, "tumorsite.model": str(version)},
        )
