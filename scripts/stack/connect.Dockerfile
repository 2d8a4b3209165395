# Kafka Connect with what `make stack` runs: the same plugins, by the same script.

FROM debian:12-slim AS plugins
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates maven python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /afterimage
COPY scripts/lib.sh scripts/versions.env scripts/download.sh scripts/
RUN AFTERIMAGE_CACHE_DIR=/downloads scripts/download.sh \
    && mkdir /plugins \
    && mv /downloads/jars/plugins/* /downloads/apicurio-converter-*/apicurio-converter /plugins

FROM apache/kafka:4.3.0
COPY --from=plugins /plugins /opt/afterimage/plugins
# The addresses, then the settings that both stacks share.
ENTRYPOINT ["sh", "-c", "{ \
    echo bootstrap.servers=$KAFKA_BOOTSTRAP_SERVERS; \
    echo listeners=http://:8083; \
    echo plugin.path=/opt/afterimage/plugins; \
    cat /opt/afterimage/connect.properties; \
    } >/tmp/connect.properties && exec /opt/kafka/bin/connect-distributed.sh /tmp/connect.properties"]
