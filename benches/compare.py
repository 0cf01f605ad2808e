#!/usr/bin/env python3
"""Measures our training step and a peer's by turns, and writes down the ratios with their spread.

    python3 benches/compare.py --python ENV/bin/python --peer torch_capsnet.py
    python3 benches/compare.py --batch 1,128 --rounds 9 --scaling --out results/records/DATE_cpu-step
    python3 benches/compare.py --without-peer --scaling

In every round, for every batch size, each program runs in a process of its own, on the same threads; who goes first changes
every round. A process gives the median of --steps steps (of small batches, which are short, up to 16 times as many) after two
that are not counted; start-up and compilation are not counted. A round gives one ratio, the peer's time by ours: above 1, ours is faster. Reported are the median of the ratios,
quartiles and extremes.

Ours is `fastrcaps bench step --preset paper --json`. The peer is started as `PYTHON PEER --batch N --threads N --steps N` and
prints a line with `… SECONDS s/step …`, SECONDS being the median of its steps.

The machine should do nothing else. What other processes took during each measurement is measured too: beside which it was much
is taken again, up to three times. If it still was, or there were fewer than five rounds, the report says that it supports no
claim.

--out DIR gets README.md (this report), rounds.csv (every single measurement) and stages.json (the last output of ours for each
batch size and number of threads: where the time goes). They are valid after every round. Python 3.10 is all that this needs.
"""
import argparse
import csv
import datetime
import io
import json
import os
import pathlib
import re
import resource
import shlex
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Cores that other processes may take, on average over a measurement, before it counts as disturbed.
DISTURBED = 0.1
# Times that a measurement beside which others took more is taken.
TRIES = 3
# Rounds that a claim needs.
ENOUGH = 5
# Seconds after which a measurement is given up.
PATIENCE = 1800


def quantile(values, share):
    """As src/base/stats.rs has it: between two values where it falls there."""
    values = sorted(values)
    at = share * (len(values) - 1)
    below = int(at)
    above = min(below + 1, len(values) - 1)
    return values[below] + (at - below) * (values[above] - values[below])


def median(values):
    return quantile(values, 0.5)


