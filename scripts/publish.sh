#!/bin/sh
# Changes a branch of a remote and pushes it, as one commit. Others may push at the same
# time: the change is then made again on top of theirs, so what deliver.py writes never overwrites
# another place's file.
#   publish.sh REMOTE BRANCH MESSAGE COMMAND…
# COMMAND is called with the checkout's folder in CHECKOUT; if it changes nothing, nothing is pushed.
set -eu

remote=$1
branch=$2
message=$3
shift 3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
CHECKOUT=$work/deploy
export CHECKOUT

try=1
while :; do
    rm -rf "$CHECKOUT"
    git clone --quiet --depth 1 --single-branch --branch "$branch" "$remote" "$CHECKOUT" || {
        echo "Not delivered: the branch $branch cannot be fetched; docs/delivery.md says how it is made." >&2
        exit 1
    }
    "$@"
    git -C "$CHECKOUT" add --all
    if git -C "$CHECKOUT" diff --cached --quiet; then
        echo "Nothing to change."
        exit 0
    fi
    git -C "$CHECKOUT" -c user.name="TumorSite delivery" -c user.email="delivery@tumorsite.example" \
        commit --quiet --message "$message"
    if git -C "$CHECKOUT" push --quiet origin "$branch"; then
        exit 0
    fi
    [ "$try" -lt 5 ] || {
        echo "Not delivered: the branch $branch could not be pushed, five times." >&2
        exit 1
    }
    sleep "$try"
    try=$((try + 1))
done
