#!/usr/bin/env bash
# On a machine with a CUDA GPU: whether it computes what it should, how long a training step takes, and how that compares with a
# PyTorch program. Builds nothing. Everything is written into one folder that can stand under results/records/.
#
#   benches/gpu.sh                                    the program beside this script, or target/release/fastrcaps
#   benches/gpu.sh --binary FILE --peer FILE --data-dir DIR --out DIR
#
#   --binary FILE    our program, built with CUDA [fastrcaps beside this script, else target/release/fastrcaps]
#   --out DIR        a new folder [gpu-DATE-TIME here]
#   --device NAME    which GPU [cuda:0]
#   --peer FILE      the PyTorch program, also as PEER [torch_capsnet.py beside this script, else ../shared/peer/torch_capsnet.py]
#   --python FILE    what runs gpu.py and the peer [python3]
#   --data-dir DIR   where mnist/ lies [../shared/data, if it is there; else trainings are of built-in glyphs]
#   --seconds N      time for all of it [450]
#   --preset NAME    network [paper]
#   --batch N,…      batch sizes, the most telling first [128,512,16]
#   --steps N        timed steps of each process [100]
#   --whole-selftest the self-test with the network at full size and 20 cases, instead of the quick one
#
# What cannot be done (no Python, no torch, no time) is said and left out; the exit code is 1 if the self-test failed.
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
begun=$SECONDS
binary='' out='' device=cuda:0 peer=${PEER:-} python=${PYTHON:-python3} data='' seconds=450 preset=paper quick=--quick batch=128,512,16 steps=100
usage() { sed -n '2,/^set -/p' "$0" | sed '$d; s/^# \{0,1\}//'; }
while [ $# -gt 0 ]; do
    case $1 in
        --binary) binary=${2:?--binary needs a file}; shift ;;
        --out) out=${2:?--out needs a folder}; shift ;;
        --device) device=${2:?--device needs a name}; shift ;;
        --peer) peer=${2:?--peer needs a file}; shift ;;
        --python) python=${2:?--python needs a file}; shift ;;
        --data-dir) data=${2:?--data-dir needs a folder}; shift ;;
        --seconds) seconds=${2:?--seconds needs a number}; shift ;;
        --preset) preset=${2:?--preset needs a name}; shift ;;
        --batch) batch=${2:?--batch needs numbers}; shift ;;
        --steps) steps=${2:?--steps needs a number}; shift ;;
        --whole-selftest) quick='' ;;
        -h | --help) usage; exit 0 ;;
        *) echo "gpu.sh: unknown option $1; see --help" >&2; exit 2 ;;
    esac
    shift
done

first_of() { # paths: the first that exists
    local path
    for path in "$@"; do if [ -e "$path" ]; then echo "$path"; return; fi; done
}
[ -n "$binary" ] || binary=$(first_of "$here/fastrcaps" "$here/../target/release/fastrcaps")
[ -n "$peer" ] || peer=$(first_of "$here/torch_capsnet.py" "$here/../../shared/peer/torch_capsnet.py" ../shared/peer/torch_capsnet.py)
[ -n "$data" ] || data=$(first_of "$here/../../shared/data" ../shared/data)
[ -n "$out" ] || out=gpu-$(date -u +%Y-%m-%d-%H%M%S)
if [ ! -x "$binary" ]; then
    echo "gpu.sh: there is no program ${binary:-here}: build it with \`cargo build --release --locked --features cuda\`, or name it with --binary" >&2
    exit 2
fi
if [ -e "$out" ] && [ -n "$(ls -A "$out" 2>/dev/null)" ]; then
    echo "gpu.sh: $out is there already; give a new folder with --out" >&2
    exit 2
fi
mkdir -p "$out" || exit 2
exec > >(tee "$out/log.txt") 2>&1

left() { echo $((seconds - (SECONDS - begun))); }
step() { # name file command...: its output goes to the file, its end is said
    local name=$1 file=$2 since=$SECONDS code=0
    shift 2
    # To timeout, 0 is no limit.
    if [ "$(left)" -lt 5 ]; then echo "left out: $name, for want of time"; return 0; fi
    printf '\n=== %s\n    %s\n' "$name" "$*"
    timeout --kill-after=10 "$(left)" "$@" >"$out/$file" 2>"$out/.errors" || code=$?
    if [ -s "$out/.errors" ]; then sed 's/^/    /' "$out/.errors"; fi
    if [ $code = 124 ] || [ $code = 137 ]; then echo "=== out of time: $name"; else
        printf '=== %s: %s (%s s)\n' "$([ $code = 0 ] && echo ok || echo "FAILED with $code")" "$name" $((SECONDS - since))
    fi
    return $code
}

date -u '+%Y-%m-%d %H:%M:%S UTC'
"$binary" --version
if command -v nvidia-smi >/dev/null; then
    nvidia-smi -q >"$out/nvidia-smi.txt" 2>&1
    fields=index,name,driver_version,compute_cap,memory.total,memory.used,clocks.sm,clocks.max.sm,clocks.mem,power.draw,power.limit,temperature.gpu,persistence_mode
    nvidia-smi --query-gpu=$fields --format=csv | tee "$out/gpus.csv"
    nvidia-smi --query-compute-apps=pid,process_name,used_memory --format=csv,noheader >"$out/others.txt" 2>&1
    if [ -s "$out/others.txt" ]; then echo 'warning: other programs compute on this machine:'; cat "$out/others.txt"; fi
else
    echo 'nvidia-smi is not there: clocks and driver are left out'
fi

failed=0
# shellcheck disable=SC2086 # an empty option is none
step 'self-test' selftest.txt "$binary" selftest --device "$device" $quick || failed=1
cat "$out/selftest.txt"
for precision in f32 tf32 bf16; do
    bench=("$binary" bench step --device "$device" --preset "$preset" --batch "$batch" --precision "$precision")
    step "bench step in $precision" "bench-$precision.json" "${bench[@]}" --json || failed=1
done

if ! command -v "$python" >/dev/null; then
    echo "left out: $python is not there, which comparison, shared trainings and the report need; the times are in $out/bench-*.json"
elif [ "$(left)" -lt 30 ]; then
    echo "left out: comparison and shared trainings, for want of time; --seconds gives more"
else
    options=(--binary "$binary" --out "$out" --device "$device" --preset "$preset" --seconds "$(left)" --python "$python" --batch "$batch" --steps "$steps")
    [ -z "$peer" ] || options+=(--peer "$peer")
    [ -z "$data" ] || options+=(--data-dir "$data")
    PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 "$python" "$here/gpu.py" "${options[@]}" || failed=1
fi
rm -f "$out/.errors"
rm -rf "$out"/trainings/*/*.safetensors
if command -v nvidia-smi >/dev/null; then
    nvidia-smi --query-gpu=clocks.sm,clocks.mem,power.draw,temperature.gpu,clocks_throttle_reasons.active --format=csv
fi
printf '\nwritten to %s in %s s\n' "$out" $((SECONDS - begun))
exit $failed
