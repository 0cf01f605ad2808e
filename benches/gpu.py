#!/usr/bin/env python3
"""What benches/gpu.sh needs Python for: our training step on a GPU and a peer's by turns, and two trainings that share it.

    python3 benches/gpu.py --binary ./fastrcaps --out DIR --peer torch_capsnet.py --seconds 300

By turns: in every round, each program runs in a process of its own and gives the median of its steps; who goes first changes every
round. Ratios are the peer's time by ours, above 1 where ours is faster, each of like precision: the peer's float32 on CUDA is TF32, so
that it stands against ours in TF32; its bf16 against ours in bf16. Ours in f32 has no counterpart there, and is for information.
The first run of the peer of each kind compiles its kernels and is not counted.

What does not fit into --seconds is left out, and that is said. --out gets README.md (the report), rounds.csv (every measurement) and
shared.json (trainings that share the GPU); gpu.sh has put there what it measured before.
"""
import argparse
import csv
import datetime
import io
import json
import pathlib
import re
import subprocess
import sys
import time

from compare import ENOUGH, ROOT, count, machine, median, numbers, positive, spread, table

# What is compared: ours, the peer's option, and whether the two count in the same precision.
PRECISIONS = {"tf32": [], "bf16": ["--bf16"]}
# Seconds that trainings beside each other may take in all.
SHARED = 90
# Seconds under which no other batch size is begun.
LEAST = 30
# Seconds that a process may take beyond what the last one took.
SLACK = 1.3


class Failed(Exception):
    pass


def run(name, command, patience):
    """What a program printed; an exception where it failed or took more than `patience` seconds: what else there is goes on."""
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=max(patience, 1))
    except OSError as error:
        raise Failed(f"cannot start {name}: {error}") from None
    except subprocess.TimeoutExpired:
        raise Failed(f"{name} had no time to end") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise Failed(f"{name} failed with {done.returncode}: {last}")
    return done.stdout


def say(line):
    print(line, file=sys.stderr, flush=True)


def clocks():
    """Clock in MHz, power in W and temperature in °C of the GPUs, as nvidia-smi has them now; None without it."""
    fields = "clocks.sm,power.draw,temperature.gpu"
    try:
        query = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
        return run("nvidia-smi", query, 20).strip().replace("\n", "; ")
    except Failed:
        return None


class Ours:
    def __init__(self, arguments, precision):
        self.name, self.precision = f"ours {precision}", precision
        self.command = [arguments.binary, "bench", "step", "--device", arguments.device, "--preset", arguments.preset]
        self.command += ["--precision", precision, "--json"]
        self.steps = arguments.steps

    def measure(self, batch, patience):
        output = json.loads(run(self.name, [*self.command, "--steps", self.steps, "--batch", batch], patience))
        measured = output["batches"][0]
        return (measured["ms_in_training"] or measured["ms"])["median"] / 1e3


class Peer:
    def __init__(self, arguments, precision):
        self.name, self.precision = f"peer {precision}", precision
        device = arguments.device.split(":")[0] if arguments.device.endswith(":0") else arguments.device
        self.command = [arguments.python, arguments.peer, "--device", device, *PRECISIONS[precision]]
        self.steps = arguments.steps

    def measure(self, batch, patience):
        output = run(self.name, [*self.command, "--steps", self.steps, "--batch", batch], patience)
        # Seconds are printed to 0.1 ms: of short steps the rate says more.
        rate, seconds = re.search(r"([0-9.eE+-]+) samples/s", output), re.search(r"([0-9.eE+-]+) s/step", output)
        if rate and float(rate[1]) > 0:
            return batch / float(rate[1])
        if seconds and float(seconds[1]) > 0:
            return float(seconds[1])
        raise Failed(f"{self.name} printed neither `RATE samples/s` nor `SECONDS s/step`: {output.strip()[-300:]}")


