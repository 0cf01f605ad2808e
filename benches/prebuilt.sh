#!/usr/bin/env bash
# Builds the program with CUDA and packs it for a machine with a GPU that has neither Rust nor the CUDA toolkit:
# fastrcaps-cuda-x86_64.tar, with the libraries it needs but for the driver's own, and what measures it there.
#
#   CUDA_HOME=/usr/local/cuda benches/prebuilt.sh
#   benches/prebuilt.sh --no-libs                for machines whose Python has torch for CUDA 13: its libraries serve
#
#   --out FILE       [fastrcaps-cuda-x86_64.tar here]
#   --no-libs        leave out NVIDIA's libraries, some 700 MB unpacked
#   --binary FILE    pack this program instead of building one
#   --peer FILE      pack this PyTorch program [torch_capsnet.py of ../shared/peer, if it is there]
#
# CUDA_HOME names the toolkit, 13.0 or later for drivers of its series. CARGO_TARGET_DIR [target/prebuilt] is a folder of its own,
# as the program is built without those kernels of candle that it does not call (nvcc-lean).
set -euo pipefail
cd "$(dirname "$0")/.."
out=fastrcaps-cuda-x86_64.tar libs=1 binary='' peer=../shared/peer/torch_capsnet.py
while [ $# -gt 0 ]; do
    case $1 in
        --out) out=${2:?--out needs a file}; shift ;;
        --no-libs) libs=0 ;;
        --binary) binary=${2:?--binary needs a file}; shift ;;
        --peer) peer=${2:?--peer needs a file}; shift ;;
        -h | --help) sed -n '2,/^set -/p' "$0" | sed '$d; s/^# \{0,1\}//'; exit 0 ;;
        *) echo "prebuilt.sh: unknown option $1; see --help" >&2; exit 2 ;;
    esac
    shift
done
fail() { echo "prebuilt.sh: $*" >&2; exit 1; }
[ "$(uname -sm)" = 'Linux x86_64' ] || fail 'packs for Linux on x86_64, and has to run there'

toolkit=${CUDA_HOME:-/usr/local/cuda}
if [ -z "$binary" ]; then
    [ -x "$toolkit/bin/nvcc" ] || fail "there is no $toolkit/bin/nvcc: name the CUDA toolkit in CUDA_HOME"
    export CUDA_HOME=$toolkit NVCC=$PWD/benches/nvcc-lean REAL_NVCC=$toolkit/bin/nvcc
    # For every GPU from Ampere on: the driver compiles what is for 8.0 when it loads it.
    export CUDA_COMPUTE_CAP=80 CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target/prebuilt}
    # As 13000 for 13.0: crates below ask a nvcc on the PATH otherwise.
    version=$("$toolkit/bin/nvcc" --version | sed -n 's/.*release \([0-9]*\)\.\([0-9]*\).*/\1 \2/p')
    export CUDARC_CUDA_VERSION=${CUDARC_CUDA_VERSION:-$((${version% *} * 1000 + ${version#* } * 10))}
    # The linker finds stubs there; what runs finds the driver.
    export LIBRARY_PATH=$toolkit/lib64/stubs:$toolkit/lib64:$toolkit/lib:$toolkit/lib/stubs${LIBRARY_PATH:+:$LIBRARY_PATH}
    cargo build --release --locked --features cuda --bin fastrcaps
    binary=$CARGO_TARGET_DIR/release/fastrcaps
fi
[ -x "$binary" ] || fail "there is no program $binary"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pack=$work/fastrcaps-cuda
mkdir -p "$pack/lib"
strip -o "$pack/fastrcaps" "$binary"
glibc=$(objdump -T "$pack/fastrcaps" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1 | sed 's/GLIBC_//')

# Shared libraries of NVIDIA that the program, or one of them, asks for: by their names in the toolkit.
needed() { objdump -p "$1" | sed -n 's/^ *NEEDED *//p'; }
is_nvidias() { case $1 in libcuda.so.*) return 1 ;; libcublas* | libcurand* | libcudart* | libnvrtc* | libnvJitLink*) return 0 ;; *) return 1 ;; esac; }
listed='' missing='' queue=$(needed "$pack/fastrcaps")
while [ -n "$queue" ]; do
    later=''
    for name in $queue; do
        is_nvidias "$name" || continue
        case " $listed " in *" $name "*) continue ;; esac
        listed="$listed $name"
        [ $libs = 1 ] || continue
        found=''
        for folder in "$toolkit/lib64" "$toolkit/lib" "$toolkit/targets/x86_64-linux/lib"; do
            if [ -f "$folder/$name" ]; then found=$folder/$name; break; fi
        done
        if [ -z "$found" ]; then missing="$missing $name"; continue; fi
        cp -L "$found" "$pack/lib/$name"
        later="$later $(needed "$pack/lib/$name")"
    done
    queue=$later
