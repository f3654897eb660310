#!/bin/sh
# What the workflows call: deliver.py on the branch that Argo CD reads, `deploy` for staging and
# previews, `deploy-production` for production.
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
deploy=deploy

# shellcheck disable=SC2016  # CHECKOUT is known to publish.sh, not here
deliver() {
    message=$1
    shift
    sh "$here/publish.sh" "$remote" "$deploy" "$message" \
        sh -c 'verb=$1; shift; exec python3 "$0" "$verb" "$CHECKOUT" "$@"' "$here/deliver.py" "$@"
}

retire() {
    deliver "The preview of $BRANCH is gone" retire "$BRANCH"
}

# Whether what a network is made of has changed since the preview was delivered last: pushes in
# between may have failed their tests. A new branch counts from where it left main.
trains() {
    base=$(python3 "$here/deliver.py" delivered "$CHECKOUT" "$BRANCH")
    if [ -z "$base" ] || ! git cat-file -e "$base^{commit}" 2>/dev/null; then
        base=$(git merge-base HEAD refs/remotes/origin/main) || return 0
    fi
    ! git diff --quiet "$base" HEAD -- recipes mltasks training requirements/gpu.txt
}

# A job's own token is the same whichever branch's workflow runs it. This key is known to jobs of the
# environment `production` alone, and only it may push to the branch `deploy-production`.
use_the_key_of_production() {
    key=$(mktemp)
    trap 'rm -f "$key"' EXIT
    printf '%s\n' "${DEPLOY_KEY:?the environment production has no such secret: docs/delivery.md}" > "$key"
    GIT_SSH_COMMAND="ssh -i $key -o IdentitiesOnly=yes -o StrictHostKeyChecking=yes -o UserKnownHostsFile=$here/known_hosts"
    export GIT_SSH_COMMAND
    remote=git@github.com:$GITHUB_REPOSITORY.git
}

case "$step" in
    push)
        if [ "$BRANCH" = main ]; then
            deliver "Staging runs $GITHUB_SHA" environment staging \
                --commit "$GITHUB_SHA" --digests digests
            exit 0
        fi
        sh "$here/publish.sh" "$remote" "$deploy" "The preview of $BRANCH runs $GITHUB_SHA" sh "$0" change
        # If the branch was deleted meanwhile, its retirement may have come before there was anything
        # to retire. One that is deleted after this look finds the file.
        left=$(git ls-remote "$remote" "refs/heads/$BRANCH")
        [ -n "$left" ] || retire
        ;;
    change) # what `push` makes of a branch's preview, called by publish.sh
        set -- preview "$CHECKOUT" "$BRANCH" --commit "$GITHUB_SHA" --digests digests
        if trains; then
            set -- "$@" --train
        fi
        python3 "$here/deliver.py" "$@"
        ;;
    production)
        deploy=deploy-production
        [ -n "${DEPLOY_REMOTE:-}" ] || use_the_key_of_production
        deliver "Production runs $GITHUB_SHA" environment production \
            --commit "$GITHUB_SHA" --digests digests
        ;;
    train) deliver "The preview of $BRANCH trains a candidate" train "$BRANCH" ;;
    retire) retire ;;
    *)
        echo "deliver_push.sh does not know $step." >&2
        exit 2
        ;;
esac
