# A cluster of three nodes on this machine, for the scripts beside this one, which source it: sets SLURM_CONF, and `cluster`,
# which is told what becomes of nodes and controller. It ends with the script.

tool=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)/../shared/slurm/slurm-local.sh
[ -f "$tool" ] || { echo "SKIPPED: $tool is not there, which brings up a Slurm cluster"; exit 0; }
if ! command -v sbatch >/dev/null || ! command -v slurmctld >/dev/null; then
    [ "$(id -u)" = 0 ] || { echo 'SKIPPED: Slurm is not installed, and only root may install it'; exit 0; }
    for try in 1 2 3 4 5 6; do
        bash "$tool" install && break
        [ $try = 6 ] && { echo 'Slurm cannot be installed'; exit 1; }
        sleep 10 # somebody else installs packages
    done
fi
# Not under target/: the path of a socket has 108 bytes at most, and the cluster has sockets deep in this folder.
site=$(mktemp -d /tmp/fc.XXXXXX)
cluster() { # verb arguments...
    bash "$tool" "$1" "$site/c" "${@:2}"
}
trap 'cluster down --purge >/dev/null 2>&1; rm -rf "$site"' EXIT
settings=$(cluster up -n 3 -c 2 -m 2000 "$@" 2>"$site/up.log") ||
    settings=$(cluster up -n 3 -c 2 -m 2000 2>"$site/up.log") || { cat "$site/up.log"; echo 'the cluster does not start'; exit 1; }
eval "$settings"

# Figures of a study's trials that do not depend on where they were trained: key, status, accuracies, weights.
figures() { # study
    python3 - "$1/trials.csv" <<'END'
import csv, sys
with open(sys.argv[1], newline="") as file:
    rows = [[row[name] for name in ("key", "status", "epochs", "validation_accuracy", "test_accuracy", "weights_sha256")]
            for row in csv.DictReader(file)]
for row in sorted(rows):
    print(*row)
END
}
