#!/bin/sh
# One cell of the test matrix: every test on SQLite, with branch coverage, or those of the data layer
# on PostgreSQL. `make test` is both. Arguments go to pytest.
set -eu

python=${PYTHON:-.venv/bin/python}
case "${TEST_DATABASE:-sqlite}" in
    sqlite)
        "$python" -m coverage erase
        "$python" -m pytest --cov --cov-report= "$@"
        exec "$python" -m coverage report --fail-under=90
        ;;
    postgres) exec "$python" -m pytest -m data_layer "$@" ;;
    *)
        echo "TEST_DATABASE is $TEST_DATABASE: say sqlite or postgres." >&2
        exit 2
        ;;
esac
