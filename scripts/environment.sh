#!/bin/sh
# Makes an environment and fills it. Called by make, from the project's folder.
#   environment.sh make [FOLDER]
#   environment.sh install REQUIREMENTS STAMP
# FOLDER is .venv unless named; a stamp lies in the folder that it speaks of.
set -eu

fail() {
    echo "TumorSite cannot be installed: $*" >&2
    exit 1
}

usable() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

complete() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null
}

make_environment() {
    newest= without_venv=
    for python in python3 python3.13 python3.12 python3.11 python3.14; do
        command -v "$python" >/dev/null 2>&1 || continue
        version=$("$python" -c 'import platform; print(platform.python_version())' 2>/dev/null) ||
            continue
        newest=${newest:-$version}
        usable "$python" || continue
        complete "$python" || { without_venv=$python; continue; }
        mkdir -p "$folder" 2>/dev/null || fail "the folder $(pwd) cannot be written."
        enough_room
        "$python" -m venv --clear "$folder" || fail "the virtual environment could not be made."
        touch "$folder/.made.stamp"
        return
    done
    [ -z "$without_venv" ] ||
        fail "$without_venv comes without venv and pip; on Debian or Ubuntu: apt install python3-venv."
    [ -z "$newest" ] || fail "Python 3.11 or newer is needed, and python3 is $newest."
    fail "Python 3.11 or newer is needed, and there is no python3."
}

# Less than this and the packages that running needs do not fit.
enough_room() {
    free=$(df -Pk . | awk 'NR == 2 { print $4 }')
    [ "$free" -gt 700000 ] ||
        fail "the disk is full: $((free / 1024)) MB are free, and the packages need 700 MB."
}

install() {
    [ -w "$folder" ] || fail "the folder $(pwd)/$folder cannot be written."
    enough_room
    echo "Installing what $1 lists; the first time this takes a minute or more."
    # What is used is compiled when it is used first: all of it takes as long again as the rest.
    "$folder/bin/python" -m pip install --quiet --no-input --disable-pip-version-check \
        --no-compile --no-deps --requirement "$1" || fail "pip ended with an error, see above."
    touch "$2"
}

case "$1" in
    make) folder=${2:-.venv}; make_environment ;;
    install) folder=$(dirname "$3"); install "$2" "$3" ;;
esac
