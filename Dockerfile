# Lintel in a container, and the demo's Node servers for docker-compose.yml. Needs BuildKit, as any Docker since 23 has it.
#
#   docker build -t lintel .
#   docker run -p 8080:8080 -v ./lintel.yaml:/etc/lintel/lintel.yaml:ro lintel
#
# Every base image is an argument, for sites with a registry of their own. Those that run the binary need a C library at
# least as new as the one of RUST_IMAGE: Debian 12 or later, distroless or not.
#
#   --build-arg BASE_IMAGE=gcr.io/distroless/cc-debian12    no shell, no package manager, 50 MB less

ARG RUST_IMAGE=rust:1.95-bookworm
ARG NODE_IMAGE=node:22-bookworm-slim
ARG BASE_IMAGE=debian:bookworm-slim
# Where /usr/local/bin/lintel comes from: the stage below, or an image that has it already.
ARG BINARY=build

FROM ${RUST_IMAGE} AS build
RUN apt-get update && apt-get install -y --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /build
# .dockerignore leaves out rust-toolchain.toml, so that the image's own toolchain is used and none is downloaded.
COPY . .
# Nothing but what Cargo.lock names goes in. Symbols stay, for backtraces; line tables (three quarters of the file) do not.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/build/target \
    cargo build --profile dist --locked && strip --strip-debug -o /usr/local/bin/lintel target/dist/lintel

FROM ${BINARY} AS binary

# What the image has beside its base. A base without a shell can run nothing, so it is laid out here.
FROM ${RUST_IMAGE} AS root
WORKDIR /root-of-lintel
RUN mkdir empty && cp /etc/ssl/certs/ca-certificates.crt .

# Makes certificates for localhost; only docker-compose.yml uses it.
FROM ${RUST_IMAGE} AS certs
WORKDIR /lintel
COPY scripts/certs-dev scripts/certs-dev
RUN install -d -o 10001 -g 10001 certs-dev
USER 10001:10001
CMD ["scripts/certs-dev"]

# A server of docker-compose.yml: the demo, and Lintel in front of its workers.
FROM ${NODE_IMAGE} AS demo
WORKDIR /srv/demo
COPY demo/package.json demo/package-lock.json ./
RUN npm ci --omit=dev --no-audit --no-fund && npm cache clean --force
COPY demo .
COPY --from=binary /usr/local/bin/lintel /usr/local/bin/lintel
COPY --from=root --chown=node:node /root-of-lintel/empty /var/lib/lintel
COPY --from=root --chown=node:node /root-of-lintel/empty /run/lintel
WORKDIR /srv/conf
COPY conf/compose-node.yaml lintel.yaml
USER node
EXPOSE 3000 9901
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s CMD ["lintel", "status"]
ENTRYPOINT ["lintel"]
CMD ["run"]

# Lintel alone: the last stage, so that it is what `docker build .` makes.
FROM ${BASE_IMAGE} AS run
COPY --from=binary /usr/local/bin/lintel /usr/local/bin/lintel
# The roots by which servers with TLS are verified; Debian's slim image has none.
COPY --from=root /root-of-lintel/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
# Sticky cookies are signed by a key that is kept in the first: give the volume a name, lest a new container make a new key.
COPY --from=root --chown=10001:10001 /root-of-lintel/empty /var/lib/lintel
COPY --from=root --chown=10001:10001 /root-of-lintel/empty /run/lintel
VOLUME /var/lib/lintel
COPY conf/minimal.yaml /etc/lintel/lintel.yaml
# Not root, and a number, so that Kubernetes can see it without asking the image for a name.
USER 10001:10001
EXPOSE 8080 8443 9901
STOPSIGNAL SIGTERM
# The binary asks itself over the socket of its control interface. Lintel is process 1: it takes SIGTERM and reaps.
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s CMD ["lintel", "status"]
ENTRYPOINT ["lintel"]
CMD ["run"]
