# The rendezvous and relay server: no model runtime, no sound, not root.
#   docker build -f docker/server.Dockerfile -t voicelink-server .
#   docker run -p 47600:47600/udp voicelink-server
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY voicelink voicelink
COPY server server
COPY client client
COPY weights/__init__.py weights/manifest.toml weights/
# What the server imports, and no more: neither numpy nor the command line's packages.
RUN pip install --no-cache-dir --no-deps --target=/app . \
    && pip install --no-cache-dir --target=/app "msgpack>=1.0" "cryptography>=42" "uvloop>=0.19" "toml>=0.10.2" "redis>=5" \
    && rm -rf /app/voicelink_client /app/voicelink_weights /app/voicelink/codec /app/voicelink/train /app/voicelink/experiments

FROM python:3.13-slim
ENV PYTHONPATH=/app PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
COPY --from=build /app /app
COPY docker/health.py /app/health.py
USER 65532:65532
EXPOSE 47600/udp 9100/tcp
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=2s CMD ["python", "/app/health.py"]
ENTRYPOINT ["python", "-m", "voicelink_server"]
CMD ["--listen", "[::]:47600", "--metrics", "0.0.0.0:9100", "--log-json"]
