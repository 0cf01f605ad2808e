#!/usr/bin/env python3
"""Replays recorded learning curves under other methods of multi-objective search, beside our strategies.

    python3 benches/peers.py --install ENVIRONMENTS
    python3 benches/peers.py --self-check RECORDING --binary target/release/fastrcaps --environments ENVIRONMENTS
    python3 benches/peers.py RECORDING… --method nsga2 --seeds 30 --environments ENVIRONMENTS --out rows.csv
    python3 benches/peers.py RECORDING… --method freeze-thaw --seeds 30 --binary target/release/fastrcaps --out rows.csv
    python3 benches/peers.py --table rows.csv

A recording is a folder with trials.csv and epochs.csv, and study.toml where its schedules matter, as `fastrcaps simulate` reads it.
--install makes a Python environment for each peer's packages. --method runs one method, a row for each recording and seed, added
to the file of --out; rows that are there are not made again. `--method list` says which methods there are. --table prints
medians and the worst of all seeds, each recording for itself and the recordings of a folder together.

The objectives are training time and validation accuracy. Every method pays for the epochs that it trains, by the same clock, until
the budget is spent (--budget, a share of the training time of all), it has nothing to begin, or its front is that of all curves and
can change no more. It is credited with every epoch that
is a point, whatever it was trained for. A method knows neither curves nor fronts before it paid for them. Peers get each
configuration as a point in a space of axes: numbers of up to 16 values by their rank, other numbers between their extremes, by
logarithm where the median is nearer to the middle of the logarithms, everything else as categories. A proposal in that space is
taken as the nearest configuration that was not begun, and the peer is told so. Peers whose name ends in -known are given the
training times beforehand: --method list says how.
"""

import argparse
import csv
import importlib
import json
import math
import os
import pathlib
import subprocess
import sys

try:
    import numpy
    from peer_methods import Grid
    from recorded import Course, Exhaustive, Recording, replay
except ImportError:
    # Neither the table nor an installation needs it; everything else starts again in an environment that has it.
    numpy = None

PACKAGES = {
    "plain": ["numpy==2.4.6"],
    "optuna": ["numpy==2.4.6", "optuna==5.0.0"],
    "smac": ["numpy==2.4.6", "smac==2.4.1"],
    "syne-tune": ["numpy==2.4.6", "syne-tune==0.16.0"],
}
BUDGETS = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.75, 1.0]  # at which hypervolume and recall are written
# Ours, and whether chance has a part in them.
OURS = {"freeze-thaw": True, "evolve": True, "halving": False, "grid": False}
# Module, class, environment, whether times are known beforehand, what it is.
METHODS = {
    "random": ("peer_methods", "Random", "plain", False, "whole trainings in random order"),
    "top-k": ("peer_methods", "TopK", "plain", False, "one epoch of all, then whole trainings by the accuracy of the first epoch"),
    "top-k-known": ("peer_methods", "TopK", "plain", True, "the same by fronts of the whole time and the first epoch's accuracy"),
    "nsga2": ("peer_packages", "Nsga2", "optuna", False, "Optuna's NSGA-II, whole trainings"),
    "nsga2-known": ("peer_packages", "Nsga2", "optuna", True, "the same with the whole time as one more axis"),
    "tpe": ("peer_packages", "Tpe", "optuna", False, "Optuna's multi-objective TPE, whole trainings"),
    "tpe-known": ("peer_packages", "Tpe", "optuna", True, "the same with the whole time as one more axis"),
    "tpe-pruned": ("peer_packages", "PrunedTpe", "optuna", False, "Optuna's TPE of accuracy with the median pruner, for 5 time caps by turns"),
    "parego": ("peer_packages", "ParEgo", "smac", False, "SMAC3's ParEGO, whole trainings"),
    "parego-known": ("peer_packages", "ParEgo", "smac", True, "the same with the whole time as one more axis"),
    "moasha": ("peer_packages", "MoAsha", "syne-tune", False, "Syne Tune's MOASHA of the time and error so far, as shipped"),
    "moasha-corrected": ("peer_packages", "CorrectedMoAsha", "syne-tune", False, "the same with ranks as priorities"),
    "moasha-known": ("peer_packages", "CorrectedMoAsha", "syne-tune", True, "corrected, of the whole time and the error so far"),
}
FIRST = ", first seed"  # what searches under the first seed are called
COLUMNS = ["method", "recording", "seed", "slots", "budget", "configurations", "exhaustive_seconds", "front", "cost"]
COLUMNS += ["hypervolume", "recall", "recall_within_noise", "false_members"]
COLUMNS += ["cost_99", "cost_995", "cost_999", "cost_recall_95", "cost_same_front"]
COLUMNS += [f"{name}_at_{100 * share:.0f}" for name in ("hypervolume", "recall") for share in BUDGETS]


