#!/usr/bin/env bash
# Whether the emulated device finds the faults that faults/faults.cu has planted, and runs its sound kernels:
#
#   check.sh [DIR]    (target/cuda-emulator-faults)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=${1:-$here/../../target/cuda-emulator-faults}
"$here/build.sh" "$dir" "$here/faults"
dir=$(cd "$dir" && pwd)
"${CXX:-g++}" -std=c++17 -O1 -Wall -Wextra -o "$dir/bin/faults" "$here/faults/faults.cpp" -L"$dir/lib" -lcuda -Wl,-rpath,"$dir/lib"

export LD_LIBRARY_PATH=$dir/lib
unset FASTRCAPS_EMULATOR_FAULT CUDA_VISIBLE_DEVICES
bad=0
said() { printf '%-22s %s\n' "$1" "$2"; }
wrong() { said "$1" "NOT FOUND: $2"; printf '%s\n' "$3" | sed 's/^/    /'; bad=1; }

# finds NAME PATTERN ARGUMENTS...: the process ends by SIGABRT and says so, in every order.
finds() {
    local name=$1 pattern=$2 text code; shift 2
    for order in forward reverse shuffle:1; do
        code=0
        text=$(FASTRCAPS_EMULATOR_ORDER=$order "$dir/bin/faults" "$@" 2>&1) || code=$?
        if [ $code != 134 ] || ! grep -qE "$pattern" <<<"$text"; then
            wrong "$name" "$order: exit code $code, expected 134 and /$pattern/" "$text"
            return
        fi
    done
    said "$name" "found: $(grep -oE "$pattern" <<<"$text" | head -n 1)"
}

# refuses NAME PATTERN ARGUMENTS...: the call gives an error, and the reason stands on stderr.
refuses() {
    local name=$1 pattern=$2 text code=0; shift 2
    text=$("$dir/bin/faults" "$@" 2>&1) || code=$?
    if [ $code = 1 ] && grep -qE "$pattern" <<<"$text"; then said "$name" "refused: $(grep -oE "$pattern" <<<"$text" | head -n 1)"
    else wrong "$name" "exit code $code, expected 1 and /$pattern/" "$text"; fi
}

results_by_order() {
    for order in forward reverse shuffle:1 shuffle:2; do
        FASTRCAPS_EMULATOR_ORDER=$order "$dir/bin/faults" "$@" 2>&1 || echo "exit code $?"
    done
}

expect() { # name expected arguments...: the same results in every order
    local name=$1 expected=$2 text; shift 2
    text=$(results_by_order "$@" | sed 's/ *$//' | sort -u)
    if [ "$text" = "$expected" ]; then said "$name" 'runs, the same in every order'; else wrong "$name" "expected $expected" "$text"; fi
}

varies() { # name arguments...: the order shows in the results
    local name=$1 count; shift
    count=$(results_by_order "$@" | sort -u | wc -l)
    if [ "$count" -gt 1 ]; then said "$name" "found: $count different results by order"; else wrong "$name" 'the same in every order' ''; fi
}

# 160 values in blocks of 64: sums of 1..64, 65..128, 129..160; what no block writes stays NaN.
expect 'sound sums' "2080 6176 4624$(printf ' %.0s-nan' $(seq 157))" sound 64 0 160
expect 'sound shuffles' "$(for i in $(seq 32); do printf '528 528 %d %d ' $((i % 2 ? i + 1 : i - 1)) $(((i - 1) / 8 * 8 + 4)); done | sed 's/ $//')" shuffles 32 128
varies 'missing barrier' missing_barrier 128 0
finds 'one write too many' 'out_of_bounds wrote behind the end|0 bytes behind the end of an allocation' out_of_bounds 64 0 61
finds 'the same, in place' '0 bytes behind the end of an allocation of 256 bytes, at faults.cu:[0-9]+' out_of_bounds 64 0 64
finds 'a read far behind' 'near no allocation|bytes behind the end.*at faults.cu:[0-9]+' far_read 64 0
finds 'divergent barrier' 'divergent barrier: .* at the __syncthreads of faults.cu:[0-9]+, but .* has ended' divergent_barrier 64 0
finds 'different barriers' 'divergent barrier: .* waits at another, at faults.cu:[0-9]+' other_barrier 64 0
finds 'a lane that has ended' '__shfl_xor_sync at device.cuh:[0-9]+: the mask names lane 7, which has ended|waits for lanes that never come' ended_lane 32 0
finds 'differing masks' 'with another mask|which has ended|waits for lanes that never come' other_mask 32 0
finds 'index of an array' 'an index outside an array.*at faults.cu:[0-9]+' shared_index 128 0
finds 'dynamic shared memory' 'written behind the 124 bytes of dynamic shared memory|touched memory' dynamic_index 32 124
finds 'int overflow' 'an int that overflows.*at faults.cu:[0-9]+' overflow 64 0 4096
finds 'misaligned float4' 'a misaligned pointer|a misaligned vector' misaligned 1 0 8
finds 'null pointer' 'null pointer' null_pointer 1 0
text=$("$dir/bin/faults" unwritten 8 0 2>&1 || true)
if grep -q nan <<<"$text"; then said 'unwritten value' 'found: NaN'; else wrong 'unwritten value' 'no NaN' "$text"; fi
refuses 'too many threads' 'larger than 1024' sound 1025 0
refuses 'launch bounds' '__launch_bounds__' bounded 129 0
refuses 'too much shared memory' 'more shared memory than it may have' sound 64 50000
refuses 'no such kernel' 'CUDA_ERROR_NOT_FOUND' nothing 64 0
FASTRCAPS_EMULATOR_DEVICES=0 refuses 'no device' 'CUDA_ERROR_NO_DEVICE' sound 64 0
CUDA_VISIBLE_DEVICES='' refuses 'no visible device' 'CUDA_ERROR_NO_DEVICE' sound 64 0
FASTRCAPS_EMULATOR_FAULT=no-driver refuses 'no driver' 'CUDA_ERROR_NO_DEVICE' sound 64 0
FASTRCAPS_EMULATOR_FAULT=old-driver refuses 'old driver' 'CUDA_ERROR_UNSUPPORTED_PTX_VERSION' sound 64 0
FASTRCAPS_EMULATOR_CAPABILITY=75 refuses 'old device' 'CUDA_ERROR_INVALID_PTX' sound 64 0
FASTRCAPS_EMULATOR_MEMORY=1K refuses 'no memory' 'CUDA_ERROR_OUT_OF_MEMORY' sound 64 0 512
CUDA_VISIBLE_DEVICES=GPU-e301a7ed-0000-4000-8000-000000000001 expect 'a device by its UUID' "36$(printf ' %.0s-nan' $(seq 7))" sound 32 0 8
[ $bad = 0 ] && echo 'the emulated device finds all of them'
exit $bad
