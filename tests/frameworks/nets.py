"""Small PyTorch modules that behave in one particular way each."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Dense(nn.Module):
    """Two layers; answers a dict."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.hidden = nn.Linear(4, 16)
        self.out = nn.Linear(16, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        logits = self.out(torch.relu(self.hidden(x)))
        return {"logits": logits, "chances": logits.softmax(-1)}


class Images(nn.Module):
    """A convolution with batch normalisation; answers a tuple."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.out = nn.Linear(8, 5)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        means = self.norm(self.convolution(image)).relu().mean((2, 3))
        return self.out(means), means


class Words(nn.Module):
    """Sums the embeddings of the words that a mask keeps."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(10, 4)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return (self.table(ids) * mask.unsqueeze(-1)).sum(1)


class Unconvertible(nn.Module):
    """Uses an operator that has no ONNX form."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x)


class InPlace(nn.Module):
    """Writes into its input."""

    def forward(self, x: Tensor) -> Tensor:
        x.mul_(2)
        return x + 1


class Branches(nn.Module):
    """Goes one way or the other by what the rows hold."""

    def forward(self, x: Tensor) -> Tensor:
        if bool((x.sum() > 0).item()):
            return x * 2
        return x - 1


class Traceable(nn.Module):
    """Does with numpy what torch.export refuses and a trace ignores."""

    def forward(self, x: Tensor) -> Tensor:
        if float(x.detach().abs().sum().item()) >= 0:
            return x * 2
        return x


class Writes(nn.Module):
    """Writes a file."""

    def forward(self, x: Tensor) -> Tensor:
        torch.save(x, "written.bin")
        return x


class Reads(nn.Module):
    """Reads a file."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.from_file("/etc/hostname", size=4, dtype=torch.uint8).float()