def name_of(folder):
    """A recording's name: its folder's, and that of the folder which that is in."""
    return "/".join(folder.resolve().parts[-2:])


def figures(course):
    """The columns of a row that a replay gives."""
    volume, recall, false, within = course.exhaustive.reached(course.known)
    row = {"configurations": len(course.recording.names), "exhaustive_seconds": f"{course.exhaustive.cost:.1f}"}
    row |= {"front": int(course.exhaustive.on_front.sum()), "cost": course.seconds / course.exhaustive.cost}
    row |= {"hypervolume": volume, "recall": recall, "false_members": false, "cost_same_front": course.cost_of_same_front()}
    row |= {"recall_within_noise": within, "cost_recall_95": course.cost_of_recall(0.95)}
    row |= {f"cost_{name}": course.cost_of(share) for name, share in [("99", 0.99), ("995", 0.995), ("999", 0.999)]}
    for share in BUDGETS:
        if share <= course.budget + 1e-9 or course.seconds < course.budget * course.exhaustive.cost:
            row[f"hypervolume_at_{100 * share:.0f}"], row[f"recall_at_{100 * share:.0f}"] = course.at(share)
    return row


def ours(binary, folder, strategy, seeds, slots):
    """Rows of `fastrcaps simulate`, settings as shipped."""
    command = [str(binary), "simulate", str(folder), "--strategy", strategy, "--slots", str(slots), "--seeds", str(seeds), "--json"]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(f"error: {' '.join(command)}\n{run.stderr}")
    for line in run.stdout.splitlines():
        yield json.loads(line)


def our_row(outcome):
    first = lambda share: next((step["cost"] for step in outcome["steps"] if step["hypervolume"] >= share), None)
    names = ("cost", "hypervolume", "recall", "false_members", "cost_same_front", "recall_within_noise", "cost_recall_95")
    row = {name: outcome[name] for name in names}
    row |= {"cost_99": first(0.99), "cost_995": first(0.995), "cost_999": first(0.999)}
    for share in BUDGETS:
        before = [step for step in outcome["steps"] if step["cost"] <= share]
        for what in ("hypervolume", "recall"):
            row[f"{what}_at_{100 * share:.0f}"] = before[-1][what] if before else 0.0
    return row


def rows_of(path):
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def add(path, rows):
    """Adds rows to the file, as texts: what is unknown is empty."""
    text = lambda value: "" if value is None else f"{value:.5g}" if isinstance(value, float) else str(value)
    is_new = not path.exists()
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerows({name: text(row.get(name)) for name in COLUMNS} for row in rows)


