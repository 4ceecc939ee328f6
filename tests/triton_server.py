"""A real Triton server, of the nvidia-pytriton wheel in an environment of its own, on the loopback interface."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

from perceiver_runtime.common.children import python_code

ROOT = Path(__file__).parent.parent
PACKAGES = ["nvidia-pytriton==0.7.0", "numpy<2", "onnxruntime==1.31.1", "pillow>=10"]  # its stub needs numpy 1


class Triton:
    """A running server: where it listens, its process, its log."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, log: Path, http_port: int) -> None:
        self.process, self.address, self.log = process, f"127.0.0.1:{port}", log
        self.http_address = f"127.0.0.1:{http_port}"

    def load(self, *models: str, unload: bool = False) -> None:
        """As `curl -X POST …/v2/repository/models/MODEL/load` does, of each; with `unload` first that."""
        import tritonclient.grpc

        client = tritonclient.grpc.InferenceServerClient(self.address)
        for model in models:
            if unload:
                client.unload_model(model)
            client.load_model(model)
        client.close()

    def workers(self, model: str) -> list[int]:
        """Process ids of a model's Python workers."""
        command = ["pgrep", "-f", f"triton_python_backend_stub .*/{model}/"]
        found = subprocess.run(command, capture_output=True, text=True, check=True)  # an error where there are none
        return [int(number) for number in found.stdout.split()]


@contextlib.contextmanager
def serve(python: Path, repository: Path, folder: Path) -> Iterator[Triton]:
    """Serve a repository's models until the end of the block. What is added is loaded when `Triton.load` says so."""
    import tritonclient.grpc

    home = Path(
        subprocess.run(
            [*python_code("import pytriton; print(pytriton.__path__[0])", python)], capture_output=True, text=True, check=True
        ).stdout.strip()
    )
    home /= "tritonserver"
    backends = folder / "backends"
    shutil.copytree(home / "backends", backends)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copy(home / "python_backend_stubs" / version / "triton_python_backend_stub", backends / "python")
    grpc_port, http_port = free_port(), free_port()
    libraries = [str(home.parents[1] / "nvidia_pytriton.libs"), str(home / "lib"), str(sysconfig.get_config_var("LIBDIR"))]
    environment = os.environ | {
        "PATH": f"{python.parent}:{os.environ['PATH']}",
        "LD_LIBRARY_PATH": ":".join(libraries),
        "VIRTUAL_ENV": str(python.parent.parent),
    }
    command = [home / "bin" / "tritonserver", f"--model-repository={repository}", f"--backend-directory={backends}"]
    command += ["--grpc-address=127.0.0.1", f"--grpc-port={grpc_port}", "--http-address=127.0.0.1", f"--http-port={http_port}"]
    command += ["--allow-metrics=false", "--model-control-mode=explicit", "--load-model=*", "--exit-timeout-secs=2"]
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
    try:
        server = Triton(process, grpc_port, log, http_port)
        client = tritonclient.grpc.InferenceServerClient(server.address)
        for _ in range(240):
            assert process.poll() is None, log.read_text(errors="replace")[-3000:]
            with contextlib.suppress(tritonclient.grpc.InferenceServerException):
                if client.is_server_ready():
                    break
            time.sleep(0.5)
        client.close()
        yield server
    finally:
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
