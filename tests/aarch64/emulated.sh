#!/usr/bin/env bash
# Python on an emulated aarch64 CPU, with numpy, onnxruntime and what the runtime's quick tests need. QEMU, no root.
#
#   tests/aarch64/emulated.sh setup       into build/aarch64/$PY: about 250 MB, from the host's Debian and Python package sources
#   tests/aarch64/emulated.sh python ...  that Python, with this repository's runtime
#   tests/aarch64/emulated.sh tests       the runtime's quick tests, on it
#
# PY=3.11 is Debian's; 3.10 (JetPack 6) and 3.12 (JetPack 7) are the interpreter that a freezing tool's wheel brings, with the
# standard library of the host's Python of that version. CPU=cortex-a76 is what a Jetson Orin's cores are like; cortex-a72 has
# no dot products, neoverse-n2 is like a Thor's.
set -euo pipefail
REPOSITORY=$(cd "$(dirname "$0")/../.." && pwd)
PY=${PY:-3.11}
V=${PY//./}
AARCH64=${AARCH64:-$REPOSITORY/build/aarch64/$PY}
ROOT=$AARCH64/root
SITE=$AARCH64/site

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

host_python() { # this machine's Python of that version
  local found
  for found in "python$PY" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$PY".*/bin/python; do
    if "$found" -m pip --version >/dev/null 2>&1; then echo "$found"; return; fi
  done
  echo "there is no Python $PY with pip here, whose standard library the emulated one would take" >&2
  return 1
}

fetch() { # folder, requirements: their wheels for aarch64, unpacked
  local host=$1 folder=$2
  shift 2
  "$host" -m pip -q download --disable-pip-version-check -d "$AARCH64/wheels" --only-binary=:all: --implementation cp --python-version "$V" \
    --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux_2_17_aarch64 --platform manylinux2014_aarch64 "$@"
  for wheel in "$AARCH64"/wheels/*.whl; do python3 -m zipfile -e "$wheel" "$folder"; done
  rm -rf "$AARCH64/wheels"
}

interpreter_from_wheel() { # host's Python: the interpreter and its compiled modules from a wheel, the rest of the library from the host
  local from=$AARCH64/freeze tool=freeze-core found
  if [ "$PY" = 3.10 ]; then tool='cx_Freeze==8.2.0'; fi # the last with such a wheel in one piece
  fetch "$1" "$from" --no-deps "$tool"
  found=$(ls "$from"/*/bases/console-cpython-"$V"-aarch64-linux-gnu)
  mkdir -p "$AARCH64/lib"
  cp -r "$("$1" -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')"/. "$AARCH64/lib"
  rm -rf "$AARCH64"/lib/{site-packages,lib-dynload,test,idlelib,tkinter,lib2to3} "$AARCH64"/lib/config-* "$AARCH64"/lib/_sysconfigdata*
  find "$AARCH64/lib" -name __pycache__ -prune -exec rm -rf {} +
  find "$from" -name '*.so*' -exec cp {} "$AARCH64/lib" \;
  cp "$found" "$AARCH64/interpreter"
  chmod +x "$AARCH64/interpreter"
  cp "$from"/*/initscripts/__startup__.py "$AARCH64/lib"
  cp "$REPOSITORY/tests/aarch64/launcher.py" "$AARCH64/lib/__init__interpreter.py"
  : >"$AARCH64/lib/BUILD_CONSTANTS.py"
  echo "build_time_vars = {'EXT_SUFFIX': '.cpython-$V-aarch64-linux-gnu.so', 'SOABI': 'cpython-$V-aarch64-linux-gnu'}" \
    >"$AARCH64/lib/_sysconfigdata__linux_aarch64-linux-gnu.py"
  rm -rf "$from"
}

setup() {
  local packages="libc6 libgcc-s1 libstdc++6 zlib1g" program=$AARCH64/interpreter host
  host=$(host_python)
  rm -rf "$AARCH64"
  mkdir -p "$ROOT/proc" "$SITE"
  if command -v qemu-aarch64-static >/dev/null; then
    ln -s "$(command -v qemu-aarch64-static)" "$AARCH64/qemu"
  else
    own_apt "$AARCH64/apt-host" "$(dpkg --print-architecture)"
    (cd "$AARCH64/apt-host" && APT_CONFIG=$AARCH64/apt-host/apt.conf apt-get -qq download qemu-user-static)
    dpkg-deb --fsys-tarfile "$AARCH64"/apt-host/qemu-user-static*.deb | tar xO ./usr/bin/qemu-aarch64-static >"$AARCH64/qemu"
    chmod +x "$AARCH64/qemu"
  fi
  own_apt "$AARCH64/apt" arm64
  if [ "$PY" = 3.11 ]; then
    packages="$packages python3.11 libpython3.11-stdlib"
    program=$ROOT/usr/bin/python3.11
  else
    interpreter_from_wheel "$host"
  fi
  # shellcheck disable=SC2086
  APT_CONFIG=$AARCH64/apt/apt.conf apt-get -qq install -y --download-only $packages
  for package in "$AARCH64"/apt/archives/*.deb; do dpkg-deb -x "$package" "$ROOT"; done
  fetch "$host" "$SITE" numpy onnxruntime pillow pytest onnx
  echo "import os, sys; sys.executable = os.environ.get('EMULATED_PYTHON', sys.executable)" >"$SITE/sitecustomize.py" # for its children
  # older QEMUs show the host's processor in /proc/cpuinfo, which onnxruntime would believe
  for core in $(seq 0 $(($(nproc) - 1))); do
    printf 'processor\t: %d\nFeatures\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp\n' "$core"
    printf 'CPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x1\nCPU part\t: 0xd0b\nCPU revision\t: 0\n\n'
  done >"$ROOT/proc/cpuinfo"
  cat >"$AARCH64/python" <<EOF
#!/bin/sh
export EMULATED_PYTHON="$AARCH64/python" OPENBLAS_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1
export PYTHONPATH="$SITE:$REPOSITORY/runtime\${PYTHONPATH:+:\$PYTHONPATH}"
exec "$AARCH64/qemu" -cpu "\${CPU:-cortex-a76}" -L "$ROOT" "$program" "\$@"
EOF
  chmod +x "$AARCH64/python"
  rm -rf "$AARCH64"/apt*
}

case ${1:-} in
  setup) setup ;;
  python) shift; exec "$AARCH64/python" "$@" ;;
  tests)
    cd "$REPOSITORY"
    PYTHONPATH=$REPOSITORY/tests exec "$AARCH64/python" -m pytest --noconftest -p aarch64.fixtures -p no:cacheprovider -q \
      tests/test_manifest.py tests/test_bundle.py tests/test_attacks.py tests/test_known_answer.py tests/test_tiling.py --deselect tests/test_bundle.py::test_what_is_in_it
    ;;
  *) sed -n '2,10p' "$0"; exit 2 ;;
esac
