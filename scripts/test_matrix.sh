#!/bin/sh
# One cell of the test matrix: every test on SQLite, or those of the data layer on PostgreSQL.
# `make test` is both, with coverage.
set -eu

case "${TEST_DATABASE:-sqlite}" in
    sqlite) exec "${PYTHON:-.venv/bin/python}" -m pytest ;;
    postgres) exec "${PYTHON:-.venv/bin/python}" -m pytest -m data_layer ;;
    *)
        echo "TEST_DATABASE is $TEST_DATABASE: say sqlite or postgres." >&2
        exit 2
        ;;
esac
