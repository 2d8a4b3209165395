# The consumer, alone in a small image.

FROM rust:1.95.0-bookworm AS build
WORKDIR /afterimage
COPY . .
RUN cargo build --release --locked --bin consumer

FROM debian:12-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --no-create-home consumer
COPY --from=build /afterimage/target/release/consumer /usr/local/bin/consumer
USER consumer
EXPOSE 9187
ENTRYPOINT ["consumer"]
