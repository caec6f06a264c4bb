# One image for web, worker, beat and commands; they differ in the command alone. See docs/deployment.md.
#
#   docker build -t saas-litellm .
#   docker build --build-arg PYTHON_IMAGE=python@sha256:… -t saas-litellm .      the base image by digest

ARG PYTHON_IMAGE=python:3.13-slim-bookworm

FROM ${PYTHON_IMAGE} AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/venv
COPY requirements-runtime.txt /tmp/requirements-runtime.txt
# By hash, and wheels only: nothing is compiled, and no package runs code of its own while it is installed.
RUN /opt/venv/bin/pip install --require-hashes --no-deps --only-binary :all: -r /tmp/requirements-runtime.txt

FROM ${PYTHON_IMAGE}
LABEL org.opencontainers.image.title="SaaS LiteLLM" \
      org.opencontainers.image.licenses="MIT"
# By number, so that an orchestrator can see that it is not root. Nothing in the image belongs to this user.
RUN groupadd --system --gid 10001 saasllm \
    && useradd --system --uid 10001 --gid 10001 --no-create-home --shell /usr/sbin/nologin saasllm
# WEB_THREADS is what CMD below says: the share of threads that may wait is reckoned from it.
ENV PATH="/opt/venv/bin:$PATH" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    _RJEM_MALLOC_CONF=tcache:false \
    WEB_THREADS=64
COPY --from=packages /opt/venv /opt/venv
WORKDIR /app
# What .dockerignore lets through.
COPY . /app
# Needs no secret and no service. The code is compiled now since nobody may write here later.
RUN python manage.py collectstatic --noinput \
    && python -m compileall -q apps saasllm
USER 10001:10001
EXPOSE 8003
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "deploy/healthcheck.py", "http://127.0.0.1:8003/livez"]
CMD ["granian", "--interface", "wsgi", "saasllm.wsgi:application", "--host", "0.0.0.0", "--port", "8003", "--workers", "1", "--blocking-threads", "64", "--backpressure", "1024", "--respawn-failed-workers", "--workers-kill-timeout", "35", "--no-ws"]
