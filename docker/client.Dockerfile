# A client without a screen and without sound devices: speaks a file, writes what it heard.
#   docker build -f docker/client.Dockerfile -t voicelink-client .
FROM python:3.13-slim
# hadolint ignore=DL3008  # the distribution's present versions, with its fixes
RUN apt-get update \
    && apt-get install -y --no-install-recommends iproute2 libportaudio2 libsndfile1 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY voicelink voicelink
COPY server server
COPY client client
COPY weights weights
# hadolint ignore=DL3013  # this very tree
RUN pip install --no-cache-dir ".[call]" && rm -rf /src
COPY docker/client.sh /usr/local/bin/client.sh
WORKDIR /results
# As root until netem is set up, which needs CAP_NET_ADMIN; client.sh then runs the client as nobody.
ENTRYPOINT ["/bin/sh", "/usr/local/bin/client.sh"]
