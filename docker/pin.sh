#!/bin/sh
# Prints what pins the base image, for `--build-arg` or an environment file:
#   docker/pin.sh [TRANSPORT:]IMAGE      (default: the BASE_IMAGE of the Dockerfile)
# It asks the registry through skopeo or docker buildx, whichever there is.
set -eu

image=${1:-$(sed -n 's/^ARG BASE_IMAGE=//p' "$(dirname "$0")/../Dockerfile")}

if command -v skopeo >/dev/null 2>&1; then
    case "$image" in
        docker:* | oci:* | containers-storage:*) where=$image ;;
        *) where=docker://$image ;;
    esac
    # A list for several machines has a digest of its own: the raw text's, which is what counts.
    raw=$(mktemp)
    trap 'rm -f "$raw"' EXIT
    skopeo inspect --raw "$where" >"$raw"
    digest=sha256:$(sha256sum "$raw" | cut -d ' ' -f 1)
elif docker buildx version >/dev/null 2>&1; then
    digest=$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$image")
else
    echo "Neither skopeo nor docker buildx is installed: the digest cannot be asked for." >&2
    exit 1
fi

case "$digest" in
    sha256:????????????????????????????????????????????????????????????????) ;;
    *) echo "The registry gave no digest for $image." >&2; exit 1 ;;
esac
printf 'BASE_IMAGE=%s\nBASE_DIGEST=%s\n' "${image#docker://}" "$digest"