def run(arguments):
    """Rows of one method on all recordings."""
    done = {(row["method"], row["recording"], row["seed"], row["slots"]) for row in rows_of(arguments.out)}
    method = arguments.method + FIRST * arguments.first_seed
    for folder in arguments.recordings:
        about = {"method": method, "recording": name_of(folder), "slots": arguments.slots, "budget": arguments.budget}
        missing = lambda seed: (about["method"], about["recording"], str(seed), str(arguments.slots)) not in done
        count = arguments.seeds if OURS.get(arguments.method, True) else 1
        seeds = [seed for seed in range(count) if missing(seed)]
        if arguments.method in OURS:
            if seeds:
                outcomes = ours(arguments.binary, folder, arguments.method, count, arguments.slots)
                rows = [about | our_row(of) | {"seed": of["seed"], "budget": ""} for of in outcomes]
                add(arguments.out, [row for row in rows if row["seed"] in seeds])
            continue
        module, name, _, known, _ = METHODS[arguments.method]
        kind = getattr(importlib.import_module(module), name)
        exhaustive = Exhaustive(Recording(folder))
        for seed in seeds:
            course = Course(exhaustive, arguments.budget)
            replay(course, kind(course, seed, known, arguments.first_seed).next, arguments.slots)
            add(arguments.out, [about | figures(course) | {"seed": seed}])
            shown = [course.cost_of(share) for share in (0.99, 0.999)] + [course.cost_of_same_front()]
            shown = ", ".join("never" if cost is None else f"{cost:.3f}" for cost in shown)
            print(f"{method} {about['recording']} seed {seed}: {shown}", file=sys.stderr, flush=True)


def self_check(arguments):
    """The cost course of our grid, in Python and by `fastrcaps simulate`: the same steps."""
    worst = 0.0
    for folder in arguments.recordings:
        exhaustive = Exhaustive(Recording(folder))
        for slots in (1, 3):
            (outcome,) = ours(arguments.binary, folder, "grid", 1, slots)
            course = Course(exhaustive, math.inf)
            course.may_settle = False
            replay(course, Grid(course, 0, False).propose, slots)
            names = ("cost", "hypervolume", "recall_within_noise", "same_front")
            theirs = [tuple(step[name] for name in names) for step in outcome["steps"]]
            mine = [(cost, volume, within, same) for cost, volume, _, same, within in course.steps]
            if len(mine) != len(theirs):
                sys.exit(f"error: {folder}, {slots} slots: {len(mine)} steps, simulate has {len(theirs)}")
            for at, (one, other) in enumerate(zip(mine, theirs)):
                apart = max(abs(this - that) for this, that in zip(one[:3], other[:3]))
                worst = max(worst, apart)
                if not (apart <= 1e-9 and one[3] == other[3]):
                    sys.exit(f"error: {folder}, {slots} slots, step {at}: {one}, simulate has {other}")
            print(f"{name_of(folder)}, {slots} slots: {len(mine)} steps are the same; front of {int(exhaustive.on_front.sum())}")
    print(f"largest difference {worst:.1e}")


def middle(values):
    """Median; what was never reached is beyond everything."""
    values = sorted(values)
    half = len(values) // 2
    return values[half] if len(values) % 2 or values[half] == math.inf else (values[half - 1] + values[half]) / 2


def costs(rows, column):
    """Median, worst and how many never reached it."""
    values = [float(row[column]) if row[column] else math.inf for row in rows]
    never = values.count(math.inf)
    shown = lambda value: "never" if value == math.inf else f"{value:.3f}"
    worst = f"never {never}/{len(values)}" if never else shown(max(values))
    return f"{shown(middle(values))} ({worst})"


def shares(rows, column):
    """Median and worst."""
    values = [float(row[column]) for row in rows if row[column]]
    return f"{middle(values):.3f} ({min(values):.3f})" if values else ""


