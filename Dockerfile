# The daemon in a container:
#
#   docker build -t stackcron .
#   docker run -v "$PWD/schedule.yaml:/etc/stackcron/schedule.yaml:ro" -v stackcron:/var/lib/stackcron -e CLOUD66_TOKEN stackcron
#
# In the schedule: `token: { env: CLOUD66_TOKEN }`. The log is on stdout. SIGTERM ends it in order: give it twelve seconds (docker stop --time 12).
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked && install -D target/release/stackcron /out/stackcron

FROM debian:bookworm-slim
# The system's certificates are what TLS is verified by; a newer tz database than the one that is built in.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates tzdata \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 66066 --no-create-home stackcron \
    && install -d -o stackcron -m 750 /var/lib/stackcron
COPY --from=build /out/stackcron /usr/bin/stackcron
COPY config/schedule.yaml /etc/stackcron/schedule.yaml
ENV STATE_DIRECTORY=/var/lib/stackcron
VOLUME /var/lib/stackcron
USER 66066
# No shell in between: it is the first process, and signals reach it.
ENTRYPOINT ["/usr/bin/stackcron"]
CMD ["run"]
