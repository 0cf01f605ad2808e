"""Loads a network trained by fastrcaps into PyTorch and compares what both predict.

    python tests/load_weights.py FOLDER          # needs torch, safetensors and numpy

FOLDER holds config.toml (the resolved configuration), weights.safetensors and predictions.safetensors (images [n,c,h,w], labels
[n], scores [n,classes] and, if there is a decoder, reconstruction [n,pixels]), as `fastrcaps train` writes them. Prints the largest
differences and the equal predictions; the exit code is 1 if any prediction differs, or any score by more than 1e-3.
"""
import argparse
import pathlib
import sys
import tomllib

import torch
from safetensors.torch import load_file

sys.path.append(str(pathlib.Path(__file__).parent / "pytorch"))
from capsnet import build  # noqa: E402

TOLERANCE = 1e-3


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    folder = parser.parse_args().folder
    for name in ("config.toml", "weights.safetensors", "predictions.safetensors"):
        if not (folder / name).is_file():
            sys.exit(f"{folder / name} does not exist")
    model = tomllib.loads((folder / "config.toml").read_text())["model"]
    ours = load_file(folder / "predictions.safetensors")
    images, expected = ours["images"], ours["scores"]

    network = build(model, *images.shape[1:], classes=expected.shape[1])
    network.load_state_dict(load_file(folder / "weights.safetensors"), strict=True)
    network.eval()
    with torch.no_grad():
        batches = [network(batch) for batch in images.split(128)]
    scores = torch.cat([s for s, _ in batches])

    difference = (scores - expected).abs().max().item()
    equal = int((scores.argmax(1) == expected.argmax(1)).sum())
    correct = int((expected.argmax(1) == ours["labels"].long()).sum())
    print(f"max |Δscore| {difference:.3g}")
    good = equal == len(images) and difference <= TOLERANCE
    if "reconstruction" in ours:
        reconstruction = torch.cat([r for _, r in batches])
        difference = (reconstruction - ours["reconstruction"]).abs().max().item()
        print(f"max |Δreconstruction| {difference:.3g}")
        good &= difference <= TOLERANCE
    elif batches[0][1] is not None:
        sys.exit("predictions.safetensors holds no reconstruction, but the network has a decoder")
    print(f"equal predictions {equal} of {len(images)} ({correct} correct)")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
