# One image for everything: fleet, gateway, migrate, maintain, simulator. The first word after its name
# says which: docker run IMAGE gateway. Settings come from the environment (compose/env.example).
#
# Expected size: 225 MB on disk, of which 130 MB are the Python image and 65 MB the libraries.

# The Python that the tests run on. For a bit-for-bit base give a digest: --build-arg PYTHON_IMAGE=...
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /src
# First what changes seldom: these layers are reused as long as the lock file stays the same.
COPY requirements.lock requirements-build.lock ./
# Wheels only and every one by its hash: nothing is compiled, nothing can be exchanged.
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes --only-binary=:all: -r requirements-build.lock \
    && python -m venv --without-pip /opt/spot \
    && /opt/build/bin/pip --python /opt/spot/bin/python install \
        --require-hashes --only-binary=:all: -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY sql sql
COPY spot spot
COPY shards shards
# The page's third-party scripts, pinned by hash, go into the package before it is built.
RUN PYTHONPATH=/src /opt/build/bin/python -m spot.gateway.assets \
    && /opt/build/bin/hatchling build -t wheel -d /dist \
    && /opt/build/bin/pip --python /opt/spot/bin/python install --no-deps /dist/*.whl \
    && /opt/spot/bin/python -m compileall -q /opt/spot/lib

FROM ${PYTHON_IMAGE}
ARG REVISION=unknown
LABEL org.opencontainers.image.title="spot" \
      org.opencontainers.image.description="Every Coinbase spot market's candles, exact and live" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.revision="${REVISION}"
# A number, so that an orchestrator can see that it is not root; nothing but /tmp is ever written.
RUN groupadd --gid 10001 spot && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp spot
COPY --from=build /opt/spot /opt/spot
ENV PATH=/opt/spot/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 USER=spot PORT=8080
WORKDIR /tmp
USER 10001:10001
EXPOSE 8080
# Gateway and fleet answer on PORT. No shell in between: signals reach the program, which is process 1.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-m", "spot.cli.healthcheck"]
ENTRYPOINT ["spot"]
CMD ["fleet"]