def table(arguments):
    from compare import table as markdown

    rows = [row for path in arguments.table for row in rows_of(path)]
    groups = {}
    for row in rows:
        name = row["recording"].split("/")[0] if arguments.together else row["recording"]
        groups.setdefault((name, row["slots"]), []).append(row)
    for (name, slots), of in groups.items():
        # What peers have when ours has ended by itself, at the next budget that is written.
        ends = [float(row["cost"]) for row in of if row["method"] == "freeze-thaw"]
        share = next((share for share in BUDGETS if ends and share >= middle(ends)), 0.2)
        # Rows of earlier records do not have it.
        has_recall = all("cost_recall_95" in row for row in of)
        reached = ["99", "995", "999", *(["recall_95"] if has_recall else []), "same_front"]
        head = ["method", "runs", "99 %", "99.5 %", "99.9 %", *(["95 % recall"] if has_recall else []), "same front", "ended at"]
        head += [f"{what} at {100 * share:.0f} %" for what in ("hypervolume", "recall")]
        lines = []
        for method in [*OURS, *(name + suffix for name in METHODS for suffix in ("", FIRST))]:
            some = [row for row in of if row["method"] == method]
            if some:
                lasted = [costs(some, f"cost_{what}") for what in reached]
                at = [shares(some, f"{what}_at_{100 * share:.0f}") for what in ("hypervolume", "recall")]
                lines.append([method, len(some), *lasted, costs(some, "cost"), *at])
        recordings = len({row["recording"] for row in of})
        about = f", {recordings} recordings" if recordings > 1 else ""
        print(f"## {name}{about}, trainings at once: {slots}\n\n{markdown(head, lines)}\n")


def install(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for name, packages in PACKAGES.items():
        subprocess.run([sys.executable, "-m", "venv", str(folder / name)], check=True)
        subprocess.run([str(folder / name / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages], check=True)
        print(f"{folder / name}: {', '.join(packages)}")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="*", type=pathlib.Path, metavar="RECORDING", help="folders of trials.csv and epochs.csv")
    parser.add_argument("--method", choices=[*METHODS, *OURS, "list"], metavar="NAME", help="the method, or `list`")
    parser.add_argument("--seeds", type=int, default=30, metavar="N", help="seeds, from 0 on [30]")
    parser.add_argument("--first-seed", action="store_true", help="a peer trains each configuration under the first seed alone, and at the end those on its front under the others")
    parser.add_argument("--slots", type=int, default=1, metavar="N", help="trainings at once [1]")
    parser.add_argument("--budget", type=float, default=1.0, metavar="SHARE", help="of the training time of all [1]")
    parser.add_argument("--out", type=pathlib.Path, metavar="FILE", help="CSV file to add rows to")
    parser.add_argument("--environments", type=pathlib.Path, metavar="FOLDER", help="what --install made [this Python for all]")
    parser.add_argument("--binary", type=pathlib.Path, default=pathlib.Path("target/release/fastrcaps"), metavar="FILE", help="our program")
    parser.add_argument("--install", type=pathlib.Path, metavar="FOLDER", help="make an environment for each peer there")
    parser.add_argument("--self-check", action="store_true", help="hold our own grid's course against `fastrcaps simulate`")
    parser.add_argument("--table", nargs="+", type=pathlib.Path, metavar="FILE", help="print what rows come to")
    parser.add_argument("--together", action="store_true", help="in a table, take recordings of a folder together")
    return parser.parse_args()


def main():
    arguments = parse()
    if arguments.install:
        return install(arguments.install)
    if arguments.table:
        return table(arguments)
    if arguments.method == "list":
        for name, (_, _, environment, _, about) in METHODS.items():
            print(f"{name:<18} {environment:<10} {about}")
        return print(f"{', '.join(OURS):<29} ours, by --binary; settings as shipped")
    arguments.binary = arguments.binary.resolve()
    if arguments.first_seed and arguments.method in OURS:
        sys.exit("error: --first-seed is for peers: ours choose seeds themselves")
    if not arguments.recordings or not (arguments.self_check or arguments.method and arguments.out):
        sys.exit("error: give recordings, and --self-check or --method and --out; or --install, --table")
    environment = "plain" if arguments.self_check else METHODS.get(arguments.method, (0, 0, "plain"))[2]
    python = arguments.environments and arguments.environments / environment / "bin" / "python"
    if python and pathlib.Path(sys.prefix).resolve() != (arguments.environments / environment).resolve():
        if not python.exists():
            sys.exit(f"error: there is no {python}: make it with --install {arguments.environments}")
        os.execv(python, [str(python), *sys.argv])
    if numpy is None:
        sys.exit("error: this Python has no numpy: --install FOLDER makes environments, --environments FOLDER uses them")
    return self_check(arguments) if arguments.self_check else run(arguments)


if __name__ == "__main__":
    main()
