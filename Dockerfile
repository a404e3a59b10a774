# Lintel in a container. Build: docker build -t lintel .   Run: docker run -v ./lintel.yaml:/etc/lintel/lintel.yaml lintel
# Base images can be exchanged: --build-arg BASE_IMAGE=... ; build and run image must have the same C library.

ARG RUST_IMAGE=rust:1-bookworm
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${RUST_IMAGE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /build
# .dockerignore leaves out rust-toolchain.toml, so that the image's own toolchain is used and none is downloaded.
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/build/target \
    cargo build --release --locked && cp target/release/lintel /usr/local/bin/lintel

# Makes certificates for localhost; only docker-compose.yml uses it.
FROM ${BASE_IMAGE} AS certs
RUN apt-get update && apt-get install -y --no-install-recommends openssl && rm -rf /var/lib/apt/lists/*
WORKDIR /lintel
COPY scripts/certs-dev scripts/certs-dev
RUN install -d -o 10001 -g 10001 certs-dev
USER 10001:10001
CMD ["scripts/certs-dev"]

FROM ${BASE_IMAGE} AS run
# ca-certificates: the roots by which servers with TLS are verified.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --user-group --no-create-home lintel \
    && install -d -o lintel -g lintel /var/lib/lintel /run/lintel && install -d /etc/lintel
COPY --from=build /usr/local/bin/lintel /usr/local/bin/lintel
COPY conf/minimal.yaml /etc/lintel/lintel.yaml
USER lintel
VOLUME /var/lib/lintel
EXPOSE 8080 8443 9901
STOPSIGNAL SIGTERM
ENTRYPOINT ["lintel"]
CMD ["run", "-c", "/etc/lintel/lintel.yaml"]
