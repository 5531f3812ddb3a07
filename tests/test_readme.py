"""The README's code runs as it stands, and does what the README says."""

import copy
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from taskrobust import GroupDRO, cross_entropy, grouped_risks, list_balancers, sharp_constant
from taskrobust.balancers import balancer_info

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
SNIPPETS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def run_snippet_with(words):
    """What the only snippet that contains some words leaves behind."""
    (snippet,) = [snippet for snippet in SNIPPETS if words in snippet]
    namespace = {"__name__": "snippet"}
    exec(snippet, namespace)
    return namespace


@pytest.fixture
def library():
    return run_snippet_with("alpha_for_tolerance")


@pytest.fixture
def own_problem():
    return run_snippet_with("class Facilities")


def test_every_snippet_is_run_here():
    assert len(SNIPPETS) == 6


def test_library_snippet_keeps_its_promise(library):
    weights, risks = library["weights"], library["risks"]
    assert weights[2] == 0
    assert abs(weights.sum() - 1) < 1e-15
    assert max(risks[:2]) - weights @ risks <= 0.1


def test_torch_snippet_keeps_its_promise():
    found = run_snippet_with("grouped_risks(losses, tasks, num_tasks)")
    risks, weights = found["balancer"].last[:2]
    of_each = [found["losses"][found["tasks"] == t].mean() for t in range(3)]
    torch.testing.assert_close(risks, torch.stack(of_each).detach())
    assert risks.max() - weights @ risks <= 0.1
    assert found["model"].weight.grad.abs().max() > 0


def test_accumulation_snippet_takes_one_step():
    found = run_snippet_with("plan_accumulation")
    assert found["balancer"].step == 1
    features, labels, tasks = (torch.cat(column) for column in zip(*found["batches"], strict=True))
    again = copy.deepcopy(found["model"])
    again.zero_grad()
    balancer = GroupDRO(3)
    losses = cross_entropy(again(features), labels)
    balancer(grouped_risks(losses, tasks, 3)).backward()
    torch.testing.assert_close(found["model"].weight.grad, again.weight.grad)


def test_balancers_by_name_weight_a_step():
    found = run_snippet_with("create_balancer")
    heads = torch.nn.Linear(16, 3)
    for balancer in found["balancers"]:
        risks = heads(found["trunk"](torch.randn(4, 8))).square().mean(0)
        balancer(risks).backward()
        torch.testing.assert_close(balancer.last.weights.sum(), torch.tensor(1.0))


@pytest.mark.filterwarnings("ignore:'pin_memory' argument is set as true:UserWarning")
def test_trainer_snippet_trains_and_names_its_tasks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    trainer = run_snippet_with("TaskRobustTrainer")["trainer"]
    assert "weight/verbs" in trainer.state.log_history[0]
    assert trainer.state.global_step == 12  # 64 examples, 8 a batch, 2 batches a step, 3 epochs
    assert trainer.balancer.step == 12
    assert "eval_risk/verbs" in trainer.evaluate(trainer.train_dataset)
    assert any((tmp_path / "runs/classifier").glob("checkpoint-*"))


def test_table_of_balancers_is_that_of_the_registry():
    rows = re.findall(r"^\| `([\w-]+)` \| `(\w+)` \| .* \| .* \|$", README, flags=re.MULTILINE)
    names = [*list_balancers(), "torchjd"]
    assert dict(rows) == {name: balancer_info(name).balancer.__name__ for name in names}
    assert len(rows) == len(names)


def test_programs_that_the_text_points_to_exist():
    linked = re.findall(r"\]\((tests/[^)]*)\)", README)
    assert len(linked) >= 4
    assert all((ROOT / path).is_file() for path in linked)


def test_sharpness_constants_are_those_of_the_text():
    assert "c_T is 0.46 for three tasks and 1.04 for nine" in " ".join(README.split())
    assert [round(sharp_constant(n), 2) for n in (3, 9)] == [0.46, 1.04]


def test_own_problem_is_certified_at_the_known_optimum(own_problem):
    """Smallest enclosing disc of the towns: (0,0), (4,0), (1,3) lie on radius √5 around (2, 1)."""
    optimum = own_problem["result"].optimum
    assert optimum.lower <= np.sqrt(5) <= optimum.upper
    assert optimum.upper - optimum.lower < 1e-7
    np.testing.assert_allclose(optimum.point, [2.0, 1.0], atol=1e-4)


def test_own_problem_obeys_the_theorem(own_problem):
    result = own_problem["result"]
    assert np.all(result.gaps["sharpened"][:, 1] <= result.bound)
    assert np.all(result.gaps["sharpened"][:, 0] >= -1e-9)


def test_own_problem_is_plotted(own_problem):
    from figures.study import draw

    figure = draw(own_problem["result"])
    assert {line.get_label() for line in figure.axes[0].get_lines()} >= {"sharpened"}


def test_shown_ledger_lines_are_those_of_the_ledger(capsys, tmp_path):
    """Names, statements and verdicts; the numbers depend on the effort."""
    from theory.__main__ import main

    shown = re.search(r"<!-- ledger -->\n```\n(.*?)```", README, flags=re.DOTALL).group(1)
    assert main(["--claim", "A4", "A6", "--effort", "quick", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    verdicts = ("holds", "holds as corrected", "refuted as printed")
    rows = [line for line in shown.splitlines() if " effort in " not in line]
    lines = [line for line in rows if line.endswith(verdicts)]
    assert len(lines) >= 12
    for line in lines:
        verdict = max((v for v in verdicts if line.endswith(v)), key=len)
        same = [p for p in printed.splitlines() if p[:54] == line[:54]]
        assert any(p.rstrip().endswith(verdict) for p in same), line
