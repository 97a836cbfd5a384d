"""The competition's fixed model: ResNet-50 as Keras builds it, cut after its first stage.

Two of its convolutions are computed in another way on a GPU, with the same result but for rounding.
"""

import torch
from torch import nn

#: Means that Keras' ``caffe`` preprocessing takes off blue, green and red.
CAFFE_BGR = (103.939, 116.779, 123.68)


class PointConv2d(nn.Conv2d):
    """A convolution of single positions, (n, n_in, h, w) to (n, n_out, h, w).

    A GPU computes it as a product of matrices where the positions of a channel lie side by side:
    eight images of 8 x 8 positions give too little to do to cuDNN's convolutions.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, n_in, h, w) -> (n, n_out, h, w)."""
        return self.product(x) if _is_planar(x) else super().forward(x)

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve as one product an image, and a sum of their gradients."""
        n, _, height, width = x.shape
        assert self.bias is not None
        weight = self.weight.flatten(1).expand(n, -1, -1)
        y = torch.baddbmm(self.bias.view(1, -1, 1), weight, x.flatten(2))
        return y.view(n, -1, height, width)


class StemConv2d(nn.Conv2d):
    """The first convolution, 7 x 7 in steps of two, (n, n_in, h, w) to (n, n_out, h / 2, w / 2).

    A GPU computes it as a product of matrices, under the same condition: for the gradient of such
    weights cuDNN has one algorithm whose result is the same in every run, and it is slow.
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out, 7, stride=2, padding=3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, n_in, h, w) -> (n, n_out, h / 2, w / 2), rounded up; x needs no gradient."""
        return self.product(x) if _is_planar(x) else super().forward(x)

    def product(self, x: torch.Tensor) -> torch.Tensor:
        """Convolve as one product, of all patches."""
        patches = nn.functional.pad(x, (3, 3, 3, 3)).unfold(2, 7, 2).unfold(3, 7, 2)
        n, _, height, width = patches.shape[:4]
        rows = patches.permute(0, 2, 3, 1, 4, 5).reshape(n * height * width, -1)
        y = nn.functional.linear(rows, self.weight.flatten(1), self.bias)
        return y.view(n, height, width, -1).permute(0, 3, 1, 2).contiguous()


class Bottleneck(nn.Module):
    """Keras' ResNet v1 bottleneck: 1x1, 3x3, 1x1 convolutions with biases, then the shortcut.

    Maps (n, n_in, h, w) to (n, 256, h, w); the shortcut is a convolution where n_in is not 256.
    """

    def __init__(self, n_in: int, width: int = 64, n_out: int = 256) -> None:
        super().__init__()
        self.conv1, self.norm1 = PointConv2d(n_in, width), _batch_norm(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)
        self.norm2 = _batch_norm(width)
        self.conv3, self.norm3 = PointConv2d(width, n_out), _batch_norm(n_out)
        self.shortcut: nn.Module = nn.Identity()
        if n_in != n_out:
            self.shortcut = nn.Sequential(PointConv2d(n_in, n_out), _batch_norm(n_out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, n_in, h, w) -> (n, 256, h, w)."""
        y = torch.relu(self.norm1(self.conv1(x)))
        y = torch.relu(self.norm2(self.conv2(y)))
        return torch.relu(self.norm3(self.conv3(y)) + self.shortcut(x))


class CutResNet50(nn.Module):
    """ResNet-50 v1 up to ``conv2_block3_out``, then the mean over positions.

    (n, 3, 32, 32) -> stem (n, 64, 16, 16) -> pool (n, 64, 8, 8) -> blocks (n, 256, 8, 8)
    -> (n, 256).
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = StemConv2d(3, 64)
        self.norm = _batch_norm(64)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.blocks = nn.Sequential(Bottleneck(64), Bottleneck(256), Bottleneck(256))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 3, size, size) -> (n, 256)."""
        x = self.pool(torch.relu(self.norm(self.stem(x))))
        features: torch.Tensor = self.blocks(x)
        return features.mean(dim=(2, 3))


def _is_planar(x: torch.Tensor) -> bool:
    return x.is_cuda and x.is_contiguous()


def _batch_norm(n_channels: int) -> nn.BatchNorm2d:
    # As Keras' ResNet-50 sets it; Keras' momentum 0.99 is 0.01 in PyTorch's sense.
    return nn.BatchNorm2d(n_channels, eps=1.001e-5, momentum=0.01)
