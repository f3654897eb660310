"""`python -m tumorsite.supervisor`: the whole site, until Ctrl-C or SIGTERM."""

from __future__ import annotations

import os
import sys
import time

from django.core.exceptions import ImproperlyConfigured
from setproctitle import setproctitle

from tumorsite.supervisor import StartError
from tumorsite.supervisor.broker import EmbeddedBroker, is_given
from tumorsite.supervisor.folder import DataFolder
from tumorsite.supervisor.opening import listen, read_settings
from tumorsite.supervisor.site import Site


def main() -> int:
    began = time.monotonic()
    setproctitle("tumorsite supervisor")
    # Scans are private, and so is all else in the data folder.
    os.umask(0o077)
    try:
        embedded = None if is_given(os.environ) else EmbeddedBroker()
        values = read_settings(embedded)
        folder = DataFolder(values.DATA_DIR)
        folder.prepare()
        folder.take()
        listener = listen(values.HOST, values.PORT)
        Site(values, folder, listener, embedded, began).run()
    except (StartError, ImproperlyConfigured) as error:
        print(f"TumorSite cannot start: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        print(f"TumorSite cannot start: {error.strerror}{where}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
