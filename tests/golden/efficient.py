"""Makes efficient.json: what fastrcaps' Efficient-CapsNet computes, according to PyTorch in float64.

    python tests/golden/efficient.py          # needs torch and numpy

Weights and images come from the formula of make_goldens.py. Each case is a training step by the statistics of the batch: scores,
loss, reconstruction, the gradient of every parameter, the running statistics after it (as the first step, and as the 1000th), and
the scores of an evaluation by the latter.
"""
import json

import torch
from make_goldens import HERE, exponent, formula, summary

# make_goldens.py says where the networks lie.
from efficient_capsnet import EfficientCapsNet

BASE = dict(kind="efficient-capsnet", decoder="full", decoder_hidden=[512, 1024], reconstruction_weight=0.0005)
LITTLE = dict(BASE, decoder_hidden=[9, 11], reconstruction_weight=0.05)
# Name: model, image shape, classes, labels.
CASES = {
    "mnist": (BASE, (1, 28, 28), 10, [3, 1]),
    "small decoder, three channels": (dict(LITTLE, decoder="small"), (3, 15, 13), 4, [3, 1, 0]),
    "full decoder, one image": (LITTLE, (1, 14, 19), 3, [1]),
    "no decoder, a map of one value": (
        dict(BASE, decoder="none", decoder_hidden=[0, 0], reconstruction_weight=0.0), (2, 11, 12), 5, [2, 4, 0, 1]
    ),
}  # fmt: skip


def power(name, shape):
    """k of make_goldens.py; weights that multiply start at about 1, and routing has votes that matter."""
    if name.startswith("norm") or name == "class_caps.prior":
        return 1
    if name == "class_caps.weight":
        return 0
    return int(exponent(name, shape, 0))


def golden(name, model, shape, classes, labels):
    network = EfficientCapsNet(model, *shape, classes).double()
    for parameter, values in network.named_parameters():
        values.data.copy_(formula(parameter, values.shape, power(parameter, values.shape)))
    images = (formula("images", (len(labels), *shape), 0) + 1) / 2
    norms = [module for module in network.modules() if hasattr(module, "momentum")]
    result = dict(name=name, model=model, shape=shape, labels=labels)
    for step, momentum in (("first", 1.0), ("later", 0.01)):
        for norm in norms:
            torch.nn.init.zeros_(norm.running_mean), torch.nn.init.ones_(norm.running_var)
            norm.momentum = momentum
        network.zero_grad()
        scores, reconstruction, loss = network.loss(images, torch.tensor(labels))
        loss.backward()
        result[f"running_{step}"] = {n: summary(v) for n, v in network.named_buffers()}
    network.eval()
    evaluated, _ = network(images)
    return dict(
        result, scores=scores.tolist(), loss=loss.item(), evaluated=evaluated.tolist(),
        reconstruction=None if reconstruction is None else summary(reconstruction),
        exponents={p: power(p, v.shape) for p, v in network.named_parameters()},
        gradients={p: summary(v.grad) for p, v in network.named_parameters()},
    )  # fmt: skip


def main():
    goldens = [golden(name, *case) for name, case in CASES.items()]
    (HERE / "efficient.json").write_text("[\n" + ",\n".join(map(json.dumps, goldens)) + "\n]\n")


if __name__ == "__main__":
    main()