class Report:
    def __init__(self, arguments):
        self.arguments, self.begun = arguments, time.monotonic()
        self.rows, self.left_out, self.shared = [], [], None

    def left(self):
        return self.arguments.seconds - (time.monotonic() - self.begun)

    def leave_out(self, what):
        self.left_out.append(what)
        say(f"left out: {what}")

    def seconds(self, name, batch):
        return [row["seconds"] for row in self.rows if row["program"] == name and row["batch"] == batch]

    def measure(self, program, batch, number, turn):
        started = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        begun = time.monotonic()
        seconds = program.measure(batch, self.left())
        wall = time.monotonic() - begun
        if number > 0:
            row = {"round": number, "turn": turn, "batch": batch, "program": program.name, "seconds": seconds}
            self.rows.append({**row, "clocks": clocks(), "started": started})
            say(f"round {number} batch {batch:>4} {program.name}: {1e3 * seconds:.3f} ms")
        return wall

    def by_turns(self, batch, programs):
        """Rounds of one batch size, as many as are asked for or fit."""
        programs, cost = list(programs), 0.0
        if self.left() < LEAST:
            return self.leave_out(f"batch {batch}, for want of time")
        for program in [program for program in programs if isinstance(program, Peer)]:
            try:
                say(f"batch {batch:>4} {program.name}: compiles its kernels")
                self.measure(program, batch, 0, 0)
            except Failed as error:
                self.leave_out(f"{program.name} at batch {batch}: {error}")
                programs.remove(program)
        for number in range(1, self.arguments.rounds + 1):
            if self.left() < SLACK * cost:
                return self.leave_out(f"batch {batch}: rounds {number} to {self.arguments.rounds}, for want of time")
            begun = time.monotonic()
            turns = programs if number % 2 else programs[::-1]
            for turn, program in enumerate(turns, 1):
                try:
                    self.measure(program, batch, number, turn)
                except Failed as error:
                    return self.leave_out(f"batch {batch} from round {number} on: {error}")
            cost = max(cost, time.monotonic() - begun)

    def ratios(self):
        head = ["batch", "precision", "ours, ms", "peer, ms", "ours, samples/s", "peer, samples/s", "ratio", "quartiles"]
        rows = []
        for batch in self.arguments.batch:
            for precision in PRECISIONS:
                ours, peer = (self.seconds(f"{who} {precision}", batch) for who in ("ours", "peer"))
                pairs = [b / a for a, b in zip(ours, peer)]
                times = [median(values) if values else None for values in (ours, peer)]
                show = [f"{1e3 * value:.3f}" if value else "" for value in times]
                rates = [f"{batch / value:.0f}" if value else "" for value in times]
                figures = [*spread(pairs)[:2]] if pairs else ["", ""]
                if ours or peer:
                    doubt = "" if len(pairs) >= ENOUGH or not pairs else f" ({count(len(pairs), 'round')})"
                    rows.append([batch, precision + doubt, *show, *rates, *figures])
            ours = self.seconds("ours f32", batch)
            if ours:
                rows.append([batch, "f32", f"{1e3 * median(ours):.3f}", "", f"{batch / median(ours):.0f}", "", "", ""])
        return table(head, rows) if rows else "Nothing was measured."

    def sharing(self):
        if not self.shared:
            return "Left out."
        head = ["trainings", "seconds per epoch, each", "wall seconds, all"]
        rows = [[what, ", ".join(f"{value:.2f}" for value in each), f"{wall:.1f}"] for what, each, wall in self.shared["rows"]]
        return f"{self.shared['about']}\n\n{table(head, rows)}"

    def text(self):
        arguments, about, written = self.arguments, machine(), self.arguments.out
        parts = ["# A training step on a GPU"]
        names = sorted(path.name for path in written.iterdir() if not path.name.startswith(".") and path.name != "README.md")
        try:
            run = json.loads((written / "bench-f32.json").read_text())
            device = run["device"]
            parts.append(
                f"- {device['name']}, compute capability {device['compute_capability']}, driver {device['driver']}\n"
                f"- fastrcaps {run['machine']['git_revision'] or 'of an unknown revision'}, network {arguments.preset}"
            )
        except (OSError, ValueError, KeyError, TypeError):
            pass
        day = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
        parts.append(f"{day}, {about['cores']} cores of {about['processor']}, {about['memory']}, {about['system']}")
        said = (
            "How many times as long the peer takes: above 1, ours is faster. A time is the median of "
            f"{count(arguments.steps, 'step')} of a process, and of these the median over the rounds. Ours are enqueued one after another, "
            f"as our training does; the peer's host waits for each step's loss, as its program does. Fewer than {ENOUGH} rounds support no claim. Clocks beside each measurement stand in rounds.csv."
        )
        parts.append(f"## Ours and the peer\n\n{said}\n\n{self.ratios()}")
        parts.append(f"## Trainings that share the GPU\n\n{self.sharing()}")
        if self.left_out:
            parts.append("## Left out\n\n" + "\n".join(f"- {what.splitlines()[0]}" for what in self.left_out))
        parts.append("## Files\n\n" + "\n".join(f"- {name}" for name in names))
        return "\n\n".join(parts) + "\n"

    def write(self):
        text = io.StringIO()
        columns = ["round", "turn", "batch", "program", "seconds", "clocks", "started"]
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        files = {"rounds.csv": text.getvalue()}
        if self.shared:
            files["shared.json"] = json.dumps(self.shared, indent=1) + "\n"
        for name, content in files.items():
            self.put(name, content)
        self.put("README.md", self.text())

    def put(self, name, content):
        unfinished = self.arguments.out / f".{name}.new"
        unfinished.write_text(content)
        unfinished.replace(self.arguments.out / name)


