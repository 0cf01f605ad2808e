#!/usr/bin/env bash
# A cluster that is reached only through ssh: the same bits as on this machine, while the connection is cut, the explorer is
# killed, or stopped and started again. The login node is an sshd of this script, with keys and a port of its own.
# Usage: tests/slurm/ssh.sh [PROGRAM]; or sourced by run.sh, which has brought up the cluster.
if [ -z "${site:-}" ]; then
    set -euo pipefail
    cd "$(dirname "$0")/../.."
    program=$(realpath "${1:-target/release/fastrcaps}")
    set --
    # shellcheck source=tests/slurm/cluster.sh
    . tests/slurm/cluster.sh
    mkdir "$site/bin" && cp "$program" "$site/bin/fastrcaps"
fi

login_node() { # on|off: with its connections, not with what they started
    local pid
    case $1 in
    on)
        "$sshd" -f "$site/ssh/sshd_config" -E "$site/ssh/log"
        until [ -s "$site/ssh/pid" ]; do sleep 0.1; done
        ;;
    off)
        pid=$(cat "$site/ssh/pid" 2>/dev/null) || return 0
        for pid in $(pgrep -P "$pid") $pid; do kill -KILL "$pid" 2>/dev/null || true; done
        rm -f "$site/ssh/pid"
        ;;
    esac
}

has_sshd() {
    local made= try
    sshd=$(PATH=$PATH:/usr/sbin:/sbin command -v sshd) && return
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    # Its package is to start no service.
    [ -e /usr/sbin/policy-rc.d ] || { printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d && made=1; }
    for try in 1 2 3 4 5 6; do
        apt-get update -qq >&2 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends openssh-server >&2 && break
        sleep 10 # somebody else installs packages
    done
    [ -z "$made" ] || rm -f /usr/sbin/policy-rc.d
    sshd=$(PATH=$PATH:/usr/sbin:/sbin command -v sshd) || { echo 'sshd cannot be installed'; exit 1; }
}

make_login_node() {
    local port
    mkdir -p "$site/ssh/bin" /run/sshd
    ssh-keygen -q -t ed25519 -N '' -f "$site/ssh/host" && ssh-keygen -q -t ed25519 -N '' -f "$site/ssh/key"
    cp "$site/ssh/key.pub" "$site/ssh/authorized"
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    cat >"$site/ssh/sshd_config" <<END_OF_FILE
Port $port
ListenAddress 127.0.0.1
HostKey $site/ssh/host
PidFile $site/ssh/pid
AuthorizedKeysFile $site/ssh/authorized
StrictModes no
UsePAM no
PasswordAuthentication no
SetEnv SLURM_CONF=$SLURM_CONF
END_OF_FILE
    cat >"$site/ssh/config" <<END_OF_FILE
Host login-node
    HostName 127.0.0.1
    Port $port
    User $(id -un)
    IdentityFile $site/ssh/key
    IdentitiesOnly yes
    UserKnownHostsFile $site/ssh/known
    StrictHostKeyChecking accept-new
END_OF_FILE
    # As if it stood in the user's own configuration.
    printf '#!/bin/sh\nexec %s -F %s "$@"\n' "$(command -v ssh)" "$site/ssh/config" >"$site/ssh/bin/ssh"
    chmod +x "$site/ssh/bin/ssh"
    login_node on
    trap 'set +e; [ -z "${explorer:-}" ] || kill "$explorer" 2>/dev/null; login_node off; cluster down --purge >/dev/null 2>&1; rm -rf "$site"' EXIT
    PATH=$site/ssh/bin:$PATH ssh -o BatchMode=yes login-node 'sinfo -h' >/dev/null || { cat "$site/ssh/log"; exit 1; }
}

laptop() { # words...: this program without Slurm, but with ssh
    exec env -u SLURM_CONF PATH="$site/ssh/bin:$PATH" "$program" "$@"
}
explore() { # study; in the background: it takes the place of its shell
    laptop explore "$site/ssh.toml" --out "$1" --quiet --no-confirm --checkpoint-every 1s --backoff 2s \
        --executor slurm --executor-file "$site/ssh/site.toml"
}
until_running() { # jobs at least
    local n=0
    until [ "$(squeue -h -r -t RUNNING | wc -l)" -ge "$1" ] || [ $n -ge 300 ]; do sleep 0.2; n=$((n + 1)); done
}

