# The images of the gateway, the HTTP API and the chat's worker: one static program each, and nothing else.
#
#   docker build --target gateway --tag registry.example.com/gatebus/gateway-svc:0.1.0 .
#   docker build --target api     --tag registry.example.com/gatebus/api-svc:0.1.0 .
#   docker build --target chat    --tag registry.example.com/gatebus/chat:0.1.0 .
#
# docs/images.md explains it, and has the same for a worker of your own.
ARG RUST_IMAGE=docker.io/library/rust:1.95-bookworm

FROM ${RUST_IMAGE} AS build
WORKDIR /src
# Every path a program could remember is the same on every machine.
ENV CARGO_HOME=/cargo \
    CARGO_PROFILE_RELEASE_DEBUG=false \
    CARGO_PROFILE_RELEASE_STRIP=symbols
# Nothing that is in the image is younger than this.
ARG SOURCE_DATE_EPOCH=0
COPY . .
# Dependencies stay compiled in the caches, also when Cargo.lock changes; a layer of their own would
# be built anew for every change of it, and wants a made-up source for each crate of the workspace.
# Sources are touched: where every file has the same time, cargo would take a changed one for the old.
RUN --mount=type=cache,id=gatebus-registry,target=/cargo/registry \
    --mount=type=cache,id=gatebus-target,target=/src/target \
    set -eu; \
    host="$(rustc -vV | sed -n 's/^host: //p')"; \
    export RUSTFLAGS="-C target-feature=+crt-static --remap-path-prefix=$(rustc --print sysroot)=/rust"; \
    find . -path ./target -prune -o -type f -exec touch {} +; \
    cargo build --locked --release --target "$host" --bin gateway-svc --bin api-svc --bin gatebus-chat; \
    for program in gateway-svc api-svc gatebus-chat; do \
        root="/out/$program"; \
        install -D -m 0555 "target/$host/release/$program" "$root/$program"; \
        install -D -m 0444 /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt"; \
        find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +; \
    done

# What all of them have: nobody's user, by its number, so that Kubernetes sees that it is not root.
FROM scratch AS base
USER 65532:65532
STOPSIGNAL SIGTERM
LABEL org.opencontainers.image.vendor="Gatebus" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"

FROM base AS chat
LABEL org.opencontainers.image.title="gatebus-chat" \
      org.opencontainers.image.description="The chat example of Gatebus: a worker and a web page"
COPY --from=build /out/gatebus-chat /
ENTRYPOINT ["/gatebus-chat"]

FROM base AS api
LABEL org.opencontainers.image.title="api-svc" \
      org.opencontainers.image.description="The HTTP API of Gatebus: every command and query on every target"
COPY --from=build /out/api-svc /
EXPOSE 7281 7282
ENTRYPOINT ["/api-svc"]

FROM base AS gateway
LABEL org.opencontainers.image.title="gateway-svc" \
      org.opencontainers.image.description="The gateway of Gatebus: holds clients' connections and takes them to NATS"
COPY --from=build /out/gateway-svc /
EXPOSE 7272 7280
ENTRYPOINT ["/gateway-svc"]
