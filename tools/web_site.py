"""The page in the browser: fetches its engine (`npm`, checked), exports its bundles, serves it all from one origin.

`make web` runs this. The site is `build/web/site`: copy it to any server that sends `HEADERS`.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from perceiver_deploy.cli import main as export

ROOT = Path(__file__).parent.parent
BUILD = ROOT / "build" / "web"
SITE = BUILD / "site"
TASKS = ("flow", "fill-mask", "image-classification", "token-classification", "audio-classification")
SOUND = ROOT / "models/perceiver_io/checkpoints/commands-small/sample/sound.wav"
HEADERS = {  # threads in WebAssembly need the first two
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}
PACKAGES = {  # sha512 of the packed file, as npm gives it
    "onnxruntime-web@1.30.0": "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
    "typescript@5.9.3": "jl1vZzPDinLr9eUt3J/t7V6FgNEw9QjvBPdysz9KfQDD41fQrC2Y4vKQdiaUpFT4bXlb1RHhLpp8wtm6M5TgSw==",
    "playwright-core@1.65.1": "hqPpz7blSMPxWVdoeE1yiBSzXsKiVOd2k+kjCvmUywD2GPO2Dd9HfcWnq9NN0GHbNZDFgZ9JfBFr+X5/BLo0qw==",
}
ENGINE = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")


def package(name: str) -> Path:
    """The folder of an npm package in `build/web/packages`, fetched and checked where it is missing. Exits without npm."""
    folder = BUILD / "packages" / name
    if folder.exists():
        return folder / "package"
    if shutil.which("npm") is None:
        sys.exit("tools/web_site.py: npm is not installed, which fetches the page's engine: install Node.js with npm")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        subprocess.run(["npm", "pack", "--silent", name], cwd=temporary, check=True, stdout=subprocess.DEVNULL)
        packed = next(Path(temporary).glob("*.tgz")).read_bytes()
        if base64.b64encode(hashlib.sha512(packed).digest()).decode() != PACKAGES[name]:
            sys.exit(f"tools/web_site.py: what npm gave for {name} has another sha512 than tools/web_site.py lists: not used")
        unpacked = Path(temporary) / "unpacked"
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            archive.extractall(unpacked, filter="data")
        unpacked.rename(folder)
    return folder / "package"


def build(site: Path = SITE) -> Path:
    """The whole site in a folder: the page, its engine, the samples, a bundle of each task. Returns the folder."""
    shutil.copytree(ROOT / "web", site, dirs_exist_ok=True, ignore=shutil.ignore_patterns("jsconfig.json", "*.d.mts"))
    (site / "vendor").mkdir(exist_ok=True)
    for name in ENGINE:
        shutil.copy(package("onnxruntime-web@1.30.0") / "dist" / name, site / "vendor" / name)
    (site / "samples").mkdir(exist_ok=True)
    for picture in (ROOT / "samples").glob("*.png"):
        shutil.copy(picture, site / "samples" / picture.name)
    shutil.copy(SOUND, site / "samples" / SOUND.name)
    for task in TASKS:
        bundle = BUILD / "bundles" / task
        if not (bundle / "manifest.json").exists():
            code = export(["--task", task, "-o", str(bundle)])
            if code:
                sys.exit(code)
        shutil.copytree(bundle, site / "bundles" / task, dirs_exist_ok=True)
    return site


class _Handler(SimpleHTTPRequestHandler):
    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".mjs": "text/javascript", ".wasm": "application/wasm"}

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


def server(site: Path = SITE, port: int = 0) -> ThreadingHTTPServer:
    """A server of the site on this machine alone."""
    return ThreadingHTTPServer(("127.0.0.1", port), partial(_Handler, directory=str(site)))


if __name__ == "__main__":
    build()
    with server(port=int(sys.argv[1]) if len(sys.argv) > 1 else 8000) as running:
        print(f"http://localhost:{running.server_port}/    (Ctrl-C ends it)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            running.serve_forever()
