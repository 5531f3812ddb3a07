"""TorchJD's scalarizers, aggregators and weightings as balancers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from taskrobust.balancers._module_state import (
    fit_state,
    from_tensor,
    hide_buffers,
    read_state,
    subset_state,
    to_tensor,
    write_state,
)
from taskrobust.balancers._seeding import seeded
from taskrobust.balancers.base import Balancer, NonFinite
from taskrobust.risks import GradientReduction, ProcessGroup
from taskrobust.task_gradients import Shared, SharedLayer

if TYPE_CHECKING:
    from torchjd.aggregation import Aggregator
    from torchjd.aggregation import Weighting as TorchJDWeighting
    from torchjd.scalarization import Scalarizer

__all__ = ["TorchJDBalancer"]


class TorchJDBalancer(Balancer):
    r"""A method of TorchJD (>= 0.18) with the contracts of a `Balancer`.

    A *scalarizer* (STCH, FAMO, UW, IMTLL, DWA, GeometricMean, PBI, COSMOS, …) gives the loss as a
    function of the risks. An *aggregator that weights* (MGDA, UPGrad, CAGrad, IMTLG, …), or its
    bare weighting, gives weights :math:`w` from the gradients ``[T, n]`` of the risks at `shared`;
    the loss is :math:`\sum_t w_t\,\ell_t` with w held fixed, so that its gradient at `shared` is
    the aggregation. Aggregators that are no weighting (GradDrop, ConFIG, TrimmedMean) do not fit.

    Sizes are TorchJD's: `last.scale` is the sum of the coefficients
    :math:`\partial\,\text{loss}/\partial\ell_t` and `last.weights` are their shares. The sum is T
    for DWA and 1/T for STCH (whose default weights are 1/T), so that ``scale=1/T`` makes DWA
    comparable to ours, and ``STCH(1 / alpha, weights=torch.ones(T))`` is `Minimax`. Weights can be
    negative (COSMOS, PBI, IMTLG), and still sum to 1; where the sum of the coefficients is not
    positive there are no shares: `last.weights` are then the coefficients and `last.scale` is
    `scale`.

    What differs from TorchJD:

    - Everything the method remembers is in `state_dict` (TorchJD keeps the history of DWA and the
      optimiser of FAMO in plain attributes, and buffers that a new object refuses). As with
      torch's optimisers, loading brings hyperparameters along. Evaluation mode changes nothing.
    - Random numbers are drawn from `seed` and the step, so that all ranks draw the same and a
      resumed run what the stopped one would have drawn. The process's random state is untouched.
    - Parameters outside `shared`, such as heads, get the gradient of the weighted loss;
      TorchJD's `mtl_backward` trains heads with their own unweighted losses.
    - Absent tasks: the method sees the present tasks only, and of its tensors ``[T]`` (weights,
      reference, preference) their entries. A method with memory needs every task at every step.

    The method reads numbers back to the host wherever TorchJD does (as all solvers do), and each
    call reads whether all tasks are present.

    FAMO learns its weights in ``balancer.method.update(new_risks)``: call it after each optimiser
    step (skipped ones left out) with the global risks of the same batch, recomputed by the new
    model without graph; otherwise the weights stay uniform. Learned parameters (UW, IMTLL) belong
    in the optimiser, see `param_groups`.

    Args:
        method: an object of TorchJD (this balancer owns it from now on), or the name of its class.
            Of names in both `torchjd.scalarization` and `torchjd.aggregation` the former is meant.
        num_tasks: number of tasks T.
        shared: the layer, or its parameters, where aggregators see the gradients; the cost grows
            with it, and TorchJD's own choice is all shared parameters. None for scalarizers.
        options: arguments of the class if `method` is a name; sequences of numbers become tensors,
            and ``shape`` is T by itself.
        seed: of methods that draw random numbers (Random, PCGrad, GradVac).
        process_group: as in `taskrobust.risks.global_risks`; for aggregators.
        gradient_reduction: as in `taskrobust.risks.global_risks`; for aggregators.
        gradient_scale: as in `taskrobust.task_gradients.SharedLayer`; for aggregators.
        scale: factor on TorchJD's loss.
        task_names: as in `Balancer`.
        nonfinite: as in `Balancer`.

    Attributes:
        method: TorchJD's object, for what only it has: ``balancer.method.update(risks)``.

    Raises:
        ImportError: TorchJD is missing, or something that the method needs (TorchJD says what).
        TypeError: a method that is no weighting, needs gradients of two batches (MoDo, SDMGrad), or
            remembers something that cannot be saved (NashMTL).
        ValueError: an unknown name, options that do not fit, `shared` for a scalarizer, or none for
            an aggregator.

    >>> balancer = TorchJDBalancer("STCH", 3, options={"mu": 0.5, "weights": [1.0, 1.0, 1.0]})
    >>> losses = torch.tensor([0.2, 0.9, 0.4], requires_grad=True)
    >>> balancer(losses).backward()
    >>> losses.grad  # softmax(losses / 0.5)
    tensor([0.1527, 0.6194, 0.2279])
    """

    method: Any  # a module of a package that may be missing

    def __init__(
        self,
        method: "Scalarizer | Aggregator | TorchJDWeighting[Any] | str",
        num_tasks: int,
        shared: Shared | None = None,
        *,
        options: Mapping[str, Any] | None = None,
        seed: int = 0,
        process_group: ProcessGroup = None,
        gradient_reduction: GradientReduction = "mean",
        gradient_scale: float = 1.0,
        scale: float = 1.0,
        task_names: Sequence[str] | None = None,
        nonfinite: NonFinite = "raise",
    ) -> None:
        super().__init__(num_tasks, scale=scale, task_names=task_names, nonfinite=nonfinite)
        methods = _methods()
        if isinstance(method, str):
            made = methods.make_method(method, num_tasks, options or {})
        elif options is None:
            made = method
        else:
            raise ValueError("`options` should be None unless `method` is a name")
        self._name = type(made).__name__
        self._traits = methods.traits_of(made)
        if (self._traits.kind == "scalarizer") != (shared is None):
            raise ValueError(
                f"`shared` should be a layer or parameters: {self._name} looks at gradients"
                if shared is None
                else f"`shared` should be None: {self._name} looks at risks only"
            )
        self._layer = None if shared is None else SharedLayer(shared, gradient_scale=gradient_scale)
        self.needs_task_gradients = shared is not None
        self.seed = seed
        self.process_group = process_group
        self.gradient_reduction: GradientReduction = gradient_reduction
        hide_buffers(made)
        read_state(made)  # raises now, not at the first checkpoint
        self.method = made

    def task_gradients(self, losses: Tensor) -> Tensor:
        """This rank's gradients ``[n_losses, n]`` at `shared`, for accumulation over batches.

        Raises:
            NotImplementedError: the method is a scalarizer.
        """
        if self._layer is None:
            return super().task_gradients(losses)
        return self._layer.gradients(losses)

    def end_epoch(self) -> None:
        """Call DWA's ``step()``; nothing for other methods."""
        if self._traits.has_epochs:
            self.method.step()

    def param_groups(self, **options: Any) -> list[dict[str, Any]]:
        """As `Balancer.param_groups`; none for FAMO, which trains its parameter in ``update``."""
        return [] if self._traits.trains_itself else super().param_groups(**options)

    def get_extra_state(self) -> Any:
        """Everything but parameters, as a uint8 tensor (see `torch.save`) for safetensors' sake.

        Raises:
            TypeError: the method remembers something that cannot be saved.
        """
        counts = super().get_extra_state()
        return to_tensor((counts, self._name, read_state(self.method)))

    def set_extra_state(self, state: Any) -> None:
        """Restore what `get_extra_state` gave.

        Raises:
            ValueError: the state is that of another method.
        """
        counts, name, remembered = from_tensor(state)
        if name != self._name:
            raise ValueError(f"the state should be that of TorchJD's {self._name}; found {name}'s")
        super().set_extra_state(counts)
        write_state(self.method, remembered)
        parameter = next(self.method.parameters(), None)
        if parameter is not None:  # FAMO may be updated before its next call
            self._fit(None, parameter.device)

    def extra_repr(self) -> str:
        """The arguments that `repr` shows."""
        seed = "" if self.seed == 0 else f", seed={self.seed}"
        return f"{super().extra_repr()}{seed}"

    def _combine(
        self,
        risks: Tensor,
        present: Tensor | None,
        counts: Tensor | None,  # noqa: ARG002
        task_gradients: Tensor | None,
    ) -> tuple[Tensor, Tensor, float | Tensor]:
        if present is None:
            present = torch.ones_like(risks, dtype=torch.bool)
        everyone = bool(present.all())
        if not everyone and self._traits.remembers:
            raise self._incomplete(present)
        values = risks if everyone else risks[present]
        if values.numel() == 0:
            return self.scale * risks.sum(), torch.zeros_like(risks), self.scale
        gradients = self._gradients(risks, task_gradients)
        with self._prepared(risks, None if everyone else present):
            if gradients is None:
                loss, found = self._scalarize(values)
            else:
                loss, found = self._weigh(values, gradients if everyone else gradients[present])
        found = found.to(risks.dtype)
        coefficients = torch.zeros_like(risks).masked_scatter(present, found)
        total = coefficients.sum()
        total = torch.where(total > 0, total, 1.0)
        return self.scale * loss, coefficients / total, self.scale * total

    def _scalarize(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The method's loss of the present risks, and its gradient in them."""
        graph = torch.is_grad_enabled() and (values.requires_grad or bool(self.param_groups()))
        with torch.enable_grad():
            inputs = values if values.requires_grad else values.detach().requires_grad_()
            loss = self.method(inputs)
            (slopes,) = torch.autograd.grad(loss, inputs, retain_graph=True)
        return loss if graph else loss.detach(), slopes

    def _weigh(self, values: Tensor, gradients: Tensor) -> tuple[Tensor, Tensor]:
        """The present risks weighted by the method, and the weights."""
        kind = self._traits.kind
        with torch.no_grad():
            weighting = self.method.weighting if kind == "aggregator" else self.method
            weights = weighting(gradients @ gradients.T if kind == "gramian" else gradients)
            weights = weights.to(values.dtype)
        return torch.sum(weights * values), weights

    def _gradients(self, risks: Tensor, task_gradients: Tensor | None) -> Tensor | None:
        """Global gradients ``[T, n]`` at `shared`, as given or from the graph; None if not used."""
        if self._layer is None:
            return None
        if task_gradients is not None:
            if task_gradients.ndim != 2 or len(task_gradients) != self.num_tasks:
                raise ValueError(
                    f"`task_gradients` should have shape ({self.num_tasks}, n); "
                    f"found {tuple(task_gradients.shape)}"
                )
            return task_gradients.detach().to(risks)
        if not risks.requires_grad:
            raise ValueError(
                f"`losses` should have a graph, or `task_gradients` be given: {self._name} looks "
                "at the gradients of the tasks"
            )
        return self._layer.global_gradients(
            risks, process_group=self.process_group, gradient_reduction=self.gradient_reduction
        ).to(risks)

    @contextmanager
    def _prepared(self, risks: Tensor, present: Tensor | None) -> Iterator[None]:
        """The method's tensors where the risks are, its random numbers ours, its memory guarded."""
        self._fit(risks.dtype, risks.device)
        before = None if self.training else read_state(self.method)
        try:
            with seeded(f"{self.seed} {self.step}", risks.device):
                if present is None:
                    yield
                else:
                    with subset_state(self.method, present):
                        yield
        finally:
            if before is not None:
                write_state(self.method, before)

    def _fit(self, dtype: torch.dtype | None, device: torch.device) -> None:
        for name, part in self.method.named_modules():
            if name in self._traits.on_host:
                fit_state(part, None, torch.device("cpu"))
            else:
                fit_state(part, dtype, device)

    def _incomplete(self, present: Tensor) -> ValueError:
        absent = [self.task_names[t] for t in torch.nonzero(~present).flatten().tolist()]
        return ValueError(
            f"TorchJD's {self._name} remembers something about every task and needs all of them at "
            f"every step; absent at step {self.step}: {', '.join(absent)}"
        )


def _methods() -> ModuleType:
    """The module that imports TorchJD."""
    try:
        from taskrobust.balancers import _torchjd_methods
    except ModuleNotFoundError as error:
        if error.name != "torchjd":
            raise
        raise ImportError(
            "TorchJDBalancer needs the package 'torchjd'; install the torchjd extra: "
            "pip install 'taskrobust[torchjd]'"
        ) from error
    return _torchjd_methods
