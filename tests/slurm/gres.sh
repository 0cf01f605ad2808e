#!/usr/bin/env bash
# Trials that need a GPU are asked for through gres: by a real Slurm whose nodes claim a GPU each, which is none, and trained on the
# emulated device. They come to the same bits as without Slurm, and no GPU has two of them at once.
# Usage: tests/slurm/gres.sh [PROGRAM [LIBRARIES [EXPLORER]]]: a program with the feature cuda, the emulated device's libraries, which
# jobs alone find, and a program without the feature, which explores where there is no driver.
set -euo pipefail
cd "$(dirname "$0")/../.."
program=$(realpath "${1:-target/cuda/release/fastrcaps}") libraries=$(realpath "${2:-target/cuda-emulator/lib}")
explorer=$(realpath "${3:-target/release/fastrcaps}")
unset LD_LIBRARY_PATH
set -- -g 1
# shellcheck source=tests/slurm/cluster.sh
. tests/slurm/cluster.sh
sinfo -h -o %G | grep -q gpu || { echo 'SKIPPED: the cluster has no fake GPUs'; exit 0; }
cat >"$site/space.toml" <<END
replicates = 3
[base.data]
name = "glyphs"
train_samples = 100
test_samples = 20
validation_fraction = 0.2
[base.model]
preset = "tiny"
[base.train]
epochs = 2
[axes]
"model.routing_iterations" = [1, 3]
END
# What is done before a trial is done before other tasks on nodes, too.
cat >"$site/slurm.toml" <<END
cpus = 1
jobs = 6
time = "30m"
gres = "gpu:1"
device = "cuda:0"
program = "$program"
prologue = [
    "export LD_LIBRARY_PATH=$libraries",
    "echo \"\${SLURM_ARRAY_TASK_ID:-step} \$SLURMD_NODENAME \${CUDA_VISIBLE_DEVICES:-none}\" >>$site/given",
]
END
explore=(explore "$site/space.toml" --quiet --no-confirm --out)
LD_LIBRARY_PATH=$libraries "$program" "${explore[@]}" "$site/local" --slots cuda:0x2
figures "$site/local" >"$site/local.txt"

"$explorer" "${explore[@]}" "$site/slurm" --executor slurm --executor-file "$site/slurm.toml" &
pid=$!
# A line for each job that has a GPU: its node and which one.
most=0
while kill -0 $pid 2>/dev/null; do
    scontrol show job -d -o 2>/dev/null | grep 'JobState=RUNNING' |
        sed -nE 's/.* (ArrayTaskId|JobName)=([^ ]*) .*Nodes=([^ ]*) .*GRES=(gpu[^ ]*).*/\3 \4/p' | sort >"$site/now" || true
    twice=$(uniq -d "$site/now")
    [ -z "$twice" ] || { echo "two jobs have one GPU: $twice"; exit 1; }
    now=$(wc -l <"$site/now")
    [ "$now" -le "$most" ] || { most=$now && cp "$site/now" "$site/seen"; }
    sleep 0.1
done
wait $pid || {
    python3 -c 'import csv, sys; print(*{row["error"] for row in csv.DictReader(open(sys.argv[1]))}, sep="\n")' "$site/slurm/trials.csv"
    cat "$site/given"
    exit 1
}
figures "$site/slurm" >"$site/slurm.txt"
cmp "$site/local.txt" "$site/slurm.txt" || { diff "$site/local.txt" "$site/slurm.txt"; exit 1; }
echo 'what Slurm gave to jobs that ran at once:' && cat "$site/seen"
echo 'task, node and CUDA_VISIBLE_DEVICES of each:' && sort -u "$site/given"
# Six trials, and a look at the GPU before them by another step.
[ "$(grep -vc '^step ' "$site/given")" = 6 ] && grep -q '^step ' "$site/given" && ! grep none "$site/given" || { echo 'a job was shown no GPU'; exit 1; }
[ "$most" -le 3 ] || { echo "$most jobs had one of three GPUs"; exit 1; }
echo "$(wc -l <"$site/slurm.txt") trials on GPUs by Slurm, at most $most at once, to the same bits as without it"
