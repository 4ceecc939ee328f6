# Triton with this runtime for its Python backend: repositories of perceiver triton --backend python or --with-processing. From the
# repository's root:
#   docker build -f deploy/triton-python.Dockerfile --build-arg BASE=IMAGE -t perceiver-triton .
#   docker run --init --shm-size=1g -p 127.0.0.1:8000-8002:8000-8002 -v "$PWD/models:/models:ro" perceiver-triton
# BASE is NVIDIA's Triton image, by its full name: 24.12-py3 or later, docs/deploy.md says why.
ARG BASE
FROM ${BASE}
COPY runtime /source/runtime
RUN python3 -m pip install --no-cache-dir "/source/runtime[cpu,images]" && rm -rf /source
USER 1000
WORKDIR /tmp
EXPOSE 8000 8001 8002
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s \
  CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["tritonserver", "--exit-timeout-secs=60"]
CMD ["--model-repository=/models"]