def busy_seconds():
    """Processor seconds that all processes, and the host of this machine, have taken so far; None if unknown."""
    try:
        fields = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _idle, _waiting, irq, softirq, steal = (int(field) for field in fields[:8])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def own_seconds():
    """Those of this process and of the ones it has waited for."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


class Others:
    """Cores that other processes take, on average from the making of this to the call of `cores`."""

    def __init__(self):
        self.begun, self.busy, self.own = time.monotonic(), busy_seconds(), own_seconds()

    def cores(self):
        if self.busy is None:
            return float("nan")
        others = busy_seconds() - self.busy - (own_seconds() - self.own)
        return max(others, 0.0) / (time.monotonic() - self.begun)


def load():
    return " ".join(f"{value:.2f}" for value in os.getloadavg())


def file_value(path, key):
    try:
        lines = pathlib.Path(path).read_text().splitlines()
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.split(":")[0].strip() == key), None)


def git(*arguments):
    try:
        run = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    except OSError:
        return None
    return run.stdout.strip() if run.returncode == 0 else None


def machine():
    """What the figures were measured on."""
    memory = file_value("/proc/meminfo", "MemTotal")
    revision = git("rev-parse", "--short=12", "HEAD")
    if revision and git("status", "--porcelain"):
        revision += " with changes that are not committed"
    uname = os.uname()
    return {
        "processor": file_value("/proc/cpuinfo", "model name") or uname.machine,
        "cores": len(os.sched_getaffinity(0)),
        "memory": f"{int(memory.split()[0]) / 2**20:.1f} GiB" if memory else "unknown",
        "system": f"{uname.sysname} {uname.release}",
        "revision": revision or "unknown",
    }


def call(name, command):
    """Runs a program and gives what it printed; ends with what it complained of if it failed."""
    # One compiling process, which the peer waits for: its time is then the peer's, not another's.
    environment = {**os.environ, "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    process = None
    try:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        out, err = process.communicate(timeout=PATIENCE)
    except OSError as error:
        sys.exit(f"error: cannot start {name}: {error}\n  {shlex.join(command)}")
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        sys.exit(f"error: {name} took more than {PATIENCE} s\n  {shlex.join(command)}")
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        sys.exit("interrupted")
    if process.returncode != 0:
        last = "\n".join("  | " + line for line in err.strip().splitlines()[-12:])
        sys.exit(f"error: {name} failed with {process.returncode}\n  {shlex.join(command)}\n{last}")
    return out


def steps_of(batch, steps):
    """Timed steps of a process."""
    return steps * max(1, 16 // batch)


class Ours:
    def __init__(self, binary, threads, steps):
        self.name, self.threads = f"ours, {count(threads, 'thread')}", threads
        self.command = [str(binary), "bench", "step", "--preset", "paper", "--json"]
        self.command += ["--threads", str(threads)]
        self.steps, self.last = steps, {}

    def measure(self, batch):
        command = [*self.command, "--steps", str(steps_of(batch, self.steps)), "--batch", str(batch)]
        output = json.loads(call(self.name, command))
        self.last[batch] = output
        return output["batches"][0]["ms"]["median"] / 1e3


class Peer:
    def __init__(self, python, path, threads, steps):
        self.name, self.threads = f"peer, {count(threads, 'thread')}", threads
        self.command, self.steps = [python, str(path), "--threads", str(threads)], steps

    def measure(self, batch):
        command = [*self.command, "--steps", str(steps_of(batch, self.steps)), "--batch", str(batch)]
        output = call(self.name, command)
        found = re.search(r"([0-9.eE+-]+) s/step", output)
        if not found:
            sys.exit(f"error: the peer printed no `SECONDS s/step`\n  {shlex.join(command)}\n  | {output.strip()}")
        return float(found[1])


def count(number, what):
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def spread(values):
    """Median, quartiles and extremes of ratios."""
    low, high = quantile(values, 0.25), quantile(values, 0.75)
    return [f"**{median(values):.2f}**", f"{low:.2f} to {high:.2f}", f"{min(values):.2f} to {max(values):.2f}"]


def table(head, rows):
    """A table in Markdown, aligned for those who read it as it is: the first column to the left, the others to the right."""
    rows = [[str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    pad = [str.ljust] + [str.rjust] * (len(head) - 1)
    lines = ["| " + " | ".join(p(cell, w) for p, cell, w in zip(pad, row, widths)) + " |" for row in rows]
    rule = "|" + "|".join("-" * (w + 1) + ("-" if column == 0 else ":") for column, w in enumerate(widths)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


class Run:
    """All that was measured so far, and what is said of it."""

    def __init__(self, arguments, programs, about):
        self.arguments, self.programs, self.about = arguments, programs, about
        self.rows = []

    def rounds(self):
        return self.rows[-1]["round"] if self.rows else 0

    def seconds(self, program, batch):
        """By round."""
        return [row["seconds"] for row in self.rows if row["program"] == program.name and row["batch"] == batch]

    def ratios(self, slow, fast, batch):
        return [a / b for a, b in zip(self.seconds(slow, batch), self.seconds(fast, batch))]

    def comparison(self, slow, fast):
        """How many times as long `slow` takes, and the ratio of each round."""
        head = ["batch", *(f"{program.name}, {what}" for what in ("ms", "samples/s") for program in (fast, slow))]
        head += ["ratio", "quartiles", "extremes"]
        rows, rounds = [], []
        for batch in self.arguments.batch:
            ratios = self.ratios(slow, fast, batch)
            if not ratios:
                continue
            times = [median(self.seconds(program, batch)) for program in (fast, slow)]
            rates = [f"{batch / time:.1f}" for time in times]
            rows.append([batch, *(f"{1e3 * time:.2f}" for time in times), *rates, *spread(ratios)])
            rounds.append([batch, *(f"{ratio:.2f}" for ratio in ratios)])
        numbers = [f"round {n + 1}" for n in range(max((len(row) - 1 for row in rounds), default=0))]
        rounds = [row + [""] * (len(numbers) + 1 - len(row)) for row in rounds]
        return f"{table(head, rows)}\n\nThe ratio of each round:\n\n{table(['batch', *numbers], rounds)}"

    def stages(self, ours):
        """Where our time goes, by the last round."""
        blocks = []
        for batch, output in sorted(ours.last.items()):
            measured, ceilings = output["batches"][0], output["ceilings"]
            rows = []
            for of in measured["parts"]:
                number = lambda name, digits=1: "" if of[name] is None else f"{of[name]:.{digits}f}"
                share = "" if of["of_ceiling"] is None else f"{100 * of['of_ceiling']:.0f} %"
                figures = [number("gflops"), number("gigabytes_per_second"), share, of["bound_by"] or ""]
                rows.append([of["part"], f"{of['ms']['median']:.3f}", f"{100 * of['share']:.1f} %", *figures])
            head = ["part", "ms", "share", "GFLOP/s", "GB/s", "of ceiling", "bound by"]
            reached = f"{ceilings['gflops']:.0f} GFLOP/s and {ceilings['gigabytes_per_second']:.0f} GB/s"
            blocks.append(f"Batch {batch}, {ours.name}; ceilings of that run: {reached}.\n\n{table(head, rows)}")
        return "\n\n".join(blocks)

    def doubt(self):
        """Why no claim can be made of this, if so."""
        quiet = self.about["others at the start"] <= DISTURBED
        rows = [row for row in self.rows if not row["others"] <= DISTURBED]
        if quiet and not rows:
            return None if self.rounds() >= ENOUGH else f"it has {count(self.rounds(), 'round')} of at least {ENOUGH}"
        worst = max([row["others"] for row in rows] + [self.about["others at the start"]])
        return (
            f"other processes took up to {worst:.2f} of {self.about['cores']} cores, beside {len(rows)} of "
            f"{len(self.rows)} measurements too much (load {self.about['load at the start']} at the start, {load()} at the end)"
        )

    def report(self):
        about, arguments = self.about, self.arguments
        ours, peer, alone = self.programs
        parts = ["# A training step, by turns" if peer else "# A training step"]
        reason = self.doubt()
        if reason:
            parts.append(f"**This supports no claim: {reason}.**")
        most = max((row["others"] for row in self.rows), default=float("nan"))
        revision = f"fastrcaps {about['revision']}, built from {about['build']}"
        parts.append(
            f"```\n{about['command']}\n```\n\n"
            f"- {about['date']}, {about['cores']} cores of {about['processor']}, {about['memory']}, {about['system']}\n"
            f"- {revision}" + (f"; peer {arguments.peer.name}, torch {about['torch']}" if peer else "") + "\n"
            f"- full-size network, {count(arguments.threads, 'thread')}, {count(self.rounds(), 'round')} of {arguments.rounds}, "
            f"a median of {count(arguments.steps, 'step')} each, of small batches of up to 16 times as many\n"
            f"- load (1, 5, 15 minutes) {about['load at the start']} at the start, {load()} at the end; "
            f"other processes took at most {most:.2f} cores beside a measurement"
        )
        if peer:
            said = "How many times as long the peer takes: above 1, ours is faster."
            parts.append(f"## Ours and the peer\n\n{said}\n\n{self.comparison(peer, ours)}")
        if alone:
            parts.append(f"## Threads\n\nHow many times as long one thread takes.\n\n{self.comparison(alone, ours)}")
        parts.append(f"## Where our time goes\n\n{self.stages(ours)}")
        return "\n\n".join(parts) + "\n"

    def write(self, folder):
        text = io.StringIO()
        columns = ["round", "turn", "batch", "program", "threads", "step_ms", "samples_per_second", "other_cores", "started"]
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        for row in self.rows:
            rate, others = f"{row['batch'] / row['seconds']:.2f}", f"{row['others']:.3f}"
            writer.writerow(
                [row["round"], row["turn"], row["batch"], row["program"].split(",")[0], row["threads"]]
                + [f"{1e3 * row['seconds']:.4f}", rate, others, row["started"]]
            )
        ours, _, alone = self.programs
        stages = [output for program in (ours, alone) if program for _, output in sorted(program.last.items())]
        files = {"rounds.csv": text.getvalue(), "stages.json": json.dumps(stages, indent=1) + "\n"}
        files["README.md"] = self.report()
        for name, content in files.items():
            unfinished = folder / f".{name}.new"
            unfinished.write_text(content)
            unfinished.replace(folder / name)


def positive(text):
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)


def numbers(text):
    return list(dict.fromkeys(positive(part) for part in text.split(",")))


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    batches = [1, 16, 128, 512]
    parser.add_argument("--batch", type=numbers, default=batches, metavar="N,…", help="batch sizes [1,16,128,512]")
    parser.add_argument("--threads", type=positive, default=2, metavar="N", help="threads of both programs [2]")
    parser.add_argument("--rounds", type=positive, default=7, metavar="N", help="rounds; at least 5 for a claim [7]")
    parser.add_argument("--steps", type=positive, default=7, metavar="N", help="timed steps of each process [7]")
    parser.add_argument("--scaling", action="store_true", help="measure ours on one thread too, in the same rounds")
    parser.add_argument("--peer", type=pathlib.Path, metavar="FILE", help="the peer's program")
    python = "what runs the peer: it needs torch [%(default)s]"
    parser.add_argument("--python", default=sys.executable, metavar="FILE", help=python)
    parser.add_argument("--without-peer", action="store_true", help="measure ours alone")
    parser.add_argument("--binary", type=pathlib.Path, metavar="FILE", help="our program [build target/release/fastrcaps]")
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR", help="folder to write the report to")
    return parser.parse_args()


def our_binary(given):
    if given:
        if not given.is_file():
            sys.exit(f"error: there is no program {given}; build it, or leave --binary out")
        return given.resolve()
    build = ["cargo", "build", "--release", "--locked", "--bin", "fastrcaps"]
    try:
        if subprocess.run(build, cwd=ROOT).returncode != 0:
            sys.exit("error: our program does not build; name one that is built with --binary")
    except OSError as error:
        sys.exit(f"error: cannot start cargo: {error}; name a program that is built with --binary")
    metadata = ["cargo", "metadata", "--format-version", "1", "--no-deps", "--locked"]
    known = json.loads(subprocess.run(metadata, cwd=ROOT, capture_output=True, text=True, check=True).stdout)
    return pathlib.Path(known["target_directory"]) / "release" / "fastrcaps"


def torch_version(python, peer):
    if not (peer and peer.is_file()):
        missing = f"there is no peer {peer}" if peer else "no peer is named"
        sys.exit(f"error: {missing}; name its program with --peer, or measure ours alone: --without-peer")
    try:
        run = subprocess.run([python, "-c", "import torch; print(torch.__version__)"], capture_output=True, text=True)
    except OSError as error:
        sys.exit(f"error: cannot start {python}: {error}; name a Python that has torch with --python")
    if run.returncode != 0:
        last = (run.stderr.strip().splitlines() or ["no reason given"])[-1]
        advice = "name a Python that has it with --python, or measure ours alone: --without-peer"
        sys.exit(f"error: {python} cannot import torch ({last}); {advice}")
    return run.stdout.strip()


def main():
    arguments = parse()
    # Programs are started in the project's folder.
    if arguments.peer:
        arguments.peer = arguments.peer.resolve()
    if os.sep in arguments.python:
        arguments.python = os.path.abspath(arguments.python)
    cores = len(os.sched_getaffinity(0))
    if arguments.threads > cores:
        sys.exit(f"error: --threads {arguments.threads} on {cores} cores would measure how they are shared")
    if arguments.out and arguments.out.exists() and (not arguments.out.is_dir() or any(arguments.out.iterdir())):
        sys.exit(f"error: {arguments.out} is there already; give a new folder with --out")
    torch = None if arguments.without_peer else torch_version(arguments.python, arguments.peer)
    binary = our_binary(arguments.binary)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)

    others, at_start = Others(), load()
    time.sleep(2)
    about = {
        **machine(),
        "command": shlex.join(sys.orig_argv),
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "torch": torch,
        "build": "an unknown revision",
        "load at the start": at_start,
        "others at the start": others.cores(),
    }
    ours = Ours(binary, arguments.threads, arguments.steps)
    peer = None
    if not arguments.without_peer:
        peer = Peer(arguments.python, arguments.peer, arguments.threads, arguments.steps)
    alone = Ours(binary, 1, arguments.steps) if arguments.scaling and arguments.threads > 1 else None
    run = Run(arguments, (ours, peer, alone), about)
    taken = about["others at the start"]
    if taken > DISTURBED:
        said = f"other processes take {taken:.2f} of {cores} cores (load {at_start})"
        print(f"warning: {said}: what is measured now supports no claim", file=sys.stderr)

    for number in range(1, arguments.rounds + 1):
        for batch in arguments.batch:
            turns = [program for program in run.programs if program]
            # Whoever follows the other finds a warmer machine.
            if number % 2 == 0:
                turns.reverse()
            for turn, program in enumerate(turns, 1):
                started = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
                for _ in range(TRIES):
                    others = Others()
                    seconds, taken = program.measure(batch), others.cores()
                    if not taken > DISTURBED:
                        break
                row = {"round": number, "turn": turn, "batch": batch, "program": program.name, "threads": program.threads}
                run.rows.append({**row, "seconds": seconds, "others": taken, "started": started})
                line = f"round {number}/{arguments.rounds} batch {batch:>4} {program.name}: {1e3 * seconds:.2f} ms"
                print(line + (f" (others took {taken:.2f} cores)" if taken > DISTURBED else ""), file=sys.stderr)
        about["build"] = ours.last[arguments.batch[0]]["machine"]["git_revision"] or about["build"]
        if arguments.out:
            run.write(arguments.out)
    print(run.report(), end="")
    if arguments.out:
        print(f"written to {arguments.out}", file=sys.stderr)
    if reason := run.doubt():
        print(f"warning: this supports no claim: {reason}", file=sys.stderr)


if __name__ == "__main__":
    main()
