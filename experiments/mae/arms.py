"""The arms of a study: their balancers, with what they need of the model."""

from collections.abc import Sequence

import torch

from experiments.configuration import ConfigurationError
from experiments.mae.model import MultiModalMaskMae
from experiments.mae.study import Arm, MaeStudy
from taskrobust import create_balancer
from taskrobust.balancers import Balancer

__all__ = ["arm_balancer", "check_arms"]


def check_arms(study: MaeStudy, arms: Sequence[str]) -> None:
    """Build the balancer of every arm, so that a wrong one is known before anything is trained.

    Args:
        study: the configuration.
        arms: names of those to be run.

    Raises:
        ConfigurationError: no arm, an unknown one, or a balancer or an option that cannot be used.
    """
    if not arms:
        raise ConfigurationError("`arms` should have at least one arm; found none")
    with torch.device("meta"):
        model = MultiModalMaskMae(study.model)
    for name in arms:
        if name not in study.arms:
            raise ConfigurationError(f"unknown arm {name!r} (known: {', '.join(study.arms)})")
        arm_balancer(name, study.arms[name], model, epoch=1)


def arm_balancer(name: str, arm: Arm, model: MultiModalMaskMae, epoch: int) -> Balancer:
    """The balancer of an arm, with what it needs of the model and of the run.

    GradNorm looks at the last linear map of the encoder, which all tasks share; the windows of
    dynamic weight average are epochs, as in its paper.

    Args:
        name: of the arm.
        arm: its configuration.
        model: to be trained.
        epoch: steps in which every image is seen once.

    Raises:
        ConfigurationError: a balancer or an option that cannot be used.
    """
    options = dict(arm.options)
    if arm.balancer == "gradnorm":
        options.setdefault("shared", model.encoder.last_linear)
    if arm.balancer == "dwa":
        options.setdefault("window", epoch)
    tasks = model.size.tasks
    try:
        return create_balancer(arm.balancer, len(tasks), task_names=tasks, **options)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"arm {name!r}: {error}") from error
