"""Hugging Face Accelerate: several processes, exact accumulation, checkpoints with the balancer.

python -m tests.examples.accelerate_loop [FOLDER]
torchrun --nproc-per-node 2 -m tests.examples.accelerate_loop [FOLDER]
"""

import sys
from contextlib import nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, set_seed
from torch.utils.data import DataLoader

from taskrobust import Minimax, cross_entropy, grouped_risks, plan_accumulation, task_sums
from tests.examples.toy import TASKS, Examples, network


def main(
    folder: Path | None = None,
    make_balancer=lambda model: Minimax(len(TASKS), tolerance=0.1, task_names=TASKS),
    epochs: int = 4,
    batch_size: int = 32,  # of a micro-batch, over all ranks
    accumulate: int = 1,  # micro-batches a step
    dtype: torch.dtype = torch.float32,
    dropout: float = 0.1,
    mixed_precision: str = "no",
):
    # gradient_accumulation_steps stays 1: weights belong to a step, so the loop below accumulates.
    loading = DataLoaderConfiguration(split_batches=True, use_seedable_sampler=True, data_seed=0)
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),  # without it, CPU ranks would train apart, silently
        mixed_precision=mixed_precision,
        dataloader_config=loading,
    )
    set_seed(0)
    model = network(dropout).to(dtype)
    balancer = make_balancer(model).to(accelerator.device, dtype)
    groups = [{"params": model.parameters()}, *balancer.param_groups(lr=0.05)]
    optimizer = torch.optim.AdamW(groups, lr=0.01, weight_decay=0.1)
    loader = DataLoader(Examples(dtype=dtype), batch_size, shuffle=True, drop_last=True)
    # The balancer is not prepared: its risks are global, so its state is alike on all ranks.
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    accelerator.register_for_checkpointing(balancer)

    def forward(batch):
        logits = model(batch["features"])
        return cross_entropy(logits, batch["labels"]), batch["tasks"], len(TASKS)

    start = 0
    if folder and (found := sorted(folder.glob("epoch-*"))):
        accelerator.load_state(str(found[-1]))
        start = int(found[-1].name.removeprefix("epoch-"))
    else:
        set_seed(0, device_specific=True)  # dropout differs by rank
    for epoch in range(start, epochs):
        loader.set_epoch(epoch)
        for batches in zip(*[iter(loader)] * accumulate, strict=False):
            if accumulate == 1:
                accelerator.backward(balancer(grouped_risks(*forward(batches[0]))))
            else:
                plan = plan_accumulation(balancer, lambda b: task_sums(*forward(b)), batches)
                for i, batch in enumerate(batches, start=1):
                    with accelerator.no_sync(model) if i < accumulate else nullcontext():
                        accelerator.backward(plan.loss(task_sums(*forward(batch))))
            optimizer.step()
            optimizer.zero_grad()
        risk, worst = balancer.last.risks.max(dim=0)
        accelerator.print(f"epoch {epoch + 1}: worst task {TASKS[worst]}, {risk:.3f}")
        if folder:  # a folder of this name is whole, whenever the process is killed
            accelerator.save_state(str(folder / "partial"))
            accelerator.wait_for_everyone()
            if accelerator.is_main_process:
                (folder / "partial").rename(folder / f"epoch-{epoch + 1:04}")
            accelerator.wait_for_everyone()
    return accelerator.unwrap_model(model), balancer


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
