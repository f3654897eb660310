"""Ask the web server in this container whether it lives; ends with 0 or 1.

Nothing but the standard library: this runs every few seconds. The site answers only to the names
in ALLOWED_HOSTS, so the question is put under one of them.
"""

import http.client
import os
import sys


def host_header() -> str:
    """A name that the site answers to, whatever names the operator has given."""
    for name in os.environ.get("ALLOWED_HOSTS", "").split(","):
        if name := name.strip():
            return "localhost" if name == "*" else name.lstrip(".")
    return "localhost"


def alive() -> bool:
    host = os.environ.get("HOST", "127.0.0.1")
    own = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # read, not bound
    link = http.client.HTTPConnection(own, int(os.environ.get("PORT", "8000")), timeout=4)
    try:
        link.request("GET", "/health/live/", headers={"Host": host_header()})
        return link.getresponse().status == 200
    except OSError as error:
        print(f"The web server does not answer: {error}", file=sys.stderr)
        return False
    finally:
        link.close()


if __name__ == "__main__":
    sys.exit(0 if alive() else 1)
