"""Holds confirmed times of a study against whole trainings, alone on the machine.

    python3 benches/whole.py results/my-space --limit 5 --blocks 3 --data-dir DIR

takes configurations of the study whose times are confirmed (those of --configuration, or the first of each batch policy). In
each block it has `fastrcaps time` take `--rounds` more rounds of the study's steps, then trains each configuration `--runs`
times with nothing beside it, in an order that chance gives: a machine whose clock changes over minutes does so for both. It
prints for each the confirmed time, the median of the whole trainings' times and their ratio, as a table and, with --json FILE,
as JSON. Nothing but training steps is counted in either. A training beside which other programs took more than 0.05
cores is told, with how much they took.
"""

import argparse
import csv
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

from compare import Others, median

ROOT = pathlib.Path(__file__).resolve().parent.parent


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def chosen(study, names, limit):
    """A trial of each configuration to train: those named, or the first of each value of the batch policy's axis."""
    trials = [row for row in rows(study / "trials.csv") if row["status"] == "done" and row["train_seconds"]]
    if not trials:
        sys.exit(f"{study} has no confirmed times: `fastrcaps time {study}` takes them")
    first = {}
    for row in trials:
        axis = next((name for name in row if name.startswith("schedule.batch")), "configuration")
        kind = row["configuration"] if names or axis == "configuration" else row[axis]
        first.setdefault(kind, row)
    if names:
        missing = [name for name in names if name not in first]
        if missing:
            sys.exit(f"no finished configuration {missing[0]!r}; there are: " + "; ".join(first))
        return [first[name] for name in names]
    return list(first.values())[:limit]


def train(program, config, threads, core, data_dir):
    """Seconds of a whole training, and the cores that others took meanwhile."""
    with tempfile.TemporaryDirectory() as folder:
        command = [program, "train", str(config), "--out", f"{folder}/t", "--threads", str(threads), "--quiet"]
        if data_dir:
            command += ["--data-dir", data_dir]
        others = Others()
        pin = (lambda: os.sched_setaffinity(0, {core})) if core is not None else None
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, preexec_fn=pin)
        taken = others.cores()
        record = json.loads(pathlib.Path(folder, "t", "trial.json").read_text())
    return record["train_seconds_screen"], taken


def rounds_of(study):
    """Rounds of the study's times so far."""
    samples = json.loads((study / "times/default.json").read_text())["samples"]
    return 1 + max(sample["round"] for sample in samples)


def more_rounds(program, study, rounds, data_dir):
    """Takes rounds until there are so many."""
    command = [program, "time", str(study), "--rounds", str(rounds), "--quiet"]
    if data_dir:
        command += ["--data-dir", data_dir]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=pathlib.Path)
    parser.add_argument("--configuration", action="append", default=[], help="a configuration by its name; repeatable")
    parser.add_argument("--limit", type=int, default=5, help="configurations, where none is named [default: 5]")
    parser.add_argument("--blocks", type=int, default=3, help="rounds and trainings by turns, so often [default: 3]")
    parser.add_argument("--rounds", type=int, default=6, help="more rounds in a block [default: 6]")
    parser.add_argument("--runs", type=int, default=2, help="whole trainings of each in a block [default: 2]")
    parser.add_argument("--core", type=int, help="pin trainings to this core, as trials of one thread are")
    parser.add_argument("--data-dir")
    parser.add_argument("--program", default=str(ROOT / "target/release/fastrcaps"))
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()

    trials = chosen(args.study, args.configuration, args.limit)
    times = {row["key"]: [] for row in trials}
    before = rounds_of(args.study)
    for block in range(args.blocks):
        more_rounds(args.program, args.study, before + (block + 1) * args.rounds, args.data_dir)
        for run in range(args.runs):
            order = list(trials)
            random.Random(f"{block} {run}").shuffle(order)
            for row in order:
                config = args.study / "trials" / row["key"] / "config.toml"
                seconds, taken = train(args.program, config, int(row["threads"]), args.core, args.data_dir)
                note = f" ({taken:.2f} cores were taken by others)" if taken > 0.05 else ""
                print(f"block {block + 1}: {row['configuration']}: {seconds:.3f} s{note}", file=sys.stderr)
                times[row["key"]].append({"seconds": seconds, "cores_of_others": taken})
    # With the rounds that were taken meanwhile.
    of = {row["key"]: row for row in rows(args.study / "trials.csv")}
    trials = [of[row["key"]] for row in trials]
    found = []
    print(f"{'CONFIRMED':>10} {'WHOLE':>10} {'RATIO':>7} {'LEAST':>10} {'GREATEST':>10}  CONFIGURATION")
    for row in trials:
        seconds = [run["seconds"] for run in times[row["key"]]]
        confirmed, whole = float(row["train_seconds"]), median(seconds)
        found.append({
            "configuration": row["configuration"], "confirmed_seconds": confirmed, "whole_seconds": whole,
            "ratio": confirmed / whole, "runs": times[row["key"]],
        })
        print(f"{confirmed:10.3f} {whole:10.3f} {confirmed / whole:7.4f} {min(seconds):10.3f} {max(seconds):10.3f}"
              f"  {row['configuration']}")
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
