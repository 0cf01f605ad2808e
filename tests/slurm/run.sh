#!/usr/bin/env bash
# Trials by a real Slurm: every worker's tests on a cluster, and a space that comes to the same bits there as on this machine.
# Usage: tests/slurm/run.sh [PROGRAM]; it is skipped, with a word, where no cluster can be had.
set -euo pipefail
cd "$(dirname "$0")/../.."
program=$(realpath "${1:-target/release/fastrcaps}")
set --
# shellcheck source=tests/slurm/cluster.sh
. tests/slurm/cluster.sh
printf 'cpus = 1\njobs = 6\ntime = "30m"\n' >"$site/slurm.toml"

# Where the nodes find it, as in a home folder that all have.
mkdir "$site/bin" && cp "$program" "$site/bin/fastrcaps"
"$program" explore search-spaces/smoke.toml --out "$site/local" --no-confirm --quiet
"$site/bin/fastrcaps" explore search-spaces/smoke.toml --out "$site/slurm" --quiet --no-confirm \
    --executor slurm --executor-file "$site/slurm.toml"
figures "$site/local" >"$site/local.txt"
figures "$site/slurm" >"$site/slurm.txt"
cmp "$site/local.txt" "$site/slurm.txt" || { diff "$site/local.txt" "$site/slurm.txt"; exit 1; }
grep -c . "$site/slurm.txt" | sed 's/$/ trials by Slurm, to the same bits as on this machine/'
"$program" study check "$site/slurm"

# What trainings have in common is trained once, as on this machine.
cat >"$site/sharing.toml" <<END
[base.data]
name = "glyphs"
train_samples = 160
test_samples = 20
validation_fraction = 0.2
[base.model]
preset = "tiny"
[base.schedule]
lr = { policy = "fixed", rate = 1e-3 }
batch = { policy = "fixed", size = 8 }
[axes]
"train.epochs" = [3, 1, 2]
END
shared() { # study
    figures "$1"
    python3 -c 'import csv, sys; print(*["%s:%s" % (row["epochs"], row["shared_epochs"]) for row in csv.DictReader(open(sys.argv[1]))])' "$1/trials.csv"
}
"$program" explore "$site/sharing.toml" --out "$site/sharing-local" --no-confirm --quiet --slots 1x1
"$site/bin/fastrcaps" explore "$site/sharing.toml" --out "$site/sharing" --quiet --no-confirm \
    --executor slurm --executor-file "$site/slurm.toml"
shared "$site/sharing-local" >"$site/local.txt"
shared "$site/sharing" >"$site/slurm.txt"
cmp "$site/local.txt" "$site/slurm.txt" || { diff "$site/local.txt" "$site/slurm.txt"; exit 1; }
tail -1 "$site/slurm.txt" | grep -q '1:1 2:2$' || { echo 'no beginning was shared'; exit 1; }
[ -z "$(ls -A "$site/sharing/.slurm/beginnings" 2>/dev/null)" ] || { echo 'a beginning was left'; exit 1; }
echo 'epochs by Slurm, and those of another trial:' "$(tail -1 "$site/slurm.txt")"

# shellcheck source=tests/slurm/ssh.sh
. tests/slurm/ssh.sh

if [ -z "${SLURM_SMOKE_ONLY:-}" ]; then
    # A worker that never answers is an error, not a wait.
    timeout 900 cargo test --release --locked --test it -- --nocapture --test-threads=2 workers:: slurm:: 2>&1 |
        tee "$site/tests.log"
    ! grep 'SLURM_CONF names no cluster' "$site/tests.log"
fi
