"""`perceiver pull USER/BUNDLE`: a bundle of the Hugging Face hub, into its cache or a folder, checked from end to end."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from perceiver_runtime.bundle.origin.hub import Download, download, is_hub_name
from perceiver_runtime.bundle.origin.signature import FILE as SIGNATURE
from perceiver_runtime.bundle.origin.trust import MANIFEST, Trust
from perceiver_runtime.bundle.reader import Bundle, open_bundle
from perceiver_runtime.commands.arguments import add_trust, trust_of
from perceiver_runtime.common.errors import InputError, IntegrityError, UsageError
from perceiver_runtime.tasks.outputs import check_outputs


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "pull",
        help="download a bundle from the Hugging Face hub",
        description="Download what a bundle's manifest lists into the hub's cache, check it, and say how to pin it.",
    )
    parser.add_argument("name", metavar="USER/BUNDLE", help="a repository that perceiver-export --push wrote")
    parser.add_argument("--revision", help="a branch, tag or commit (default: main)")
    add_trust(parser)
    parser.add_argument("-o", "--output", metavar="FOLDER", help="write the bundle here, besides the cache")
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")
    parser.set_defaults(function=run, render=render)


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Download, check, copy."""
    if not is_hub_name(arguments.name):
        raise UsageError(f"{arguments.name} names no repository of the hub: give user/bundle")
    check_outputs([arguments.output], force=False)
    trust = trust_of(arguments)
    found, bundle = _whole(arguments.name, arguments.revision, trust)
    folder = bundle.folder
    if arguments.output:
        folder = Path(arguments.output)
        _copy(bundle, folder, trust)
    return {
        "name": arguments.name,
        "commit": found.commit,
        "bundle": str(folder),
        "task": bundle.manifest.task,
        "precision": bundle.manifest.precision,
        "bytes": sum(entry.size for entry in bundle.manifest.files),
        "manifest_sha256": bundle.manifest_sha256,
        "signed": (bundle.folder / SIGNATURE).exists(),
        "signature_checked": trust.public_key is not None,
    }


def _whole(name: str, revision: str | None, trust: Trust) -> tuple[Download, Bundle]:
    """The bundle, opened; what is damaged in the cache is downloaded again."""
    found = download(name, revision=revision, trust=trust)
    try:
        return found, open_bundle(found.folder, trust=trust)
    except IntegrityError:
        found = download(name, revision=found.commit, trust=trust, again=True)
        return found, open_bundle(found.folder, trust=trust)


def _copy(bundle: Bundle, output: Path, trust: Trust) -> None:
    """A folder with the bundle's files, complete or not there."""
    staging = Path(tempfile.mkdtemp(prefix=f".{output.name}.partial-", dir=output.parent))
    try:
        names = [MANIFEST, SIGNATURE, *(entry.path for entry in bundle.manifest.files)]
        for name in names:
            if name != SIGNATURE or (bundle.folder / name).exists():
                shutil.copyfile(bundle.folder / name, staging / name)
        open_bundle(staging, trust=trust)
        current = os.umask(0)
        os.umask(current)
        staging.chmod(0o777 & ~current)
        if os.path.lexists(output):
            raise InputError(f"{output} is already there: give another name")
        os.rename(staging, output)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def render(result: dict[str, Any]) -> str:
    """The same for people."""
    signature = "signature right" if result["signature_checked"] else "signed" if result["signed"] else "not signed"
    pin = f"revision={result['commit']!r}, manifest_sha256={result['manifest_sha256']!r}"
    return "\n".join(
        [
            f"{result['name']}: {result['task']}, {result['precision']}, {result['bytes'] / 1e6:.1f} MB, every file as listed, "
            f"{signature}",
            f"in {result['bundle']}",
            f"pinned: pr.load({result['name']!r}, {pin})",
        ]
    )
