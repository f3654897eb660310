#!/bin/sh
# What the workflows call: deliver.py on the branch `deploy`, pushed with the job's own token.
#   deliver_push.sh              a push: staging from main, else the branch's preview
#   deliver_push.sh production   GITHUB_SHA and digests/ into production
#   deliver_push.sh train        ask for a candidate of what the preview of BRANCH runs
#   deliver_push.sh retire       the preview of BRANCH goes
# DEPLOY_REMOTE replaces GitHub's address in the tests.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
step=${1:-push}

# Git asks for the password here, so the token is in no argument, address or file.
GIT_ASKPASS=$here/askpass.sh
GIT_TERMINAL_PROMPT=0
export GIT_ASKPASS GIT_TERMINAL_PROMPT
remote=${DEPLOY_REMOTE:-$GITHUB_SERVER_URL/$GITHUB_REPOSITORY.git}

# shellcheck disable=SC2016  # CHECKOUT is known to publish.sh, not here
deliver() {
    message=$1
    shift
    sh "$here/publish.sh" "$remote" "$message" \
        sh -c 'verb=$1; shift; exec python3 "$0" "$verb" "$CHECKOUT" "$@"' "$here/deliver.py" "$@"
}

# Whether the push changed what a network is made of. A new branch counts from where it left main.
trains() {
    base=${BEFORE:-}
    if [ -z "$(echo "$base" | tr -d 0)" ] || ! git cat-file -e "$base^{commit}" 2>/dev/null; then
        base=$(git merge-base HEAD refs/remotes/origin/main) || return 0
    fi
    ! git diff --quiet "$base" HEAD -- recipes mltasks training requirements/gpu.txt
}

case "$step" in
    push)
        if [ "$BRANCH" = main ]; then
            deliver "Staging runs $GITHUB_SHA" environment staging \
                --commit "$GITHUB_SHA" --digests digests
        elif trains; then
            deliver "The preview of $BRANCH runs and trains $GITHUB_SHA" preview "$BRANCH" \
                --commit "$GITHUB_SHA" --digests digests --train
        else
            deliver "The preview of $BRANCH runs $GITHUB_SHA" preview "$BRANCH" \
                --commit "$GITHUB_SHA" --digests digests
        fi
        ;;
    production)
        deliver "Production runs $GITHUB_SHA" environment production \
            --commit "$GITHUB_SHA" --digests digests
        ;;
    train) deliver "The preview of $BRANCH trains a candidate" train "$BRANCH" ;;
    retire) deliver "The preview of $BRANCH is gone" retire "$BRANCH" ;;
    *)
        echo "deliver_push.sh does not know $step." >&2
        exit 2
        ;;
esac
