# One image for the operator and the API: the same packages, another command (`taskjob-operator`, `taskjob-api`).
#
# Every dependency is pinned by version and hash (`make lock` writes the two lock files). The base is an argument:
# whatever has a python3 (3.11 or newer) with venv will do, and both stages must have the same one. `make image` builds
# over a Debian made on this machine where no registry can be reached.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS build
# Modules are compiled here, since the file system is read-only later, and checked by nothing (unchecked-hash): so a
# build is the same at any time. The seed is fixed because the order of compiled sets depends on it. The models of the
# official client stay uncompiled: 60 MB of which a process imports a handful.
ENV PIP_NO_COMPILE=1 PIP_NO_INPUT=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PYTHONHASHSEED=0
WORKDIR /src
COPY requirements-runtime.lock requirements-build.lock ./
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv /opt/builder && /opt/builder/bin/pip install --quiet --require-hashes -r requirements-build.lock \
 && python3 -m venv --without-pip /opt/taskjobs \
 && /opt/builder/bin/pip --python /opt/taskjobs/bin/python install --quiet \
        --require-hashes --only-binary :all: -r requirements-runtime.lock
COPY pyproject.toml README.md LICENSE ./
COPY operator operator
COPY api api
RUN /opt/builder/bin/pip --python /opt/taskjobs/bin/python install --quiet --no-deps --no-index \
        "$(/opt/builder/bin/pip wheel --quiet --no-deps --no-build-isolation --no-index --wheel-dir /src/dist . \
           && echo /src/dist/*.whl)" \
 && find /opt/taskjobs \( -name tests -o -name test -o -name __pycache__ \) -type d -prune -exec rm -rf {} + \
 && find /opt/taskjobs \( -name '*.pyx' -o -name '*.pxd' -o -name '*.c' -o -name '*.pyi' \) -type f -delete \
 && /opt/taskjobs/bin/python -m compileall -q -j 1 --invalidation-mode unchecked-hash \
        -x "/kubernetes/(aio/)?client/(models|api)/" /opt/taskjobs/lib

FROM ${BASE}
COPY --from=build /opt/taskjobs /opt/taskjobs
# The id has no name here, nor need any other that a cluster chooses: whoever asks for one (asyncpg does, for a URL without) gets USER.
ENV PATH=/opt/taskjobs/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    USER=taskjobs \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
# Numeric, so that a pod's runAsNonRoot can be checked without a look into the image. Nothing is written at run time.
USER 65532:65532
WORKDIR /
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="taskjobs" \
      org.opencontainers.image.description="Batch jobs for Kubernetes with dependencies, queues, quotas, retries and a history" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
CMD ["taskjob-operator"]
