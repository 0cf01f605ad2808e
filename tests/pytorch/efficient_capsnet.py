"""Efficient-CapsNet (Mazzia, Salvetti and Chiaberge 2021) in PyTorch: an independent statement of what fastrcaps computes.

The modules carry the names of fastrcaps' weights.safetensors, so that load_state_dict(strict=True) checks names and shapes. In
training mode batch normalisation goes by the batch, and its running statistics move by `momentum` (None: the mean of all batches).
"""
import torch
import torch.nn as nn
import torch.nn.functional as F

EPSILON = 1e-9


def squash(s):
    n = torch.sqrt((s * s).sum(-1, keepdim=True) + EPSILON)
    return (1 - torch.exp(-n)) * s / n


class BatchNorm(nn.Module):
    """PyTorch's, without its counter of batches."""

    def __init__(self, channels):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))
        self.momentum = 0.01

    def forward(self, x):
        return F.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, self.training, self.momentum, eps=1e-3
        )


class DepthwiseCapsules(nn.Module):
    """A depthwise convolution whose kernel is the whole map; its 128 values are 16 capsules."""

    def __init__(self, channels, height, width, dim):
        super().__init__()
        self.dim = dim
        self.weight = nn.Parameter(torch.empty(channels, height, width))
        self.bias = nn.Parameter(torch.empty(channels))

    def forward(self, x):
        s = F.conv2d(x, self.weight.unsqueeze(1), self.bias, groups=len(self.bias))
        return squash(s.view(len(x), -1, self.dim))


class AttentionCapsules(nn.Module):
    def __init__(self, capsules, in_dim, classes, dim):
        super().__init__()
        self.dim = dim
        self.weight = nn.Parameter(torch.empty(capsules, in_dim, classes * dim))
        self.prior = nn.Parameter(torch.zeros(capsules, classes))

    def forward(self, u):
        votes = torch.einsum("bid,idn->bin", u, self.weight).view(*u.shape[:2], -1, self.dim)
        # A = Û Ûᵀ of each class, its rows summed: how far a vote agrees with all votes for the class.
        matrices = torch.einsum("bijz,bkjz->bjik", votes, votes)
        agreements = matrices.sum(-1).transpose(1, 2) / self.dim**0.5
        coefficients = F.softmax(agreements, 2) + self.prior
        return squash((coefficients.unsqueeze(-1) * votes).sum(1))


class EfficientCapsNet(nn.Module):
    def __init__(self, m, channels, height, width, classes):
        super().__init__()
        self.m, self.classes = m, classes
        sides = [height, width]
        for number, (out, kernel, stride) in enumerate([(32, 5, 1), (64, 3, 1), (64, 3, 1), (128, 3, 2)], 1):
            setattr(self, f"conv{number}", nn.Conv2d(channels, out, kernel, stride))
            setattr(self, f"norm{number}", BatchNorm(out))
            channels, sides = out, [(side - kernel) // stride + 1 for side in sides]
        pixels = self.conv1.in_channels * height * width
        self.primary = DepthwiseCapsules(channels, *sides, 8)
        self.class_caps = AttentionCapsules(channels // 8, 8, classes, 16)
        if m["decoder"] != "none":
            first, second = m["decoder_hidden"]
            self.decoder = nn.Sequential(
                nn.Linear(16 * (classes if m["decoder"] == "full" else 1), first), nn.ReLU(),
                nn.Linear(first, second), nn.ReLU(), nn.Linear(second, pixels), nn.Sigmoid(),
            )  # fmt: skip

    def forward(self, x, labels=None):
        """Scores [b, classes] and, if there is a decoder, the reconstruction [b, pixels] from the labelled (else the longest) capsule."""
        for conv, norm in zip(
            (self.conv1, self.conv2, self.conv3, self.conv4), (self.norm1, self.norm2, self.norm3, self.norm4)
        ):
            x = norm(F.relu(conv(x)))
        v = self.class_caps(self.primary(x))
        scores = torch.sqrt((v * v).sum(-1) + EPSILON)
        if self.m["decoder"] == "none":
            return scores, None
        chosen = scores.argmax(1) if labels is None else labels
        if self.m["decoder"] == "full":
            return scores, self.decoder((v * F.one_hot(chosen, self.classes).unsqueeze(-1)).flatten(1))
        return scores, self.decoder(v[torch.arange(len(v)), chosen])

    def loss(self, x, labels):
        scores, reconstruction = self(x, labels)
        present = F.one_hot(labels, self.classes)
        margin = present * F.relu(0.9 - scores) ** 2 + 0.5 * (1 - present) * F.relu(scores - 0.1) ** 2
        loss = margin.sum(1).mean()
        if reconstruction is not None:
            loss = loss + self.m["reconstruction_weight"] * ((reconstruction - x.flatten(1)) ** 2).sum(1).mean()
        return scores, reconstruction, loss
