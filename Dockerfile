# Pannier as an image of one static binary.
#
#   docker build --tag pannier .
#   docker run --rm --read-only --cap-drop ALL --memory 64m pannier
#
# The server listens on loopback unless it is told otherwise. That is right for a sidecar, which shares its network
# namespace with the service that uses it (a pod, or `--network container:NAME`), and nobody else gets in. Published
# ports need an address that is wider, and that needs a password, or it will not start:
#
#   docker run --rm -p 7878:7878/tcp -p 7878:7878/udp -e PANNIER_TCP=0.0.0.0:7878 -e PANNIER_PASSWORD=… pannier
#
# Memory is 75 % of the container's limit (`--memory` above); `docs/deploy.md` tells the rest.

ARG RUST_IMAGE=rust:1.95-slim-bookworm

FROM ${RUST_IMAGE} AS build
WORKDIR /src
COPY . .
# The caches keep downloaded crates and compiled dependencies from one build to the next. The target is named because
# cargo then builds procedural macros, which cannot be static, without the flag.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/src/target,sharing=locked \
    target="$(rustc -vV | sed -n 's/^host: //p')" \
    && RUSTFLAGS='-C target-feature=+crt-static' cargo build --locked --profile dist --bin pannier \
        --no-default-features --features cli,scripts --target "$target" \
    && mkdir -p /image/licenses \
    && cp "target/$target/dist/pannier" /image/pannier \
    && cp LICENSE-APACHE LICENSE-MIT /image/licenses/

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Pannier" \
      org.opencontainers.image.description="A key-value server for sidecars: one memory ceiling, no pauses, every Redis client" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /image/ /
# A number, so that `runAsNonRoot` can be checked without a user database. It owns nothing: nothing is ever written.
USER 65532:65532
# Data by RESP and by datagrams; probes and metrics by HTTP.
EXPOSE 7878/tcp 7878/udp 7879/tcp
STOPSIGNAL SIGTERM
# There is no shell: the binary asks the server by itself, at the address and with the password that the server has.
HEALTHCHECK --interval=10s --timeout=3s --start-period=2s --retries=3 CMD ["/pannier", "healthcheck"]
ENTRYPOINT ["/pannier"]
CMD ["serve"]