def trainings(report):
    """Two trainings one after the other, and then beside each other on one GPU."""
    arguments = report.arguments
    mnist = arguments.data_dir and (arguments.data_dir / "mnist").is_dir()
    data = 'name = "mnist"' if mnist else 'name = "glyphs"\ntrain_samples = 10000'
    folder = arguments.out / "trainings"
    folder.mkdir(exist_ok=True)
    epochs = arguments.epochs

    def start(name, seed):
        config = folder / f"{name}.toml"
        train = f'epochs = {epochs}\nprecision = "tf32"'
        batch = '[schedule.batch]\npolicy = "fixed"\nsize = 128'
        config.write_text(f'seed = {seed}\n[data]\n{data}\n[model]\npreset = "{arguments.preset}"\n[train]\n{train}\n{batch}\n')
        command = [arguments.binary, "train", config, "--out", folder / name, "--force", "--quiet", "--device", arguments.device]
        command += ["--data-dir", arguments.data_dir] if mnist else []
        with open(folder / f"{name}.log", "w") as log:
            return subprocess.Popen([str(word) for word in command], stdout=log, stderr=subprocess.STDOUT)

    def end(name, process):
        try:
            code = process.wait(timeout=max(SHARED, 1))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise Failed(f"training {name} took more than {SHARED} s") from None
        if code != 0:
            last = (folder / f"{name}.log").read_text().strip().splitlines()[-3:]
            raise Failed(f"training {name} ended with {code}: {' / '.join(last)}")
        with open(folder / name / "epochs.csv") as rows:
            # The first epoch also starts everything.
            times = [float(row["train_seconds_screen"]) for row in csv.DictReader(rows)]
        steps = [later - earlier for earlier, later in zip([0.0, *times], times)]
        return median(steps[1:] or steps)

    if report.left() < SHARED:
        return report.leave_out("trainings that share the GPU, for want of time")
    try:
        begun = time.monotonic()
        alone = [end(name, start(name, seed)) for seed, name in enumerate(["alone-1", "alone-2"])]
        wall = time.monotonic() - begun
        say(f"two trainings one after the other: {wall:.1f} s")
        begun = time.monotonic()
        processes = {name: start(name, seed) for seed, name in enumerate(["shared-1", "shared-2"])}
        try:
            shared = [end(name, process) for name, process in processes.items()]
        finally:
            for process in processes.values():
                if process.poll() is None:
                    process.kill()
        beside = time.monotonic() - begun
        say(f"two trainings beside each other: {beside:.1f} s")
    except (Failed, OSError, KeyError, ValueError) as error:
        return report.leave_out(f"trainings that share the GPU: {error}")
    images = "MNIST, 60,000 images" if mnist else "10,000 glyphs (MNIST is not there: --data-dir)"
    report.shared = {
        "about": f"Network {arguments.preset}, {images}, batch 128, TF32, {count(epochs, 'epoch')}; evaluation and start-up count in the wall alone.",
        "rows": [["one after the other", alone, wall], ["beside each other", shared, beside]],
    }


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", type=pathlib.Path, required=True, metavar="FILE", help="our program")
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--device", default="cuda:0", metavar="DEVICE", help="which GPU [cuda:0]")
    parser.add_argument("--preset", default="paper", help="network of ours; the peer's is at full size [paper]")
    parser.add_argument("--peer", type=pathlib.Path, metavar="FILE", help="the peer's program")
    parser.add_argument("--python", default=sys.executable, metavar="FILE", help="what runs the peer [%(default)s]")
    parser.add_argument("--data-dir", type=pathlib.Path, metavar="DIR", help="where mnist/ lies")
    parser.add_argument("--batch", type=numbers, default=[128, 512, 16], metavar="N,…", help="batch sizes, in this order [128,512,16]")
    parser.add_argument("--rounds", type=positive, default=ENOUGH, metavar="N", help=f"rounds; at least {ENOUGH} for a claim [{ENOUGH}]")
    parser.add_argument("--steps", type=positive, default=100, metavar="N", help="timed steps of each process [100]")
    parser.add_argument("--epochs", type=positive, default=3, metavar="N", help="epochs of the trainings that share the GPU [3]")
    parser.add_argument("--seconds", type=float, default=300, metavar="S", help="time for all of it [300]")
    return parser.parse_args()


def find_peer(report):
    """Whether there is a peer that runs."""
    arguments = report.arguments
    if not (arguments.peer and arguments.peer.is_file()):
        return report.leave_out(f"the peer: there is no {arguments.peer}" if arguments.peer else "the peer: none is named, see --peer")
    if "torch" in arguments.peer.read_text():
        try:
            run("torch", [arguments.python, "-c", "import torch; assert torch.cuda.is_available(), 'torch sees no GPU'"], 120)
        except Failed as error:
            return report.leave_out(f"the peer: {error}")
    return True


def main():
    arguments = parse()
    arguments.binary = arguments.binary.resolve()
    for name in ("peer", "data_dir", "out"):
        if getattr(arguments, name):
            setattr(arguments, name, getattr(arguments, name).resolve())
    arguments.out.mkdir(parents=True, exist_ok=True)
    report = Report(arguments)
    trainings(report)
    report.write()
    has_peer = find_peer(report)
    programs = []
    for precision in PRECISIONS:
        programs += [Ours(arguments, precision)] + ([Peer(arguments, precision)] if has_peer else [])
    programs.append(Ours(arguments, "f32"))
    for batch in arguments.batch:
        report.by_turns(batch, programs)
        report.write()
    print(report.text(), end="")


if __name__ == "__main__":
    main()
