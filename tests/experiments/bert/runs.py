"""What tests of runs share: recording a training, reading what it left."""

import copy

import torch

from experiments.bert import pretrain as pretraining
from experiments.bert.model import PosBertForPreTraining

MORE = (
    "arms.group-dro={balancer: group-dro}",
    "arms.gradnorm={balancer: gradnorm}",
    "arms.uncertainty={balancer: uncertainty}",
    "arms.dwa={balancer: dwa, options: {window: 2}}",
)


class Recorded:
    """What every training saw, by the folder of the run."""

    def __init__(self):
        self.parameters, self.batches, self.seeds = {}, {}, set()

    def trainer(self):
        """The trainer, recording."""
        recorded = self

        class Trainer(pretraining.OrderedTrainer):
            def train(self, *args, **kwargs):
                initial = copy.deepcopy(self.model.state_dict())
                recorded.parameters[self.args.output_dir] = initial
                return super().train(*args, **kwargs)

            def training_step(self, model, inputs, *args):
                seen = recorded.batches.setdefault(self.args.output_dir, [])
                recorded.seeds.add(torch.initial_seed())  # of what dropout draws from
                seen.append({name: values.clone() for name, values in inputs.items()})
                return super().training_step(model, inputs, *args)

        return Trainer


def weights(folder):
    return PosBertForPreTraining.from_pretrained(folder / "model").state_dict()


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def losses(result):
    return [(row["step"], row["loss"]) for row in result["history"] if "loss" in row]
