"""A plain PyTorch loop: one process or torchrun, mixed precision, exact accumulation and resume.

python -m tests.examples.plain_loop [CHECKPOINT]
torchrun --nproc-per-node 2 -m tests.examples.plain_loop [CHECKPOINT]
"""

import atexit
import sys
from contextlib import nullcontext
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from taskrobust import Minimax, cross_entropy, grouped_risks, plan_accumulation, task_sums
from tests.examples.toy import TASKS, Examples, network


def main(
    checkpoint: Path | None = None,
    make_balancer=lambda model: Minimax(len(TASKS), tolerance=0.1, task_names=TASKS),
    steps: int = 60,
    batch_size: int = 32,  # over all ranks
    accumulate: int = 1,  # micro-batches a step
    dtype: torch.dtype = torch.float32,
    autocast: torch.dtype | None = None,
    dropout: float = 0.1,
    device: str = "cpu",
):
    torch.manual_seed(0)
    rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    data, model = Examples(dtype=dtype), network(dropout).to(device, dtype)
    balancer = make_balancer(model).to(device, dtype)
    # The balancer needs no data parallelism: risks are global, so its state is alike on all ranks.
    parallel = DistributedDataParallel(model) if ranks > 1 else model
    groups = [{"params": model.parameters()}, *balancer.param_groups(lr=0.05)]
    optimizer = torch.optim.AdamW(groups, lr=0.01, weight_decay=0.1)
    scaler = torch.amp.GradScaler(device, enabled=autocast == torch.float16)
    saved = {"model": model, "balancer": balancer, "optimizer": optimizer, "scaler": scaler}
    state = {"step": 0}
    if checkpoint and checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True, map_location="cpu")
        for name, part in saved.items():
            part.load_state_dict(state[name])

    def forward(batch):
        batch = {name: column.to(device) for name, column in batch.items()}
        with torch.autocast(device, autocast, enabled=autocast is not None):
            logits = parallel(batch["features"])
        return cross_entropy(logits, batch["labels"]), batch["tasks"], len(TASKS)

    for step in range(state["step"], steps):
        # Data and dropout depend on the step, not on a running state, so that resuming is exact.
        torch.manual_seed(1 + step * ranks + rank)
        order = torch.Generator().manual_seed(step)
        chosen = torch.randint(len(data), (batch_size,), generator=order)
        batches = [data[indices] for indices in chosen[rank::ranks].chunk(accumulate)]
        if accumulate == 1:
            scaler.scale(balancer(grouped_risks(*forward(batches[0])))).backward()
        else:
            plan = plan_accumulation(balancer, lambda b: task_sums(*forward(b)), batches)
            for i, batch in enumerate(batches, start=1):
                with parallel.no_sync() if ranks > 1 and i < accumulate else nullcontext():
                    scaler.scale(plan.loss(task_sums(*forward(batch)))).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        if step % 20 == 19 and rank == 0:
            risk, worst = balancer.last.risks.max(dim=0)
            print(f"step {step + 1}: worst task {TASKS[worst]}, {risk:.3f}")
            if checkpoint:  # written whole or not at all
                state = {name: part.state_dict() for name, part in saved.items()}
                partial = checkpoint.with_suffix(".partial")
                torch.save({**state, "step": step + 1}, partial)
                partial.replace(checkpoint)
    return model, balancer


if __name__ == "__main__":
    if dist.is_torchelastic_launched():
        dist.init_process_group()
        atexit.register(dist.destroy_process_group)
    main(*map(Path, sys.argv[1:]))