done
[ -z "$missing" ] || fail "the toolkit has no$missing (only stubs of them?): give one that is whole, or pack --no-libs"

mkdir -p "$pack/benches"
cp benches/gpu.sh benches/gpu.py benches/compare.py benches/GPU.md "$pack/benches/"
cp -r search-spaces "$pack/"
if [ -f "$peer" ]; then cp "$peer" "$pack/benches/torch_capsnet.py"; fi
cat >"$pack/run" <<'RUN'
#!/bin/sh
# Runs a command with this folder's libraries and the driver's: ./run selftest --device cuda:0, ./run benches/gpu.sh
here=$(cd "$(dirname "$0")" && pwd)
path=$here/lib
if [ -z "$(ls "$here/lib" 2>/dev/null)" ]; then
    # Packed without NVIDIA's libraries: those of Python's torch.
    python=$("${PYTHON:-python3}" -c 'import nvidia.cu13 as m; print(list(m.__path__)[0])' 2>/dev/null)
    if [ -n "$python" ]; then path=$python/lib; else
        echo "run: this pack has no libraries of CUDA, and Python has no nvidia.cu13 (pip install torch brings it)" >&2
    fi
fi
# Where drivers are installed, or mounted into containers; only folders that hold one.
for folder in /usr/local/nvidia/lib64 /usr/local/nvidia/lib /usr/lib/x86_64-linux-gnu /usr/lib64 /usr/lib/wsl/lib /run/opengl-driver/lib; do
    if [ -e "$folder/libcuda.so.1" ]; then case $folder in /usr/lib/x86_64-linux-gnu | /usr/lib64) ;; *) path=$path:$folder ;; esac; fi
done
LD_LIBRARY_PATH=$path${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
PATH=$PATH:/usr/local/nvidia/bin
export LD_LIBRARY_PATH PATH
case ${1-} in
    benches/*) script=$here/$1; shift; exec "$script" --binary "$here/fastrcaps" "$@" ;;
    *) exec "$here/fastrcaps" "$@" ;;
esac
RUN
chmod +x "$pack/run" "$pack/benches/gpu.sh"
revision=$(git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
carried="Of CUDA it carries:$listed."
[ $libs = 1 ] || carried="It carries no libraries of CUDA: run takes those of Python's torch for CUDA 13 (nvidia.cu13):$listed."
cat >"$pack/README.txt" <<TEXT
fastrcaps $revision with CUDA, for Linux on x86_64.

    ./run selftest --device cuda:0 --quick     does the GPU compute what it should?
    ./run benches/gpu.sh                       self-test, times, comparison with PyTorch if it is there; 8 minutes at most
    ./run explore search-spaces/smoke.toml --slots cuda:0

Needs glibc $glibc or later (ldd --version), an NVIDIA driver for CUDA 13.0 or later (series 580), and a GPU of compute
capability 8.0 or later. The first start takes some seconds: the driver compiles the kernels, and keeps them.
$carried benches/GPU.md says what messages mean.
TEXT
tar --sort=name --owner=0 --group=0 --numeric-owner -C "$work" -cf "$out" fastrcaps-cuda
echo "$out: $(du -h "$out" | cut -f1) (program $(du -h "$pack/fastrcaps" | cut -f1)); needs glibc $glibc;$listed"
