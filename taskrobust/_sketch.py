r"""Random sketches of weight gradients: fewer columns, and the same squared norm on average.

A gradient G ``[d_out, d_in]`` becomes :math:`GS^\top` ``[d_out, k]`` with S ``[k, d_in]`` of
independent random signs over :math:`\sqrt k` (Achlioptas, JCSS 2003), so that
:math:`\mathbb E\,S^\top S=I` and

.. math:: \mathbb E\,\lVert GS^\top\rVert^2 = \lVert G\rVert^2,\qquad
          \operatorname{Var}\lVert GS^\top\rVert^2
          = \frac2k\sum_{i\ne j}(G^\top G)_{ij}^2
          \le \frac2k\sum_i\sigma_i^4 \le \frac2k\lVert G\rVert^4

with the singular values σ of G: the relative standard deviation of the squared norm is at most
:math:`\sqrt{2/k}`, and :math:`\sqrt{2/(kr)}` for G of *effective rank*
:math:`r=(\sum\sigma_i^2)^2/\sum\sigma_i^4`. It is linear in G, so that sketches of parts of a batch
add up to that of the whole batch.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Sketch"]


@dataclass(frozen=True)
class Sketch:
    r"""Which random sketch to take of weight gradients.

    Matrices ``[d_out, d_in]`` with d_in > size are sketched, all other parameters kept as they are:
    that depends on their shapes alone, so that it is the same on all ranks. The signs depend on the
    seed, the shapes and the kind of device; no other random state is read or changed, and nothing
    waits for a device.

    Attributes:
        size: k, how many columns are left. The relative standard deviation of a squared norm is
            at most :math:`\sqrt{2/k}` (18 % at 64, so 9 % of the norm), and that much only if the
            gradient has rank 1.
        seed: of the signs. Take another one at each step, or errors do not average out, and the
            same on all ranks.

    Raises:
        ValueError: a size that is no integer of at least 1.
    """

    size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.size, bool) or not isinstance(self.size, int) or self.size < 1:
            raise ValueError(
                "`size` (a balancer's `sketch_size`) should be an integer of at least 1; "
                f"found {self.size!r}"
            )

    def matrices(
        self, shapes: Sequence[torch.Size], dtype: torch.dtype, device: torch.device
    ) -> list[Tensor | None]:
        """S ``[size, d_in]`` for each parameter; None for those that are kept."""
        generator = torch.Generator(device)
        generator.manual_seed(random.Random(self.seed).getrandbits(63))
        return [
            self._signs(shape[1], generator, dtype, device)
            if len(shape) == 2 and shape[1] > self.size
            else None
            for shape in shapes
        ]

    def _signs(
        self, width: int, generator: torch.Generator, dtype: torch.dtype, device: torch.device
    ) -> Tensor:
        shape = self.size, width
        bits = torch.randint(2, shape, generator=generator, dtype=dtype, device=device)
        return bits.sub_(0.5).mul_(2 / self.size**0.5)
