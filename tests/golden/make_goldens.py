"""Makes goldens.json: what the networks of fastrcaps compute, according to PyTorch in float64.

    python tests/golden/make_goldens.py          # needs torch and numpy

Eight million weights are too many to commit, so both sides make them from one formula, exact in float32: value i of the tensor
NAME is 2^-k · ((splitmix64(fnv1a64(NAME) + i) >> 40) − 2^23) / 2^23, a number in −2^-k..2^-k; k stands in the file.
Images are the same with k = 0, mapped to 0..1. Labels are 3, 1, 4, 1, ... Of every gradient the file holds sum, norm and 64
entries at a fixed stride.
"""
import json
import pathlib
import sys

import numpy as np
import torch

HERE = pathlib.Path(__file__).parent
sys.path.append(str(HERE.parent / "pytorch"))
from capsnet import build  # noqa: E402

LABELS = [3, 1, 4, 1]
SAMPLES = 64


def fnv1a64(name):
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = (h ^ byte) * 0x100000001B3 % 2**64
    return h


def splitmix64(z):
    z = (z + np.uint64(0x9E3779B97F4A7C15)).astype(np.uint64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def formula(name, shape, k):
    n = int(np.prod(shape))
    with np.errstate(over="ignore"):
        bits = splitmix64(np.uint64(fnv1a64(name)) + np.arange(n, dtype=np.uint64)) >> np.uint64(40)
    values = (bits.astype(np.float64) - 2**23) / 2**23 * 2.0**-k
    return torch.from_numpy(values.reshape(shape))


def exponent(name, shape, votes):
    """k such that 2^-k is about 2/√fan_in for weights of convolutions and linear layers."""
    if name == "class_caps.weight":
        return votes
    if name.endswith("bias"):
        return 4
    return round(np.log2(np.prod(shape[1:])) / 2) - 1


PAPER = dict(
    kind="capsnet", conv1_channels=256, conv1_kernel=9, conv1_stride=1, conv1_sharing=1, primary_types=32, primary_dim=8,
    primary_kernel=9, primary_stride=2, primary_sharing=1, class_dim=16, class_sharing="none", routing_iterations=3,
    squash="exact", decoder="full", decoder_hidden=[512, 1024], reconstruction_weight=0.0005,
)  # fmt: skip
LITTLE = dict(
    PAPER, conv1_channels=12, conv1_kernel=5, conv1_stride=2, primary_types=6, primary_dim=4, primary_kernel=3, class_dim=5,
    decoder_hidden=[9, 11], reconstruction_weight=0.05,
)  # fmt: skip
OF_A_CONVOLUTION = ("primary_types", "primary_kernel", "primary_stride", "primary_sharing")
DENSE = dict({k: v for k, v in LITTLE.items() if k not in OF_A_CONVOLUTION}, primary="dense", primary_capsules=5)
OF_ROUTING = ("class_dim", "routing_iterations")
HOMOGENEOUS = dict({k: v for k, v in LITTLE.items() if k not in OF_ROUTING}, class_capsules="homogeneous")
# Name: model, image shape, batch, k of the transformation matrices (strong enough for routing to matter).
CASES = {
    "paper": (PAPER, (1, 28, 28), 2, 2),
    "paper, shared by type, small decoder": (dict(PAPER, class_sharing="by-type", decoder="small"), (1, 28, 28), 2, 3),
    "little": (LITTLE, (1, 28, 28), 4, 0),
    "approximate squash": (dict(LITTLE, squash="approximate"), (3, 32, 32), 3, 1),
    "approximate squash, long capsules": (dict(LITTLE, squash="approximate", routing_iterations=2), (3, 32, 32), 3, 0),
    "one routing iteration": (dict(LITTLE, routing_iterations=1, decoder="none"), (1, 28, 28), 4, 0),
    "two routing iterations": (dict(LITTLE, routing_iterations=2), (1, 28, 28), 4, 0),
    "shared filters": (dict(LITTLE, conv1_sharing=2, primary_sharing=4, class_sharing="by-type"), (3, 32, 32), 3, 0),
    "small decoder, odd sizes": (dict(LITTLE, decoder="small", primary_stride=3, conv1_channels=7), (2, 25, 31), 3, 0),
    "dense primary layer": (DENSE, (2, 25, 31), 3, 0),
    "homogeneous class capsules, shared by type": (dict(HOMOGENEOUS, class_sharing="by-type"), (3, 32, 32), 3, 2),
    "lenet5": (dict(kind="lenet5"), (3, 32, 32), 4, 0),
}


def summary(tensor):
    flat = tensor.detach().flatten()
    stride = max(1, flat.numel() // SAMPLES)
    return dict(
        shape=list(tensor.shape), sum=flat.sum().item(), norm=flat.norm().item(), samples=flat[::stride][:SAMPLES].tolist()
    )


def golden(name, model, shape, batch, votes):
    network = build(model, *shape).double()
    for parameter, values in network.named_parameters():
        values.data.copy_(formula(parameter, values.shape, exponent(parameter, values.shape, votes)))
    images = (formula("images", (batch, *shape), 0) + 1) / 2
    scores, reconstruction, loss = network.loss(images, torch.tensor(LABELS[:batch]))
    loss.backward()
    return dict(
        name=name, model=model, shape=shape, labels=LABELS[:batch], scores=scores.tolist(), loss=loss.item(),
        reconstruction=None if reconstruction is None else summary(reconstruction),
        exponents={p: int(exponent(p, v.shape, votes)) for p, v in network.named_parameters()},
        gradients={p: summary(v.grad) for p, v in network.named_parameters()},
    )  # fmt: skip


def main():
    goldens = [golden(name, *case) for name, case in CASES.items()]
    (HERE / "goldens.json").write_text(json.dumps(goldens, indent=1) + "\n")


if __name__ == "__main__":
    main()
