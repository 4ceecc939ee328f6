"""`perceiver sign BUNDLE --key KEY`: a signature over every file of a bundle, in the format of OpenSSF model signing."""

from __future__ import annotations

import argparse
import os
from typing import Any

from perceiver_runtime.bundle.origin.keys import read_key
from perceiver_runtime.bundle.origin.signature import FILE, GIT_FILES, sign
from perceiver_runtime.bundle.origin.trust import MANIFEST
from perceiver_runtime.bundle.reader import open_bundle
from perceiver_runtime.commands.arguments import add_bundle
from perceiver_runtime.common.errors import InputError
from perceiver_runtime.files.outputs import replacing

PASSWORD = "PERCEIVER_KEY_PASSWORD"


def add_parser(commands: Any) -> None:
    """Declare the subcommand."""
    parser = commands.add_parser(
        "sign",
        help="sign a bundle with a private key",
        description=f"Check a bundle and write {FILE} into its folder: a signature over every file, which `perceiver verify "
        "--public-key` and pr.load(…, public_key=…) check, and model-signing's own command too.",
    )
    add_bundle(parser)
    help_text = f"the private key, PEM, of P-256, P-384 or P-521; its password, if it has one, is in {PASSWORD}"
    parser.add_argument("--key", required=True, metavar="PEM", help=help_text)
    parser.add_argument("--force", action="store_true", help="replace the signature that is there")
    parser.set_defaults(function=run, render=render)


def run(arguments: argparse.Namespace) -> dict[str, object]:
    """Check the bundle, then sign it. Raises `InputError` for files that a signature would not cover."""
    bundle = open_bundle(arguments.bundle)
    target = bundle.folder / FILE
    others = [name for name in bundle.unlisted if name not in GIT_FILES]
    if others:
        raise InputError(f"{bundle.folder} holds {others[0]!r}, which is no file of the bundle: move it away, then sign")
    if os.path.islink(target):
        raise InputError(f"{target} is a link, as in the hub's cache: sign a copy, as perceiver pull -o FOLDER makes")
    if target.exists() and not arguments.force:
        raise InputError(f"{target} is already there: --force signs anew")
    files = {entry.path: entry.sha256 for entry in bundle.manifest.files} | {MANIFEST: bundle.manifest_sha256}
    password = os.environ.get(PASSWORD)
    content = sign(files, bundle.folder.resolve().name, read_key(arguments.key), password.encode() if password else None)
    with replacing(target) as path:
        path.write_bytes(content)
    return {"bundle": str(bundle.folder), "signature": str(target), "files": sorted(files)}


def render(result: dict[str, Any]) -> str:
    """The same for people."""
    return f"wrote {result['signature']}, which covers {len(result['files'])} files"
