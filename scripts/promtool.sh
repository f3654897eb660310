#!/bin/sh
# Puts Debian's promtool, which checks and tests alert rules, in the folder named. Needs apt, but
# not root; where it cannot be had, the tests of the rules say so and the others run.
set -eu

folder=$1
[ ! -x "$folder/promtool" ] || exit 0
missing() {
    echo "promtool is missing; the tests of the alert rules need it (Debian: apt install prometheus)." >&2
    exit 0
}
if command -v promtool >/dev/null 2>&1; then
    mkdir -p "$folder"
    ln -s "$(command -v promtool)" "$folder/promtool"
    exit 0
fi
command -v apt-get >/dev/null 2>&1 || missing
command -v dpkg-deb >/dev/null 2>&1 || missing

echo "Fetching promtool for the tests of the alert rules."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# apt fetches as a user of its own.
chmod 755 "$work"
fetch() { (cd "$work" && apt-get -qq download prometheus) 2>/dev/null; }
if ! fetch; then
    [ "$(id -u)" = 0 ] || missing
    apt-get -qq update || missing
    fetch || missing
fi
dpkg-deb --fsys-tarfile "$work"/prometheus_*.deb | tar -x -C "$work" ./usr/bin/promtool || missing
mkdir -p "$folder"
cp "$work/usr/bin/promtool" "$folder/promtool.new"
mv "$folder/promtool.new" "$folder/promtool"
