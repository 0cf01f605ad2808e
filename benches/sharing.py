#!/usr/bin/env python3
"""Measures how much faster a training step of the full-size network is with shared weights, at each factor.

    python3 benches/sharing.py --out results/records/DATE_cpu-step/sharing

In every round, for every batch size, each variant is measured by `fastrcaps bench step --config …` in a process of its own, all by
turns; a round gives each the ratio of the unshared network's step to its own. Reported are the median of the ratios and their
extremes, and the parts of the step that sharing touches. --out DIR gets README.md and rounds.csv.
"""
import argparse
import csv
import datetime
import json
import pathlib
import shlex
import sys
import tempfile

from compare import ROOT, call, machine, median, numbers, our_binary, positive, table

# What is shared: fields of the model. The first is what the others are held against.
VARIANTS = {
    "nothing": "",
    "Conv1 filters, 2 channels each": "conv1_sharing = 2",
    "Conv1 filters, 4": "conv1_sharing = 4",
    "Conv1 filters, 8": "conv1_sharing = 8",
    "PrimaryCaps filters, 2 channels each": "primary_sharing = 2",
    "PrimaryCaps filters, 4": "primary_sharing = 4",
    "PrimaryCaps filters, 8": "primary_sharing = 8",
    "class matrices, by type (36 capsules each)": 'class_sharing = "by-type"',
    "all of the last of each, small decoder": (
        'conv1_sharing = 8\nprimary_sharing = 8\nclass_sharing = "by-type"\ndecoder = "small"'
    ),
}
LAYERS = {"Conv1": "conv1", "PrimaryCaps": "primary-capsules", "class capsules": "class-capsules"}


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=numbers, default=[16, 128], metavar="N,…", help="batch sizes [16,128]")
    parser.add_argument("--threads", type=positive, default=2, metavar="N", help="threads [2]")
    parser.add_argument("--rounds", type=positive, default=7, metavar="N", help="rounds [7]")
    parser.add_argument("--binary", type=pathlib.Path, metavar="FILE", help="our program [build target/release/fastrcaps]")
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR", help="folder to write the report to")
    return parser.parse_args()


def layer(measured, name):
    """Forward and backward, ms."""
    return sum(part["ms"]["median"] for part in measured["parts"] if part["part"] in (name, f"{name}-backward"))


def main():
    arguments, rows = parse(), []
    binary, about = our_binary(arguments.binary), machine()
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1, arguments.rounds + 1):
            for batch in arguments.batch:
                for at, (variant, fields) in enumerate(VARIANTS.items()):
                    config = pathlib.Path(folder) / f"{at}.toml"
                    config.write_text(f'data = {{ name = "mnist" }}\n[model]\nkind = "capsnet"\npreset = "paper"\n{fields}\n')
                    command = [str(binary), "bench", "step", "--json", "--steps", "7", "--threads", str(arguments.threads)]
                    output = json.loads(call(variant, [*command, "--config", str(config), "--batch", str(batch)]))
                    measured = output["batches"][0]
                    ms = {name: layer(measured, part) for name, part in LAYERS.items()}
                    row = {"round": number, "batch": batch, "shared": variant, "parameters": output["network"]["parameters"]}
                    rows.append({**row, "step_ms": measured["ms"]["median"], **{f"{name}_ms": ms[name] for name in ms}})
                    print(f"round {number}/{arguments.rounds} batch {batch} {variant}: {rows[-1]['step_ms']:.2f} ms", file=sys.stderr)
                about["build"] = output["machine"]["git_revision"]

    parts = [
        f"# A training step with shared weights\n\n```\n{shlex.join(sys.orig_argv)}\n```\n\n"
        f"- {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M UTC}, {about['cores']} cores of {about['processor']}, "
        f"{about['memory']}, {about['system']}\n- fastrcaps {about['revision']}, built from {about['build']}\n"
        f"- full-size network, {arguments.threads} threads, {arguments.rounds} rounds, a median of 7 steps each; "
        "a layer's ms are those of its forward and backward pass"
    ]
    for batch in arguments.batch:
        of = lambda variant: [row for row in rows if row["batch"] == batch and row["shared"] == variant]
        lines = []
        for variant in VARIANTS:
            ratios = [a["step_ms"] / b["step_ms"] for a, b in zip(of("nothing"), of(variant))]
            middle = lambda key: f"{median([row[key] for row in of(variant)]):.1f}"
            extremes = f"{min(ratios):.2f} to {max(ratios):.2f}"
            layers = [middle(f"{name}_ms") for name in LAYERS]
            parameters = of(variant)[0]["parameters"]
            lines.append([variant, parameters, middle("step_ms"), f"**{median(ratios):.2f}**", extremes, *layers])
        head = ["shared", "parameters", "step, ms", "times as fast", "extremes", *(f"{name}, ms" for name in LAYERS)]
        parts.append(f"## Batch {batch}\n\n{table(head, lines)}")
    report = "\n\n".join(parts) + "\n"
    print(report, end="")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "README.md").write_text(report)
        with open(arguments.out / "rounds.csv", "w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


if __name__ == "__main__":
    main()
