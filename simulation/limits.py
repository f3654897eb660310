"""What each part of the site has to bear in the busiest minute, and which gives way first."""

from __future__ import annotations

from dataclasses import dataclass

from simulation.constants import Constants

HOUR, MONTH_DAYS = 3600.0, 30


@dataclass(frozen=True, slots=True)
class Part:
    """One part in its smallest form.

    Attributes:
        need: for this many scans a day, in `unit`.
        holds: what the smallest form bears, in `unit`.
        then: what to do when it gives way.
    """

    name: str
    unit: str
    need: float
    holds: float
    then: str

    @property
    def used(self) -> float:
        """Share of what it bears; above 1 it breaks."""
        return self.need / self.holds


def pictures_shown(constants: Constants) -> float:
    """Pictures that browsers ask for, a scan: a request, an object and an audit row each."""
    return float(constants.pages * constants.pictures + constants.histories * constants.thumbnails)


def writes(constants: Constants) -> float:
    """Rows written, changed and removed a scan."""
    # An audit row is written and, when its time is over, removed.
    return float(constants.database_writes + 2 * pictures_shown(constants))


def web_seconds(constants: Constants) -> float:
    """Processor seconds of the web that a scan costs, with all that its owner looks at."""
    return float(
        constants.web_upload_seconds
        + constants.polls * constants.web_poll_seconds
        + constants.pages * constants.web_page_seconds
        + constants.histories * constants.history_seconds
        + pictures_shown(constants) * constants.web_picture_seconds
    )


def scan_seconds(constants: Constants) -> float:
    """Seconds of a scan where full passes follow each other: no core of the worker waits."""
    return float(constants.worker_processor_seconds / constants.worker_cores)


def parts(scans: float, peak: float, constants: Constants) -> list[Part]:
    """Every part, the one that gives way first at the head.

    Args:
        scans: a day.
        peak: scans a second of the busiest minute.
    """
    busiest_hour = scans * max(constants.hours) / sum(constants.hours)
    month = scans * MONTH_DAYS
    database_bytes = constants.database_bytes + pictures_shown(constants) * constants.audit_bytes
    found = [
        Part(
            "one inference worker",
            "scans/s",
            peak,
            1 / scan_seconds(constants),
            "more workers: INFERENCE_WORKERS, or the autoscaler",
        ),
        Part(
            f"web, {constants.web_cores} cores",
            "cores",
            peak * web_seconds(constants),
            constants.web_cores,
            "more web pods",
        ),
        Part(
            "PostgreSQL, 2 cores",
            "writes/s",
            peak * writes(constants),
            constants.database_writes_per_second,
            "a larger database; then partitions by month, then several sites",
        ),
        Part(
            "object store, one prefix",
            "writes/s",
            peak * constants.objects,
            constants.storage_writes_per_second,
            "S3 splits prefixes by itself over hours; other servers: more nodes",
        ),
        Part(
            "broker, an hour without workers",
            "bytes",
            busiest_hour * constants.broker_bytes,
            constants.broker_bytes_held,
            "more memory; what is lost the sweeper sends again",
        ),
        Part(
            "one disk, after a month",
            "bytes",
            month * (constants.object_bytes + database_bytes),
            constants.disk_bytes,
            "S3 and PostgreSQL instead of DATA_DIR; shorter retention",
        ),
    ]
    return sorted(found, key=lambda part: -part.used)
