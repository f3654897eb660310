#!/bin/sh
# Every check that needs no run of the site. Goes through all of them, then fails if one failed.
set -u

failed=

try() {
    echo "── $1"
    shift
    "$@" || failed=1
}

templates() {
    git ls-files -z '*.html' | xargs -0 "$PYTHON" -m djlint "$@" --quiet
}

deployment() {
    DATA_DIR=$(mktemp -d) SITE_URL=https://tumorsite.example ALLOWED_HOSTS=tumorsite.example \
        PROXY_COUNT=1 \
        "$PYTHON" manage.py check --deploy --fail-level WARNING
}

# Where the advisory service cannot be reached this says so and goes on; a finding fails.
dependencies() {
    for role in run check; do
        report=$("$PYTHON" -m pip_audit --progress-spinner off --disable-pip --no-deps \
            --requirement "requirements/$role.txt" 2>&1) && {
            skipped=$(echo "$report" | grep -c "could not be audited")
            [ "$skipped" = 0 ] || echo "$role: $skipped packages are not known to the service."
            continue
        }
        case "$report" in
            *"Found "*) echo "$report"; return 1 ;;
            *ConnectionError* | *"Max retries"* | *"timed out"* | *ServiceError*)
                echo "Not checked: the advisory service cannot be reached."
                return 0 ;;
            *) echo "$report"; return 1 ;;
        esac
    done
}

try "ruff" "$PYTHON" -m ruff check .
try "format" "$PYTHON" -m ruff format --check .
try "types" "$PYTHON" -m mypy .
try "import contracts" .venv/bin/lint-imports
try "template format" templates --check
try "template lint" templates --lint
try "migrations" "$PYTHON" manage.py makemigrations --check --dry-run
try "migrations of a rollout" "$PYTHON" manage.py lint_migrations
try "deployment" deployment
try "dependencies" dependencies

[ -z "$failed" ] || { echo "Some checks failed, see above." >&2; exit 1; }
