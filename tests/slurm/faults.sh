#!/usr/bin/env bash
# What befalls a cluster, each so many times: all trials come to the same bits as without it, each once.
# Usage: tests/slurm/faults.sh PROGRAM TIMES [KIND...]; prints a line a run.
set -uo pipefail
cd "$(dirname "$0")/../.."
program=$(realpath "$1") times=$2 kinds=(${@:3})
[ ${#kinds[@]} -gt 0 ] || kinds=(node-off node-cut slurmd-crash controller-stop explorer-killed array-cancelled preempted time-limit)
set -- --netns -x PreemptType=preempt/partition_prio -x PreemptMode=REQUEUE
# shellcheck source=tests/slurm/cluster.sh
. tests/slurm/cluster.sh
# Trainings that last longer than what befalls them takes to come.
space() { # epochs
    cat <<END
replicates = 2
[base.data]
name = "glyphs"
train_samples = 600
test_samples = 100
validation_fraction = 0.2
[base.model]
preset = "tiny"
[base.train]
epochs = $1
[axes]
"model.routing_iterations" = [3, 1]
END
}
profile() { # lines...
    printf 'cpus = 1\njobs = 4\nprogram = "%s"\n' "$program" >"$site/slurm.toml"
    printf '%s\n' "$@" >>"$site/slurm.toml"
}
explore() { # study; in the background: it takes the place of its shell
    exec "$program" explore "$site/space-$epochs.toml" --out "$1" --quiet --no-confirm --checkpoint-every 1s --backoff 2s \
        --executor slurm --executor-file "$site/slurm.toml"
}
running() { { squeue -h -r -t RUNNING "$@" || true; } | wc -l; } # also while nobody answers
until_running() { # at least so many
    local n=0
    until [ "$(running 2>/dev/null)" -ge "$1" ] || [ $n -ge 300 ]; do sleep 0.2; n=$((n + 1)); done
}

for epochs in 200 400 1000; do
    space $epochs >"$site/space-$epochs.toml"
    "$program" explore "$site/space-$epochs.toml" --out "$site/local-$epochs" --no-confirm --quiet || exit 1
    figures "$site/local-$epochs" >"$site/local-$epochs.txt"
done
bad=0
for kind in "${kinds[@]}"; do
    for run in $(seq "$times"); do
        study=$site/$kind-$run began=$SECONDS
        profile 'time = "1h"'
        epochs=200
        # A node that is cut off trains on while Slurm, after a while, starts its jobs again elsewhere.
        [ $kind = node-cut ] && epochs=1000
        # Slurm's signal comes half a minute after the start.
        [ $kind = time-limit ] && epochs=400 && profile 'time = "2m"' 'checkpoint_before = "90s"'
        explore "$study" 2>"$study.err" &
        explorer=$!
        until_running 3
        sleep 2
        # A fault that comes too late, or where nothing trains, shows nothing.
        node=$(squeue -h -r -t RUNNING -o %N | head -1)
        case $kind in node-* | slurmd-*) struck=$(running --nodelist="$node") ;; *) struck=$(running) ;; esac
        [ "$struck" -gt 0 ] || [ $kind = time-limit ] || bad=1
        case $kind in
        node-off) cluster node "$node" off; sleep 15; cluster node "$node" on ;;
        node-cut) cluster node "$node" cut; sleep 45; cluster node "$node" on ;;
        slurmd-crash) cluster node "$node" crash; sleep 3; cluster node "$node" on ;;
        controller-stop) cluster ctl off; sleep 12; cluster up ;;
        explorer-killed)
            kill -KILL $explorer
            wait $explorer 2>/dev/null
            explore "$study" 2>>"$study.err" &
            explorer=$!
            ;;
        array-cancelled) scancel --me ;;
        preempted)
            scontrol create PartitionName=urgent Nodes='n[1-3]' PriorityTier=10 State=UP
            sbatch --wait --partition=urgent --nodes=3 --exclusive --output=/dev/null --wrap 'sleep 5'
            scontrol delete PartitionName=urgent
            ;;
        time-limit) ;;
        esac >/dev/null 2>&1
        wait $explorer
        code=$?
        figures "$study" >"$study.txt" 2>&1
        same=same; cmp -s "$site/local-$epochs.txt" "$study.txt" || same=DIFFERENT
        once=$(awk '{ print $1 }' "$study.txt" | sort | uniq -d | wc -l)
        left=$(squeue -h 2>/dev/null | wc -l)
        done=$(grep -c ' done ' "$study.txt")
        attempts=$(python3 -c 'import csv,sys; print(*[row["attempts"] for row in csv.DictReader(open(sys.argv[1]))])' "$study/trials.csv")
        starts=$(cat "$study"/trials/*/log.txt | grep -c '^=== attempt of')
        echo "$kind $run: $struck struck, exit $code, $done done, twice $once, bits $same, attempts $attempts, $starts starts, $left jobs left, $((SECONDS - began)) s"
        [ $code = 0 ] && [ $same = same ] && [ "$once" = 0 ] || { bad=1; tail -3 "$study.err"; }
    done
done
exit $bad
