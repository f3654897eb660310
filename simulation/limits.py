"""The load on each part of the site in the busiest minute, and which part fails first."""

from __future__ import annotations

from dataclasses import dataclass

from simulation.constants import Constants

HOUR, MONTH_DAYS = 3600.0, 30


@dataclass(frozen=True, slots=True)
class Part:
    """One part at its smallest size.

    Attributes:
        need: load at this many scans a day, in `unit`.
        holds: capacity at the smallest size, in `unit`.
        then: what to do when it is exceeded.
    """

    name: str
    unit: str
    need: float
    holds: float
    then: str

    @property
    def used(self) -> float:
        """Share of the capacity in use; above 1 the part fails."""
        return self.need / self.holds


def pictures_shown(constants: Constants) -> float:
    """Pictures that browsers request per scan; each is a request, an object and an audit row."""
    return float(constants.pages * constants.pictures + constants.histories * constants.thumbnails)


def writes(constants: Constants) -> float:
    """Rows inserted, updated and deleted per scan."""
    # An audit row is written and, when it expires, removed.
    return float(constants.database_writes + 2 * pictures_shown(constants))


def web_seconds(constants: Constants) -> float:
    """Processor seconds of the web per scan, including all that its owner looks at."""
    return float(
        constants.web_upload_seconds
        + constants.polls * constants.web_poll_seconds
        + constants.pages * constants.web_page_seconds
        + constants.histories * constants.history_seconds
        + pictures_shown(constants) * constants.web_picture_seconds
    )


def scan_seconds(constants: Constants) -> float:
    """Seconds per scan if full passes follow each other and no core of the worker waits."""
    return float(constants.worker_processor_seconds / constants.worker_cores)


def parts(scans: float, peak: float, constants: Constants) -> list[Part]:
    """Every part, in the order in which they fail.

    Args:
        scans: per day.
        peak: scans a second in the busiest minute.
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
