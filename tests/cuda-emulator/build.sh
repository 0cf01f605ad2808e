#!/usr/bin/env bash
# Builds the emulated CUDA device (README.md).
#
#   build.sh [DIR [FOLDER]]
#
# DIR (target/cuda-emulator) becomes a CUDA_HOME whose libraries link and run; FOLDER (src/learn/kernels) is where the kernels are.
# Compiles again only what changed. Needs g++ and the sources of the crates: run `cargo fetch` first.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
dir=${1:-$root/target/cuda-emulator}
kernels=${2:-$root/src/learn/kernels}
CXX=${CXX:-g++}

die() { printf 'cuda-emulator: %s\n' "$*" >&2; exit 1; }
command -v "$CXX" >/dev/null || die "no $CXX"
[ "$(uname -s)" = Linux ] || die 'only Linux is emulated on'
mkdir -p "$dir/lib" "$dir/objects" "$dir/bin"
dir=$(cd "$dir" && pwd)
kernels=$(cd "$kernels" && pwd)
objects=$dir/objects

crate() { # name
    local path
    path=$(ls -d "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"$1"-[0-9]* 2>/dev/null | sort -V | tail -n 1)
    [ -n "$path" ] || die "no sources of $1: run cargo fetch"
    printf '%s' "$path"
}
cudarc=$(crate cudarc)
candle=$(crate candle-kernels)/src

# Without contraction to fused operations, so that results are the same on every machine, and those of plain Rust.
common=(-std=c++17 -fPIC -g1 -ffp-contract=off -fvisibility=hidden -fcf-protection=none -I "$here")
host=("${common[@]}" -O2 -Wall -Wextra)
# Undefined behaviour stops a kernel, variables without a value hold what nobody expects, and values may be read as another type.
kernel=("${common[@]}" -O2 -DEMULATED -fno-strict-aliasing -Wall -Wno-unknown-pragmas -Wno-unused-function -Wno-unused-variable
    -Wno-unused-but-set-variable -include "$here/emulation.h"
    -fsanitize=bounds,alignment,null,signed-integer-overflow,integer-divide-by-zero -fsanitize-undefined-trap-on-error)
if echo 'int x;' | "$CXX" -ftrivial-auto-var-init=pattern -x c++ -fsyntax-only - 2>/dev/null; then
    kernel+=(-ftrivial-auto-var-init=pattern)
fi
# candle's are not ours to test: no checks, and as for a device that has neither f16 nor bf16.
candle_kernel=("${common[@]}" -O1 -w -DEMULATED -D__CUDA_ARCH__=500 -fno-strict-aliasing -I "$here/candle" -I "$candle"
    -include "$here/emulation.h" -include "$here/candle/words.h")

# What each is made of is asked of the compiler (-MMD), and how is kept beside it: either changing makes it anew.
is_current() { # object command...
    local object=$1; shift
    [ -e "$object" ] && [ "$(cat "$object.how" 2>/dev/null)" = "$*" ] || return 1
    local made_of
    made_of=$(sed -e 's/^[^:]*://' -e 's/\\$//' "$object.d" 2>/dev/null) || return 1
    for file in $made_of; do
        [ -e "$file" ] && [ ! "$file" -nt "$object" ] || return 1
    done
}

running=()
start() { # a job, at most as many as there are cores
    if [ "${#running[@]}" -ge "$(nproc)" ]; then
        wait "${running[0]}" || exit 1
        running=("${running[@]:1}")
    fi
    "$@" &
    running+=($!)
}
finish() {
    for job in "${running[@]}"; do wait "$job" || exit 1; done
    running=()
}

compile() { # object source flags...
    local object=$1 source=$2; shift 2
    is_current "$object" "$@" "$source" && return
    rm -f "$object"
    "$CXX" "$@" -MMD -MF "$object.d" -c "$source" -o "$object"
    printf '%s' "$* $source" >"$object.how"
    touch "$dir/.changed"
}

# A `.cu` becomes one source: its text in a namespace of its own, and an entry for each of its kernels.
compile_kernels() { # source set flags...
    local source=$1 set=$2; shift 2
    local module wrapper object listed
    module=$(basename "$source" .cu)
    wrapper=$objects/$set.$module.cpp
    object=$objects/$set.$module.o
    is_current "$object" "$@" "$source" && return
    rm -f "$object"
    listed=$("$CXX" "$@" -DEMULATED_LIST -DEMULATED_MODULE="$module" -E -P -x c++ "$source" | tr '\n' ' ' | sed 's/extern "C"/\n&/g' |
        sed -nE -e 's/^extern "C" +EMULATED_GLOBAL +void +EMULATED_BOUNDS\(([^,)]*)[^)]*\) *([A-Za-z_0-9]+) *\(.*/\2 \1/p' \
            -e 's/^extern "C" +EMULATED_GLOBAL +void +([A-Za-z_0-9]+) *\(.*/\1 1024/p' | grep -v '^EMULATED_') || true
    {
        printf '#define EMULATED_MODULE %s\n' "$module"
        # Weak: a module may have no static shared memory.
        printf 'extern "C" __attribute__((weak, visibility("hidden"))) char __start_shared_%s[], __stop_shared_%s[];\n' "$module" "$module"
        printf 'static char *const emulated_shared_begin = __start_shared_%s, *const emulated_shared_end = __stop_shared_%s;\n' "$module" "$module"
        printf 'namespace {\nEMULATED_PRELUDE\n#include "%s"\n' "$source"
        [ -z "$listed" ] || printf '%s\n' "$listed" | while read -r name threads; do printf 'EMULATED_REGISTER(%s, %s)\n' "$name" "$threads"; done
        printf '}\n'
    } >"$wrapper"
    "$CXX" "$@" -I "$(dirname "$source")" -MMD -MF "$object.d" -c "$wrapper" -o "$object"
    printf '%s' "$* $source" >"$object.how"
    printf '%s\n' "$listed" >"$objects/$set.$module.kernels"
    touch "$dir/.changed"
}

libraries='cuda     libcuda.so.1       driver   settings memory streams driver fibers signals
cublas   libcublas.so.13    cublas   blas
curand   libcurand.so.10    curand   random
cublasLt libcublasLt.so.13  cublaslt
nvrtc    libnvrtc.so.13     nvrtc
nvidia-ml libnvidia-ml.so.1 -         nvml'

while read -r name soname module parts; do
    for part in $parts; do start compile "$objects/$part.o" "$here/$part.cpp" "${host[@]}" $([ "$part" != blas ] || echo -O3); done
done <<<"$libraries"
of_kernels=()
while IFS= read -r source; do
    start compile_kernels "$source" ours "${kernel[@]}" -I "$kernels" -I "$root/src/learn/kernels"
    of_kernels+=("$objects/ours.$(basename "$source" .cu).o")
done < <(find "$kernels" -name '*.cu' | LC_ALL=C sort)
# Kernels from elsewhere have no use for candle's.
[ $# -lt 2 ] && of_candle='affine binary cast fill indexing reduce ternary unary' || of_candle=
for name in $of_candle; do
    start compile_kernels "$candle/$name.cu" candle "${candle_kernel[@]}"
    of_kernels+=("$objects/candle.$name.o")
done
finish

# Of every function that is not emulated, one that says so.
compile_stubs() { # name module error parts...
    local name=$1 module=$2 error=$3; shift 3
    local source=$objects/stubs.$name.cpp
    {
        printf '// generated by build.sh\n#include <cstdio>\n'
        for part in "$@"; do nm -g --defined-only "$objects/$part.o" | sed -n 's/.* T \(cu[A-Za-z0-9_]*\|nvrtc[A-Za-z0-9_]*\)$/\1/p'; done |
            LC_ALL=C sort -u >"$objects/$name.there"
        cat "$cudarc/src/$module/sys/"*.rs | grep -oE '\bfn (cu|nvrtc)[A-Za-z0-9_]+\(' | sed 's/^fn //; s/($//' | LC_ALL=C sort -u |
            LC_ALL=C comm -23 - "$objects/$name.there" |
            sed "s/.*/extern \"C\" __attribute__((visibility(\"default\"))) int &() { std::fputs(\"emulated CUDA: & is not emulated\\\\n\", stderr); return $error; }/"
    } >"$source.new"
    cmp -s "$source.new" "$source" || mv "$source.new" "$source"
    rm -f "$source.new"
    compile "$objects/stubs.$name.o" "$source" "${common[@]}" -O1
}

rebuild=0
[ -e "$dir/.changed" ] && rebuild=1
[ "$(cat "$objects/.linked" 2>/dev/null)" = "${of_kernels[*]}" ] || rebuild=1
if [ $rebuild = 1 ]; then
    # What the driver says of a call it does not support: 801; cuBLAS: 15; cuRAND: 201; NVRTC: 11.
    while read -r name soname module parts; do
        [ "$module" != - ] || continue # nothing links NVML: what it lacks is found to be missing
        case $name in cuda) error=801 ;; cublas*) error=15 ;; curand) error=201 ;; nvrtc) error=11 ;; esac
        # shellcheck disable=SC2086
        start compile_stubs "$name" "$module" "$error" $parts
    done <<<"$libraries"
    finish
    while read -r name soname module parts; do
        linked=()
        [ "$module" = - ] || linked+=("$objects/stubs.$name.o")
        for part in $parts; do linked+=("$objects/$part.o"); done
        if [ "$name" = cuda ]; then linked+=("${of_kernels[@]}"); else linked+=(-L"$dir/lib" -l:libcuda.so.1); fi
        "$CXX" -shared -Wl,-z,defs -Wl,-soname,"$soname" -Wl,-rpath,"\$ORIGIN" -o "$dir/lib/.$soname" "${linked[@]}" -ldl
        mv "$dir/lib/.$soname" "$dir/lib/$soname"
        ln -sfn "$soname" "$dir/lib/lib$name.so"
    done <<<"$libraries"
    # candle-kernels asks for it, and uses nothing of it as long as its static kernels are left out.
    echo '' | "$CXX" -shared -x c++ - -Wl,-soname,libcudart.so.13 -o "$dir/lib/libcudart.so.13"
    ln -sfn libcudart.so.13 "$dir/lib/libcudart.so"
    ln -sfn lib "$dir/lib64"
    printf '%s' "${of_kernels[*]}" >"$objects/.linked"
    rm -f "$dir/.changed"
fi
printf 'cuda-emulator: %s kernels of %s in %s\n' "$(cat "$objects"/ours.*.kernels 2>/dev/null | grep -c .)" "$kernels" "$dir"
