#!/usr/bin/env bash
# What a trial costs beside its training: a thousand of a tenth of a second each by a real Slurm on this machine, and the same ones on two
# slots without it, to the same bits. Times mean something where nothing else runs.
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
explore() { # study options...
    "$program" explore "$site/space.toml" --out "$site/$1" --quiet --no-confirm "${@:2}"
}
before=$(ticks)
echo 'by Slurm (the explorer, and the commands of Slurm that it runs):'
time explore slurm --executor slurm --executor-file "$site/slurm.toml" || exit 1
after=$(ticks)
echo "slurmctld: $(awk "BEGIN { print 1000 * ($after - $before) / $(getconf CLK_TCK) / $count }") ms of processor time a trial"
echo 'on two slots (with all trainings):'
time explore local --slots 2x1 || exit 1
echo "files a trial leaves: $(($(find "$site/slurm/trials" -type f | wc -l) / count)), in the folder of work: $(find "$site/slurm/.slurm/attempts" "$site/slurm/.slurm/ended" -type f | wc -l)"
if diff <(figures "$site/slurm") <(figures "$site/local") >"$site/diff"; then
    echo "$(figures "$site/slurm" | wc -l) trials, $(figures "$site/slurm" | grep -c ' done ') done, bits same"
else
    head "$site/diff"
    exit 1
fi
