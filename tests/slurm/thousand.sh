#!/usr/bin/env bash
# What a trial costs beside its training: a thousand of some hundredths of a second each by a real Slurm on this machine, and the same
# ones on two slots without it, to the same bits. Times mean something where nothing else runs.
# Usage: tests/slurm/thousand.sh [PROGRAM [TRIALS]]; TRIALS is a multiple of ten.
set -uo pipefail
cd "$(dirname "$0")/../.."
program=$(realpath "${1:-target/release/fastrcaps}") count=${2:-1000}
set --
# shellcheck source=tests/slurm/cluster.sh
. tests/slurm/cluster.sh
{
    printf '%s\n' 'replicates = 10' '[base]' \
        "data = { name = 'glyphs', train_samples = 60, test_samples = 10, validation_fraction = 0.2 }" \
        "model = { preset = 'tiny' }" 'train = { epochs = 1 }' '[axes]'
    printf "'schedule.lr.rate' = [%s]\n" "$(seq -s ', ' -f '%.5f' 0.0001 0.0001 "$(awk "BEGIN { print $count / 100000 }")")"
} >"$site/space.toml"
printf '%s\n' 'cpus = 1' "jobs = $count" 'time = "1h"' "program = \"$program\"" >"$site/slurm.toml"
TIMEFORMAT='wall %R s, processor time %U + %S s'
ticks() { awk '{ print $14 + $15 }' "/proc/$(pgrep -o -x slurmctld)/stat"; }
per_trial() { awk "BEGIN { printf \"%.1f ms a trial\", 1000 * $1 / $(getconf CLK_TCK) / $count }"; } # ticks
explore() { # study options...
    exec "$program" explore "$site/space.toml" --out "$site/$1" --quiet --no-confirm "${@:2}"
}
before=$(ticks)
echo 'by Slurm:'
time {
    explore slurm --executor slurm --executor-file "$site/slurm.toml" &
    explorer=$!
    # What its threads have taken so far: `report` writes tables and charts, at the lowest priority.
    while sleep 0.5 && [ -e /proc/$explorer/task ]; do
        for thread in /proc/$explorer/task/*; do
            sed 's/.*(\(.*\))/\1/' "$thread/stat"
        done 2>/dev/null | awk '{ sum[$1 == "report" ? "report" : "others"] += $13 + $14 } END { print sum["report"] + 0, sum["others"] + 0 }' >"$site/now"
        read -r report others <"$site/now" && [ "$others" -gt 0 ] && last=("$report" "$others")
    done
    wait $explorer || exit 1
}
echo "the explorer: $(per_trial "${last[1]}"), and for tables and charts $(per_trial "${last[0]}")"
after=$(ticks)
echo "slurmctld: $(per_trial $((after - before)))"
echo 'on two slots (with all trainings):'
time { explore local --slots 2x1 & wait $! || exit 1; }
echo "files a trial leaves: $(($(find "$site/slurm/trials" -type f | wc -l) / count)), in the folder of work: $(find "$site/slurm/.slurm/attempts" "$site/slurm/.slurm/ended" -type f | wc -l)"
if diff <(figures "$site/slurm") <(figures "$site/local") >"$site/diff"; then
    echo "$(figures "$site/slurm" | wc -l) trials, $(figures "$site/slurm" | grep -c ' done ') done, bits same"
else
    head "$site/diff"
    exit 1
fi
