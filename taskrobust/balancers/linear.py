"""Balancers whose loss is a weighted sum of the risks."""

from abc import abstractmethod

from torch import Tensor

from taskrobust.balancers.base import Balancer

__all__ = ["LinearBalancer"]


class LinearBalancer(Balancer):
    """A balancer whose loss is ``scale * Σ w_t risk_t`` with detached weights."""

    def _combine(
        self,
        risks: Tensor,
        present: Tensor | None,
        counts: Tensor | None,
        task_gradients: Tensor | None,  # noqa: ARG002
    ) -> tuple[Tensor, Tensor, float]:
        weights = self._weights(risks.detach(), present, counts).detach()
        return self._weighted(risks, weights), weights, self.scale

    @abstractmethod
    def _weights(self, risks: Tensor, present: Tensor | None, counts: Tensor | None) -> Tensor:
        """Weights ``[T]`` on the simplex of present tasks (all 0 if none is).

        Of the dtype of the detached risks, with a mask of the present tasks or None for all.
        """
