# perceiver serve with TensorRT, for bundles of --target tensorrt. From the repository's root:
#   docker build -f deploy/tensorrt.Dockerfile --build-arg BASE=IMAGE -t perceiver-tensorrt .
#   docker run --init --gpus all -p 127.0.0.1:8000:8000 -v engines:/cache -v "$PWD/flow-trt:/bundles/flow:ro" \
#     perceiver-tensorrt /bundles/flow
# BASE is NVIDIA's TensorRT image for your GPU and driver (TensorRT 10.3 or later, Python 3.10 or later), by its full name. Engines
# are built when it first starts, which takes minutes; the volume keeps them for this GPU and this TensorRT.
ARG BASE
FROM ${BASE}
COPY runtime /source/runtime
RUN python3 -m pip install --no-cache-dir "/source/runtime[images,serve]" && rm -rf /source \
  && mkdir --mode=0700 /cache && chown 10001 /cache
ENV PERCEIVER_CACHE=/cache
VOLUME /cache
USER 10001
WORKDIR /tmp
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=1800s \
  CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/v2/health/ready', timeout=2)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["perceiver", "serve", "--host", "0.0.0.0", "--device", "tensorrt", "--concurrency", "1"]
CMD ["/bundles/model"]
