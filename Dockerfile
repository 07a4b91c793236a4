# The service as a small image: the locked packages in a virtual environment
# of their own, no compiler, no pip, a non-root user, and nothing that needs
# a writable root file system. Builds with BuildKit and the classic builder.

# ---------------------------------------------------------------- build ----
FROM debian:bookworm-slim AS build

RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        python3 python3-venv \
 && apt-get clean \
 && rm -rf /var/lib/apt/lists/*

# For a site with a package mirror: docker build --build-arg PIP_INDEX_URL=...
# Unset they change nothing, and neither is part of the final image.
ARG PIP_INDEX_URL
ARG PIP_TRUSTED_HOST

# pip lives in a second environment, so the one that ships holds neither pip
# nor setuptools. Wheels only: an image without a compiler should say at once
# when a package has none.
COPY requirements/serve.txt /tmp/serve.txt
RUN python3 -m venv /opt/pip \
 && python3 -m venv --without-pip /opt/venv \
 && /opt/pip/bin/pip --python /opt/venv/bin/python install \
        --no-cache-dir --no-compile --only-binary :all: \
        --require-hashes -r /tmp/serve.txt

# Drop what serving never opens: the packages' own tests and sample images,
# headers, and of OpenVINO the plugins for devices a container is not given and
# the readers of formats other than TensorFlow's and its own. Then compile
# everything: the root file system is read-only at run time.
RUN set -eu; cd /opt/venv/lib/python3*/site-packages; \
    find numpy -type d -name tests -prune -exec rm -rf {} +; \
    rm -rf pydicom/data/test_files pydicom/data/charset_files \
           numpy/_core/include openvino/include openvino/cmake; \
    (cd openvino/libs && rm -f cache.json libopenvino_intel_gpu_plugin.so libopenvino_intel_npu_*.so \
        libopenvino_gguf_* libopenvino_jax_* libopenvino_onnx_* libopenvino_paddle_* libopenvino_pytorch_* \
        libopenvino_tensorflow_lite_*); \
    python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash .

# The application and the model pass through here so that their modes do not
# depend on the umask of whoever checked them out.
COPY app/ /srv/cxr/app/
COPY models/ /srv/cxr/models/
RUN chmod -R u=rwX,go=rX /srv/cxr \
 && python3 -m compileall -q --invalidation-mode checked-hash /srv/cxr/app

# ---------------------------------------------------------------- final ----
FROM debian:bookworm-slim

# The folder of the model cache belongs to the service's user: a named volume
# mounted there for the first time takes over its owner.
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3 \
 && apt-get clean \
 && rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old /var/log/apt /var/log/dpkg.log \
 && groupadd --gid 10001 cxr \
 && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home \
        --home-dir /nonexistent --shell /usr/sbin/nologin cxr \
 && install -d -o 10001 -g 10001 -m 0750 /var/cache/cxr

COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/cxr /srv/cxr

# The container's own addresses are as far as it can see: who reaches them is
# decided where its port is published, which docker-compose.yml does on this
# machine alone. With CXR_API_KEYS_FILE keys are asked for in any case.
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    CXR_HOST=0.0.0.0 \
    CXR_ALLOW_ANONYMOUS=true \
    CXR_PORT=8000 \
    CXR_DRAIN_MS=2000 \
    CXR_CACHE_DIR=/var/cache/cxr

WORKDIR /srv/cxr
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM

# No curl in the image. http.client and not urllib: it heeds no proxy setting.
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["/usr/bin/python3", "-IS", "-c", "import http.client as h, os, sys; c = h.HTTPConnection('127.0.0.1', int(os.environ.get('CXR_PORT') or 8000), timeout=4); c.request('GET', '/readyz'); sys.exit(c.getresponse().status != 200)"]

ENTRYPOINT ["/opt/venv/bin/python", "-m", "app"]
