#!/usr/bin/env bash
# The runtime on an emulated aarch64 CPU, with nothing but numpy and onnxruntime: Debian's Python 3.11 under QEMU. No root.
#
#   tests/aarch64/emulated.sh setup              into $AARCH64 (default: build/aarch64): about 250 MB, from the host's
#                                                Debian and Python package sources
#   tests/aarch64/emulated.sh python ARGS...     that Python, with this repository's runtime
#
# CPU=cortex-a76 is what a Jetson Orin's cores are like; cortex-a72 has no dot products, neoverse-n2 is like a Thor's.
set -euo pipefail
cd "$(dirname "$0")/../.."
AARCH64=${AARCH64:-$PWD/build/aarch64}
ROOT=$AARCH64/root

own_apt() { # folder, architecture: an apt whose state is in the folder and which sees no installed packages
  mkdir -p "$1"/etc "$1"/lists/partial "$1"/archives/partial
  : >"$1/status"
  cat >"$1/apt.conf" <<EOF
Dir::State "$1"; Dir::State::lists "$1/lists"; Dir::State::status "$1/status"; Dir::Cache "$1"; Dir::Cache::archives "$1/archives";
APT::Architecture "$2"; APT::Architectures { "$2"; }; APT::Install-Recommends "false"; Acquire::Languages "none";
APT::Sandbox::User "$(id -un)"; Debug::NoLocking "true";
EOF
  APT_CONFIG=$1/apt.conf apt-get -qq update
}

setup() {
  rm -rf "$AARCH64"
  mkdir -p "$AARCH64" "$ROOT"
  if command -v qemu-aarch64-static >/dev/null; then
    ln -s "$(command -v qemu-aarch64-static)" "$AARCH64/qemu"
  else
    own_apt "$AARCH64/apt-host" "$(dpkg --print-architecture)"
    (cd "$AARCH64/apt-host" && APT_CONFIG=$AARCH64/apt-host/apt.conf apt-get -qq download qemu-user-static)
    dpkg-deb --fsys-tarfile "$AARCH64"/apt-host/qemu-user-static*.deb | tar xO ./usr/bin/qemu-aarch64-static >"$AARCH64/qemu"
    chmod +x "$AARCH64/qemu"
  fi
  own_apt "$AARCH64/apt" arm64
  APT_CONFIG=$AARCH64/apt/apt.conf apt-get -qq install -y --download-only libc6 libgcc-s1 libstdc++6 zlib1g python3.11 libpython3.11-stdlib
  for package in "$AARCH64"/apt/archives/*.deb; do dpkg-deb -x "$package" "$ROOT"; done
  python3 -m pip -q download -d "$AARCH64/wheels" --only-binary=:all: --implementation cp --python-version 311 \
    --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 \
    -c constraints.txt numpy onnxruntime
  for wheel in "$AARCH64"/wheels/*.whl; do python3 -m zipfile -e "$wheel" "$AARCH64/site"; done
  rm -rf "$AARCH64"/apt* "$AARCH64/wheels"
}

run() {
  # older QEMUs show the host's processor in /proc/cpuinfo, which onnxruntime would believe
  mkdir -p "$ROOT/proc"
  for core in $(seq 0 $(($(nproc) - 1))); do
    printf 'processor\t: %d\nFeatures\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp\n' "$core"
    printf 'CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x1\nCPU part\t: 0xd0b\nCPU revision\t: 0\n\n'
  done >"$ROOT/proc/cpuinfo"
  OPENBLAS_NUM_THREADS=1 PYTHONPATH="$AARCH64/site:$PWD/runtime" PYTHONDONTWRITEBYTECODE=1 \
    exec "$AARCH64/qemu" -cpu "${CPU:-cortex-a76}" -L "$ROOT" "$ROOT/usr/bin/python3.11" "$@"
}

case ${1:-} in
  setup) setup ;;
  python) shift; run "$@" ;;
  *) sed -n '2,9p' "$0"; exit 2 ;;
esac
