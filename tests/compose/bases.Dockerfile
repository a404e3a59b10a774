# Base images for machines that cannot pull any: made of Debian's packages and of the Rust and Node of this machine.
# scripts/compose-test lays out the folder that this is built in.

ARG DEBIAN=lintel-test/debian

FROM ${DEBIAN} AS rust
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends gcc g++ libc6-dev make openssl >/dev/null
COPY rust /usr/local/rust
# The machine's own certificates, without which it may not reach a registry.
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
ENV PATH=/usr/local/rust/bin:$PATH CARGO_HOME=/usr/local/cargo SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt

FROM ${DEBIAN} AS node
COPY node /usr/local
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
ENV NODE_EXTRA_CA_CERTS=/etc/ssl/certs/ca-certificates.crt
RUN useradd --uid 1000 --user-group --create-home node

FROM ${DEBIAN} AS redis
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends redis-server >/dev/null

FROM ${DEBIAN} AS prometheus
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus >/dev/null
USER nobody
ENTRYPOINT ["prometheus"]

# Lintel as it was built outside, in place of the stage `build`.
FROM scratch AS binary
COPY lintel /usr/local/bin/lintel
