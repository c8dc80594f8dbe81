# An image with the kit and its ready-made extensions; docs/install.md says how to add your own.
#
#   docker build --tag extension-kit:0.1.0 .

FROM python:3.13-slim AS build
WORKDIR /build
# The versions and hashes of everything that gets into the image: `make lock` writes them anew.
COPY requirements.lock requirements-build.lock ./
RUN python3 -m venv tools \
 && tools/bin/pip install --no-cache-dir --require-hashes --only-binary :all: --requirement requirements-build.lock
# Without pip, which nothing needs once it is installed.
RUN python3 -m venv --without-pip /opt/extension \
 && tools/bin/pip --python /opt/extension install \
      --no-cache-dir --require-hashes --only-binary :all: --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY extension_kit extension_kit
RUN tools/bin/pip wheel --no-cache-dir --no-deps --no-index --no-build-isolation --wheel-dir wheel . \
 && tools/bin/pip --python /opt/extension install --no-cache-dir --no-deps --no-index wheel/*.whl

FROM python:3.13-slim
ARG VERSION=unknown
ARG REVISION=unknown
LABEL steadybit.com.discovery-disabled="true" \
      version="${VERSION}" \
      revision="${REVISION}" \
      org.opencontainers.image.title="extension-kit" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# The group 0 for clusters that choose the user themselves, as OpenShift does: such users are all in it.
RUN useradd --uid 10000 --no-create-home --shell /usr/sbin/nologin steadybit \
 && install --directory --owner 10000 --group 0 --mode 0770 /data
ENV PATH=/opt/extension/bin:${PATH} \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    EXTENSION_DATABASE_URL=sqlite:////data/extension.db \
    EXTENSION_REVISION=${REVISION}
COPY LICENSE /licenses/LICENSE
COPY --from=build /opt/extension /opt/extension
WORKDIR /extension
COPY extensions extensions
# By number, so that Kubernetes can see that it is not root.
USER 10000
# Everything else may be read-only.
VOLUME ["/data", "/tmp"]
# Events, and /health/liveness, /health/readiness and /metrics.
EXPOSE 8080 8081
CMD ["extension-kit", "serve", "extensions/announce"]
