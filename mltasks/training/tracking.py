"""MLflow, where its address is set: parameters, figures and files of a run."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)
EXPERIMENT = "tumorsite"


class Tracker:
    """Logs one run. A tracking server that is away costs a warning, never the run.

    Args:
        uri: of the tracking server or store; empty: nothing is logged.
        name: of the run.
    """

    def __init__(self, uri: str, name: str) -> None:
        self._mlflow: Any = None
        self._epochs = 0
        if not uri:
            return
        try:
            import mlflow

            mlflow.set_tracking_uri(uri)
            mlflow.set_experiment(EXPERIMENT)
            mlflow.start_run(run_name=name)
            self._mlflow = mlflow
        except Exception as error:  # many kinds: HTTP, files, a missing package
            logger.warning("MLflow is not used (%s)", type(error).__name__)

    def _try(self, method: str, *arguments: Any, **options: Any) -> None:
        if self._mlflow is None:
            return
        try:
            getattr(self._mlflow, method)(*arguments, **options)
        except Exception as error:
            logger.warning("MLflow did not take %s (%s)", method, type(error).__name__)

    def parameters(self, values: Mapping[str, Any]) -> None:
        """What the run was asked for."""
        self._try("log_params", {name: str(value)[:500] for name, value in values.items()})

    def epochs(self, history: Sequence[Mapping[str, float]]) -> None:
        """The figures of each epoch that has ended since this was told last.

        Args:
            history: a row for each epoch so far.
        """
        for row in history[self._epochs :]:
            figures = {name: value for name, value in row.items() if name != "epoch"}
            self._try("log_metrics", figures, step=int(row["epoch"]))
        self._epochs = len(history)

    def result(self, folder: Path, names: tuple[str, ...]) -> None:
        """The files at the end."""
        for name in names:
            if (folder / name).is_file():
                self._try("log_artifact", str(folder / name))
        self._try("end_run")

    def failed(self) -> None:
        """The run was broken off; it may be taken up again as a new one."""
        self._try("end_run", status="FAILED")
