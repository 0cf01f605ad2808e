#!/usr/bin/env bash
# Sweeps that decide as they go, times of a node with a feature, an array partly cancelled, and a work folder that goes away: by a real
# Slurm, each to the bits of a sweep without it.
# Usage: tests/slurm/sweeps.sh [PROGRAM [KIND...]]; prints a line a kind.
set -uo pipefail
cd "$(dirname "$0")/../.."
program=$(realpath "${1:-target/release/fastrcaps}") kinds=("${@:2}")
[ ${#kinds[@]} -gt 0 ] || kinds=(freeze-thaw evolve timing part-cancelled work-removed)
set --
# shellcheck source=tests/slurm/cluster.sh
. tests/slurm/cluster.sh
space() { # epochs axes...
    cat <<END
[base]
data = { name = 'glyphs', train_samples = 200, test_samples = 40, validation_fraction = 0.2 }
model = { preset = 'tiny' }
train = { epochs = $1 }
schedule.batch = { policy = 'fixed', size = 16 }
[axes]
END
    printf '%s\n' "${@:2}"
}
space 6 "'schedule.lr.rate' = [1e-6, 2e-6, 5e-6, 1e-5, 3e-4, 1e-3, 2e-3, 4e-3]" "'model.routing_iterations' = [3, 1]" >"$site/freeze-thaw.toml"
space 3 "'schedule.lr.rate' = { from = 1e-5, to = 1e-1, scale = 'log' }" "'data.shift' = [0, 1]" '[baseline]' \
    "'schedule.lr.rate' = 1e-3" "'data.shift' = 0" >"$site/evolve.toml"
space 30 "'schedule.lr.rate' = [3e-4, 1e-3, 2e-3, 4e-3]" "'model.routing_iterations' = [3, 1]" >"$site/plain.toml"
profile() { # lines...
    printf '%s\n' 'cpus = 1' 'jobs = 8' 'time = "1h"' "program = \"$program\"" "$@" >"$site/slurm.toml"
}
local_() { # space study options...
    "$program" explore "$site/$1.toml" --out "$site/$2" --quiet --no-confirm --slots 2x1 "${@:3}" || exit 1
}
slurm() { # space study options...
    "$program" explore "$site/$1.toml" --out "$site/$2" --quiet --executor slurm --executor-file "$site/slurm.toml" "${@:3}"
}
decisions() { # study
    python3 -c 'import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute("SELECT key, decision FROM decisions ORDER BY number"), sep="\n")' \
        "$site/$1/journal.sqlite"
}
column() { # study name
    python3 -c 'import csv, sys; print(*[row[sys.argv[2]] for row in csv.DictReader(open(sys.argv[1]))])' "$site/$1/trials.csv" "$2"
}
bad=0
tell() { # kind; says whether the studies KIND and KIND-local have the same figures
    local same=same
    diff <(figures "$site/$1-local") <(figures "$site/$1") >"$site/diff" || { same=DIFFERENT; bad=1; cat "$site/diff"; }
    echo "$1: $(figures "$site/$1" | wc -l) trials, $(column "$1" status | tr ' ' '\n' | sort | uniq -c | xargs), bits $same, attempts $(column "$1" attempts), $(squeue -h | wc -l) jobs left${2-}"
}
until_queue() { # state least
    local n=0
    until [ "$(squeue -h -r -t "$1" 2>/dev/null | wc -l)" -ge "$2" ] || [ $n -ge 300 ]; do sleep 0.2; n=$((n + 1)); done
}
for kind in "${kinds[@]}"; do
    began=$SECONDS
    profile
    case $kind in
    freeze-thaw | evolve)
        more=()
        [ $kind = evolve ] && more=(--limit 19)
        local_ $kind $kind-local --strategy $kind "${more[@]}"
        slurm $kind $kind --no-confirm --strategy $kind "${more[@]}" --costs "$site/$kind-local/costs.json" || bad=1
        same=same
        diff <(decisions $kind-local) <(decisions $kind) >"$site/diff" || { same=DIFFERENT; bad=1; head "$site/diff"; }
        tell $kind ", $(decisions $kind | wc -l) decisions $same"
        ;;
    timing)
        scontrol update NodeName=n2 AvailableFeatures=fast ActiveFeatures=fast
        # What a task that times steps is given: its node, and all of that node's CPUs.
        profile 'timing_constraint = "fast"' "prologue = ['[ -n \"\${SLURM_ARRAY_TASK_ID-}\" ] || echo \"\$SLURMD_NODENAME \$SLURM_JOB_CPUS_PER_NODE\" >>$site/given']"
        local_ evolve timing-local --strategy evolve --limit 3
        slurm evolve timing --strategy evolve --limit 3 --costs "$site/timing-local/costs.json" --confirm-rounds 6 || bad=1
        tell timing ", steps timed on (node, CPUs): $(sort "$site/given" | uniq -c | xargs), confirmed times: $(column timing train_seconds)"
        [ "$(sort -u "$site/given")" = 'n2 2' ] || bad=1
        ;;
    part-cancelled | work-removed)
        [ -e "$site/$kind-local" ] || local_ plain $kind-local
        [ $kind = work-removed ] && mkdir "$site/shared" && profile "work = \"$site/shared\""
        slurm plain $kind --no-confirm --checkpoint-every 1s --backoff 1s &
        explorer=$!
        # Two of eight wait.
        until_queue RUNNING 6
        if [ $kind = work-removed ]; then
            mv "$site/shared" "$site/gone" && rm -rf "$site/gone"
        else
            job=$(squeue -h -r -o %F | head -1)
            scancel "${job}_0" "${job}_[3-4]" "${job}_7"
        fi
        wait $explorer || { bad=1; column $kind error; }
        # As they stand in the log, each with how many trials it befell.
        tell $kind ", tried again:"
        sed -n 's/.*attempt [0-9]* failed: \(.*\); it is tried again.*/\1/p' "$site/$kind/sweep.log" | sort | uniq -c
        ;;
    esac
    echo "    $((SECONDS - began)) s"
done
exit $bad
