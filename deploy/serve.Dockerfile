# perceiver serve with ONNX Runtime on a CPU. From the repository's root:
#   docker build -f deploy/serve.Dockerfile -t perceiver-serve .
#   docker run --init -p 127.0.0.1:8000:8000 -v "$PWD/flow:/bundles/flow:ro" perceiver-serve /bundles/flow
# BASE is an image with Python 3.10 or later.
ARG BASE=python:3.12-slim
FROM ${BASE}
COPY constraints.txt /source/
COPY runtime /source/runtime
RUN pip install --no-cache-dir --constraint /source/constraints.txt "/source/runtime[cpu,images,serve]" && rm -rf /source
USER 10001
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=120s \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["perceiver", "serve", "--host", "0.0.0.0"]
CMD ["/bundles/model"]
