#!/usr/bin/env python3
"""Writes learning curves of a public surrogate as recordings that `fastrcaps simulate` reads.

The surrogate is LCBench of YAHPO Gym (slds-lmu/yahpo_data, Apache-2.0): 34 data sets, epochs 1 to 52, with times. Needs numpy
and onnxruntime.

    python3 benches/lcbench_curves.py FOLDER_OF_THE_SURROGATE OUT [--configurations 600]

Each data set becomes a folder OUT/TASK with trials.csv and epochs.csv. Configurations are drawn at random, and are others in each
data set. The surrogate's curves are smooth: noise of 0.2 points of accuracy is added to each epoch.
Times are those of all epochs, in equal shares.
"""

import argparse
import csv
import json
import pathlib

import numpy
import onnxruntime

EPOCHS = 52
NOISE = 0.2  # points of accuracy
AXES = ["batch_size", "learning_rate", "max_dropout", "max_units", "momentum", "num_layers", "weight_decay"]
# In the order in which the surrogate was trained with them.
INPUTS = ["epoch", "batch_size", "learning_rate", "momentum", "weight_decay", "num_layers", "max_units", "max_dropout"]


def draw(space, count, random):
    """Values of every axis."""
    values = {}
    for axis in AXES:
        of = space[axis]
        low, high = of["lower"], of["upper"]
        if of["log"]:
            drawn = numpy.exp(random.uniform(numpy.log(low), numpy.log(high), count))
        else:
            drawn = random.uniform(low, high, count)
        values[axis] = numpy.round(drawn) if of["type"] == "uniform_int" else drawn
    return values


def parameters(layers, units):
    """Weights of a funnel of layers; inputs and classes are taken for 50 and 10."""
    widths = [50] + [max(1, round(units - (units - 10) * layer / layers)) for layer in range(int(layers))] + [10]
    return sum((a + 1) * b for a, b in zip(widths, widths[1:]))


def curves(session, task, values, count):
    """Seconds and accuracy after each epoch, a row a configuration."""
    category = numpy.full((count, 1), task, numpy.int32)
    seconds, accuracies = [], []
    for epoch in range(1, EPOCHS + 1):
        of = {**values, "epoch": numpy.full(count, epoch)}
        inputs = numpy.stack([of[name] for name in INPUTS], axis=1).astype(numpy.float32)
        (out,) = session.run(None, {"x_cat": category, "x_cont": inputs})
        seconds.append(out[:, 0])
        accuracies.append(out[:, 1])
    # All epochs of a training have the same steps, so that each takes the same time, whatever the surrogate says.
    share = numpy.arange(1, EPOCHS + 1) / EPOCHS
    return numpy.maximum(seconds[-1], 0.1)[:, None] * share, numpy.stack(accuracies, axis=1)


def write(folder, values, seconds, accuracies, count):
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "trials.csv", "w", newline="") as trials, open(folder / "epochs.csv", "w", newline="") as epochs:
        trials, epochs = csv.writer(trials), csv.writer(epochs)
        trials.writerow(["key", "status", "configuration", *AXES, "replicate", "seed", "parameters", "epochs"])
        epochs.writerow(["key", "configuration", "replicate", "epoch", "validation_accuracy", "train_seconds_screen"])
        for index in range(count):
            key, name = f"{index:016x}", f"configuration {index}"
            of = [f"{values[axis][index]:.6g}" for axis in AXES]
            size = parameters(values["num_layers"][index], values["max_units"][index])
            trials.writerow([key, "done", name, *of, 0, 0, size, EPOCHS])
            for epoch in range(EPOCHS):
                row = [f"{accuracies[index, epoch]:.6f}", f"{seconds[index, epoch]:.3f}"]
                epochs.writerow([key, name, 0, epoch + 1, *row])


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("surrogate", type=pathlib.Path)
    arguments.add_argument("out", type=pathlib.Path)
    arguments.add_argument("--configurations", type=int, default=600)
    arguments = arguments.parse_args()
    declared = json.loads((arguments.surrogate / "config_space.json").read_text())["hyperparameters"]
    space = {of["name"]: of for of in declared}
    codes = json.loads((arguments.surrogate / "encoding.json").read_text())["OpenML_task_id"]
    session = onnxruntime.InferenceSession(str(arguments.surrogate / "model.onnx"))
    count = arguments.configurations
    for task in space["OpenML_task_id"]["choices"]:
        random = numpy.random.default_rng(int(task))
        values = draw(space, count, random)
        seconds, accuracies = curves(session, codes[task], values, count)
        noisy = accuracies + random.normal(0, NOISE, accuracies.shape)
        write(arguments.out / task, values, seconds, numpy.clip(noisy / 100, 0, 1), count)
        best = noisy.max()
        print(f"{task}: {count} configurations, {seconds[:, -1].sum():.0f} s, best accuracy {best:.2f} %")


if __name__ == "__main__":
    main()
