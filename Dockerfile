# Modelgate in a container: builds the program, fetches ONNX Runtime, keeps only those two and the models.
#
#   docker build -t modelgate .
#
# The bases are pinned by exact tag. Pin them by digest as well where your registry shows it to you.

# The library, checked against the SHA-256 in the script, and the locale that models of texts name unless they name another.
FROM debian:12.12-slim AS library
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates locales python3 python3-pip \
    && rm -rf /var/lib/apt/lists/* \
    && localedef -i en_US -f UTF-8 en_US.UTF-8
COPY scripts/fetch-onnxruntime /scripts/
RUN /scripts/fetch-onnxruntime /opt/onnxruntime

FROM rust:1.95.0-bookworm AS build
WORKDIR /source
COPY . .
# The caches outlive the layer, so the program is copied out of them.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/source/target \
    ./scripts/build --bin modelgate \
    && install -D target/release/modelgate /out/modelgate

FROM debian:12.12-slim
# ONNX Runtime is C++; certificates are for stores that speak TLS.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libstdc++6 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 1000 --user-group --no-create-home --home-dir /data --shell /usr/sbin/nologin appuser \
    && install -d -o appuser -g appuser -m 700 /data
COPY --from=library /opt/onnxruntime/libonnxruntime.so /opt/onnxruntime/LICENSE /opt/onnxruntime/ThirdPartyNotices.txt /opt/onnxruntime/
COPY --from=library /usr/lib/locale/locale-archive /usr/lib/locale/locale-archive
COPY --from=build /out/modelgate /usr/local/bin/modelgate
COPY models /models
COPY LICENSE /usr/share/doc/modelgate/LICENSE

# Only /data is ever written to: the root file system may be read-only. ONNX Runtime reports on itself by default; this
# is the one switch that it heeds before it makes itself a device id.
ENV APP_ENV=production \
    HOST=0.0.0.0 \
    PORT=8080 \
    DATA_DIR=/data \
    MODEL_DIR=/models \
    ORT_DYLIB_PATH=/opt/onnxruntime/libonnxruntime.so \
    ORT_DISABLE_TELEMETRY=1
WORKDIR /data
VOLUME /data
USER 1000:1000
# The second one is for gRPC, where GRPC_PORT says so.
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["modelgate", "check", "--url", "http://127.0.0.1:8080/health/live"]
ENTRYPOINT ["modelgate"]
CMD ["serve"]
