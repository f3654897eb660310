#!/bin/sh
# The browser tests drive Debian's Chromium. Installs it where that is possible without asking.
set -eu

if command -v chromium >/dev/null 2>&1; then
    exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "Installing Chromium for the browser tests."
    export DEBIAN_FRONTEND=noninteractive
    if apt-get -qq update && apt-get -qq install --no-install-recommends chromium >/dev/null; then
        exit 0
    fi
fi
echo "Chromium is missing; the browser tests need it (Debian: apt install chromium)." >&2
