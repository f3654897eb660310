# Three images from one file, as they share their stages: web, worker, trainer. How to build them,
# and how large they are: docs/images.md.
#
#   docker buildx build --target web --build-arg BASE_DIGEST=sha256:… --tag tumorsite-web .

# Any image of Debian or like it that has Python 3.11 or newer as python3, with pip and venv.
ARG BASE_IMAGE=docker.io/library/python:3.13-slim-bookworm
# Must be given, so that no build takes whatever the name means today: docker/pin.sh asks for it.
ARG BASE_DIGEST

FROM ${BASE_IMAGE}@${BASE_DIGEST} AS base
ARG BASE_IMAGE
ARG BASE_DIGEST
ARG SOURCE=https://github.com/tumorsite/tumorsite
LABEL org.opencontainers.image.vendor="TumorSite" \
    org.opencontainers.image.licenses="Apache-2.0" \
    org.opencontainers.image.source="${SOURCE}" \
    org.opencontainers.image.documentation="${SOURCE}/blob/main/docs/images.md" \
    org.opencontainers.image.base.name="${BASE_IMAGE}" \
    org.opencontainers.image.base.digest="${BASE_DIGEST}"
# Bytecode is compiled below; a read-only file system could not keep it later.
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    DATA_DIR=/data \
    STATIC_DIR=/app/static
WORKDIR /app
RUN groupadd --gid 10001 tumorsite \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin \
        tumorsite \
    && install --directory --owner=10001 --group=10001 /data \
    && python3 -m venv --without-pip /opt/venv


# An index of your own goes into a pip.conf given as a secret, which no layer keeps. The worker adds
# to the layers of web, so that both are stored and fetched once.
FROM base AS web-packages
COPY docker/packages.sh requirements/web.txt /tmp/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    --mount=type=secret,id=ca,target=/run/ca.pem,required=false \
    --mount=type=cache,target=/root/.cache/pip \
    sh /tmp/packages.sh /tmp/web.txt && rm /tmp/packages.sh /tmp/web.txt


FROM web-packages AS worker-packages
COPY docker/packages.sh requirements/worker.txt /tmp/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    --mount=type=secret,id=ca,target=/run/ca.pem,required=false \
    --mount=type=cache,target=/root/.cache/pip \
    sh /tmp/packages.sh /tmp/worker.txt && rm /tmp/packages.sh /tmp/worker.txt


FROM base AS trainer-packages
COPY docker/packages.sh requirements/gpu.txt /tmp/
RUN --mount=type=secret,id=pip,target=/etc/pip.conf,required=false \
    --mount=type=secret,id=ca,target=/run/ca.pem,required=false \
    --mount=type=cache,target=/root/.cache/pip \
    sh /tmp/packages.sh /tmp/gpu.txt && rm /tmp/packages.sh /tmp/gpu.txt


# The code, compiled, and the static files, collected once for all images. The signing key that
# settings want stays in this stage.
FROM web-packages AS code
COPY accounts accounts
COPY education education
COPY mltasks mltasks
COPY predictions predictions
# The web server lists recipes, and the clock's tasks read the one that training starts by.
COPY recipes recipes
COPY training training
COPY tumorsite tumorsite
COPY manage.py LICENSE NOTICE ./
RUN DATA_DIR=/tmp/build /opt/venv/bin/python manage.py collectstatic --no-input --verbosity 0 \
    && /opt/venv/bin/python -m compileall -q -j 0 --invalidation-mode unchecked-hash /app \
    && rm -r /tmp/build


FROM web-packages AS web
COPY --from=code /app /app
ENV HOST=0.0.0.0 \
    PORT=8000
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-m", "tumorsite.probe", "web", "live"]
# gunicorn is process 1: it hands signals on, and collects every child that ends.
CMD ["gunicorn", "--config", "python:tumorsite.gunicorn", "tumorsite.wsgi"]
# A number, so that a cluster can see that it is not root.
USER 10001:10001
ARG VERSION=0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="tumorsite-web" \
    org.opencontainers.image.description="Web server of TumorSite" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.created="${CREATED}"


FROM worker-packages AS worker
COPY --from=code /app /app
COPY models/tumorsite-5 models/tumorsite-5
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-m", "tumorsite.probe", "worker", "live"]
CMD ["celery", "-A", "tumorsite", "worker", "-Q", "inference", "-n", "inference@%h", \
    "--pool", "prefork", "-c", "1", "--without-gossip", "--without-mingle"]
USER 10001:10001
ARG VERSION=0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="tumorsite-worker" \
    org.opencontainers.image.description="Workers, scheduler and jobs of TumorSite, on the CPU" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.created="${CREATED}"


FROM trainer-packages AS trainer
COPY --from=code /app /app
# Recipes name the network that they go on from, so all of them are here.
COPY models models
# What the container runtime of the GPU's maker looks for. CUDA itself comes with the packages.
ENV INFERENCE_ENGINE=tensorflow \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
HEALTHCHECK --interval=30s --timeout=5s --start-period=180s --retries=3 \
    CMD ["python", "-m", "tumorsite.probe", "worker", "live"]
CMD ["celery", "-A", "tumorsite", "worker", "-Q", "training", "-n", "training@%h", \
    "--pool", "prefork", "-c", "1", "--without-gossip", "--without-mingle"]
USER 10001:10001
ARG VERSION=0
ARG REVISION=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="tumorsite-trainer" \
    org.opencontainers.image.description="Training and inference of TumorSite, on a GPU" \
    org.opencontainers.image.version="${VERSION}" \
    org.opencontainers.image.revision="${REVISION}" \
    org.opencontainers.image.created="${CREATED}"