make_letters() { # a folder of images in an archive, and a space of them
    mkdir "$site/letters"
    python3 - "$site/letters" <<'END_OF_FILE'
import struct, sys
for name, sizes, values in [("train-images-idx3-ubyte", [60, 12, 12], [at * 97 % 251 for at in range(60 * 144)]),
                            ("train-labels-idx1-ubyte", [60], [at % 4 for at in range(60)])]:
    with open(f"{sys.argv[1]}/{name}", "wb") as file:
        file.write(struct.pack(f">{len(sizes) + 1}I", 0x800 | len(sizes), *sizes) + bytes(values))
END_OF_FILE
    tar -cf "$site/letters.tar" -C "$site/letters" . && rm "$site"/letters/*
    cat >"$site/letters.toml" <<END_OF_FILE
[base.data]
name = "idx"
path = "$site/letters"
validation_fraction = 0.25
[base.model]
preset = "tiny"
conv1_kernel = 3
primary_kernel = 3
[base.train]
epochs = 2
[axes]
"model.routing_iterations" = [3, 1]
END_OF_FILE
}
on_laptop_with_letters() { # words...: as on the laptop, where the folder is not empty
    exec unshare --mount sh -c 'mount -t tmpfs none "$1" && tar -xf "$1.tar" -C "$1" && shift && exec "$@"' sh "$site/letters" \
        env -u SLURM_CONF PATH="$site/ssh/bin:$PATH" "$program" "$@"
}

check() { # study what [by-itself]
    local left itself=$site/${3:-by-itself}.txt
    figures "$1" >"$1.txt"
    cmp "$itself" "$1.txt" || { diff "$itself" "$1.txt"; exit 1; }
    left=$(find "$site"/far/fastrcaps-* -mindepth 2 | wc -l)
    [ "$left" = 0 ] || { echo "$2: left on the cluster"; find "$site/far"; exit 1; }
    python3 -c '
import csv, sys
print(sys.argv[2] + ": same bits, attempts", *[row["attempts"] for row in csv.DictReader(open(sys.argv[1]))])' "$1/trials.csv" "$2"
}

if has_sshd; then
    make_login_node
    cat >"$site/ssh.toml" <<END
replicates = 2
[base.data]
name = "glyphs"
train_samples = 600
test_samples = 100
validation_fraction = 0.2
[base.model]
preset = "tiny"
[base.train]
epochs = 30
[axes]
"model.routing_iterations" = [3, 1]
END
    printf 'cpus = 1\njobs = 4\ntime = "1h"\nssh = "login-node"\nwork = "%s"\nprogram = "%s"\n' \
        "$site/far" "$site/bin/fastrcaps" >"$site/ssh/site.toml"
    "$program" explore "$site/ssh.toml" --out "$site/by-itself" --no-confirm --quiet
    figures "$site/by-itself" >"$site/by-itself.txt"

    explore "$site/laptop-cut" 2>"$site/ssh/err" &
    explorer=$!
    until_running 3
    login_node off
    sleep 15
    login_node on
    wait $explorer || { cat "$site/ssh/err"; exit 1; }
    explorer=
    grep -q 'no connection to login-node' "$site/laptop-cut/sweep.log" || { echo 'the cut was not noticed'; exit 1; }
    check "$site/laptop-cut" 'through ssh, cut off for 15 s'

    explore "$site/laptop-killed" 2>"$site/ssh/err" &
    explorer=$!
    until_running 3
    kill -KILL $explorer
    wait $explorer 2>/dev/null || true
    explorer=
    (explore "$site/laptop-killed") 2>"$site/ssh/err" || { cat "$site/ssh/err"; exit 1; }
    check "$site/laptop-killed" 'through ssh, explorer killed'

    # One connection that is shared, as where a site asks for a second factor.
    printf '    ControlMaster auto\n    ControlPath %s/ssh/%%C\n    ControlPersist yes\n' "$site" >>"$site/ssh/config"
    explore "$site/laptop-stopped" 2>"$site/ssh/err" &
    explorer=$!
    until_running 3
    sleep 3
    kill -TERM $explorer
    wait $explorer || true
    explorer=
    [ "$(squeue -h | wc -l)" = 0 ] || { echo 'jobs were left after a stop'; squeue; exit 1; }
    (explore "$site/laptop-stopped") 2>"$site/ssh/err" || { cat "$site/ssh/err"; exit 1; }
    check "$site/laptop-stopped" 'through ssh by a shared connection, stopped and continued'

    # Images of one's own that only the laptop has: in a file system of its own, where one can be had.
    if unshare --mount true 2>/dev/null; then
        make_letters
        (on_laptop_with_letters explore "$site/letters.toml" --out "$site/letters-alone" --no-confirm --quiet)
        figures "$site/letters-alone" >"$site/letters-alone.txt"
        for time in 1 2; do
            (on_laptop_with_letters explore "$site/letters.toml" --out "$site/laptop-letters-$time" --quiet --no-confirm \
                --executor slurm --executor-file "$site/ssh/site.toml") 2>"$site/ssh/err" || { cat "$site/ssh/err"; exit 1; }
            check "$site/laptop-letters-$time" 'through ssh, images that only the laptop has' letters-alone
        done
        [ "$(ls "$site/far/data" | wc -l)" = 1 ] || { echo 'images were not brought once'; ls -R "$site/far/data"; exit 1; }
    else
        echo 'SKIPPED: data through ssh: there are no file systems of a process here'
    fi
    PATH=$site/ssh/bin:$PATH ssh -O exit login-node 2>/dev/null || true
    login_node off
else
    echo 'SKIPPED: trials through ssh: there is no sshd here'
fi
