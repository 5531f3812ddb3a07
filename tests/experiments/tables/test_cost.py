"""What a table would cost: operations against analytic counts, and what is said of it."""

import io
import json
import math
from dataclasses import replace
from functools import cache

import pytest
import torch
from rich.console import Console

from experiments.bert.glue.finetune import steps
from experiments.bert.glue.generated import write_generated
from experiments.bert.glue.read import read_task
from experiments.bert.glue.tasks import TASKS
from experiments.configuration import ConfigurationError, load, preset_path
from experiments.mae.arms import arm_balancer
from experiments.mae.model import MultiModalMaskMae
from experiments.mae.model.masking import TokenMasking
from experiments.report.collect import COSTS as COSTS_FOLDER
from experiments.report.command_line import RESULTS
from experiments.tables.bert_runs import BertRuns
from experiments.tables.cost import bert_work, mae_work
from experiments.tables.cost.estimate import estimate
from experiments.tables.cost.machines import PEAKS, gpu_hours
from experiments.tables.cost.page import report, to_json, to_markdown
from experiments.tables.cost.work import Work, step_flops
from experiments.tables.jobs import Shard, chains
from experiments.tables.mae_runs import MaeRuns
from experiments.tables.preset import TablePreset, with_rows
from taskrobust.accumulation import balanced_loss
from taskrobust.risks import global_risks
from taskrobust.trainer.outputs import output_sums

pytestmark = pytest.mark.usefixtures("one_thread")

KINDS = {"table1": BertRuns, "table2": MaeRuns}
HIDDEN = 768
COSTS = RESULTS / COSTS_FOLDER


@pytest.fixture
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@cache
def maker(name, preset, *rows, more=()):
    table = with_rows(load(TablePreset, preset_path(name, preset)), list(rows) or None)
    return KINDS[name](preset, table, None, None, Console(file=io.StringIO()), more=more)


def everything(made):
    return chains(list(made.table.rows.values()), made.table.seeds)


@cache
def paper():
    return estimate(
        maker("table1", "paper", "None"), everything(maker("table1", "paper", "None")), None
    )


def test_pretraining_of_the_paper_takes_what_its_matrices_do():
    first, second = paper().pretraining["None"]
    for work, length, predictions in ((first, 128, 20), (second, 512, 77)):
        # A product costs two operations forwards and four backwards; see bert/test_flops.
        layers = 12 * (12 * HIDDEN**2 + 2 * length * HIDDEN)
        head = predictions * (HIDDEN**2 + HIDDEN * 30_522)
        pairs = HIDDEN**2 + 2 * HIDDEN
        assert work.flops == 6 * 256 * (length * layers + head + pairs)
        assert work.units == 256 * length
    assert (first.steps, second.steps) == (900_000, 100_000)
    assert first.flops / first.units == pytest.approx(547e6, rel=0.05)
    assert second.flops / second.units == pytest.approx(589e6, rel=0.05)
    assert first.seen + second.seen == pytest.approx(42.6e9, rel=0.05)
    assert first.total + second.total == pytest.approx(2.4e19, rel=0.05)
    assert first.parameters == 110_106_428


def test_gpu_hours_of_the_paper_are_in_the_range_that_was_reckoned_by_hand():
    works = paper().pretraining["None"]
    for gpu, low, high in (("A100", 5, 7), ("H100", 1.7, 2.1)):  # eight of them, 40 to 50 %
        slow, fast = (gpu_hours(works, gpu, share) / 8 for share in (0.4, 0.5))
        assert low * 0.95 <= fast < slow <= high * 1.05


def test_glue_is_counted_with_its_own_sizes_where_it_is_not_there():
    found = {work.title: work for work in paper().fine_tuning}
    assert set(found) == {task.title for task in TASKS.values()}
    layers = 12 * (12 * HIDDEN**2 + 2 * 128 * HIDDEN)
    assert found["RTE"].flops == 6 * 32 * (128 * layers + HIDDEN**2 + 2 * HIDDEN)
    assert found["RTE"].steps == math.ceil(3 * math.ceil(2_490 / 32))
    assert found["MNLI"].steps == 3 * math.ceil(392_702 / 32)
    assert {work.repeats for work in paper().fine_tuning} == {5}


def test_steps_of_fine_tuning_are_those_that_are_run(tmp_path):
    made = maker("table1", "smoke")
    how = made.configuration.fine_tuning
    folder = write_generated(tmp_path, list(how.tasks))
    for name, work in zip(how.tasks, bert_work.fine_tuning(made), strict=True):
        assert work.steps == steps(how, read_task(TASKS[name], folder))


@cache
def vision():
    made = maker("table2", "paper", "None", "GradNorm")
    return estimate(made, everything(made), None)


def test_images_of_the_paper_take_what_its_matrices_do():
    (work,) = vision().pretraining["None"]
    assert work.flops == 2048 * 63_357_444_096  # by hand, see mae/test_flops
    assert work.steps == round(1600 * 1_281_167 / 2048)
    assert work.parameters == 95_152_016
    cls, semseg, depth = vision().fine_tuning
    layers = 12 * 197 * (12 * HIDDEN**2 + 2 * 197 * HIDDEN)
    pixels = 196 * HIDDEN * 768  # need no gradient
    assert cls.flops == 1024 * (6 * (layers + HIDDEN * 1000) + 4 * pixels)
    block = 56 * 56 * 384 * (49 + 2 * 4 * 384)  # depthwise 7 × 7, and two products
    head = 196 * HIDDEN * 6144 + 4 * block + 56 * 56 * 384 * 40
    assert semseg.flops == 1024 * (6 * (layers + head) + 4 * pixels)
    assert depth.steps == round(2000 * 795 / 2048)
    assert depth.precision == "float32"


def test_convolutions_in_groups_cost_as_much_as_one_for_each_group():
    image = torch.randn(2, 8, 6, 6, requires_grad=True)
    grouped = torch.nn.Conv2d(8, 12, 3, groups=4)
    single = torch.nn.ModuleList(torch.nn.Conv2d(2, 3, 3) for _ in range(4))
    parts = [part.detach().requires_grad_() for part in image.chunk(4, dim=1)]
    one = step_flops(lambda: grouped(image).sum())
    pairs = list(zip(single, parts, strict=True))
    assert one == step_flops(lambda: sum(conv(part).sum() for conv, part in pairs))
    assert one == 3 * 2 * 2 * 16 * 12 * 2 * 9


@pytest.mark.parametrize("transposed", [False, True])
def test_convolutions_cost_what_torch_counts_without_groups(transposed):
    kind = torch.nn.ConvTranspose2d if transposed else torch.nn.Conv2d
    layer = kind(4, 6, 3, stride=2)
    image = torch.randn(2, 4, 9, 9, requires_grad=True)
    places = 9 * 9 if transposed else 4 * 4
    assert step_flops(lambda: layer(image).sum()) == 3 * 2 * 2 * places * 4 * 6 * 9


def real_flops(study, arm, images):
    """Of a step with values, as the trainer takes it."""
    torch.manual_seed(0)
    model = MultiModalMaskMae(study.model)
    balancer = arm_balancer(arm, study.arms[arm], model, epoch=10)
    size, (height, width) = study.model, study.model.image_size
    masks = TokenMasking((size.patches,) * 3, study.masking.visible)
    batch = {
        "modalities": {
            "rgb": torch.randn(images, 3, height, width),
            "depth": torch.rand(images, 1, height, width),
            "semseg": torch.randint(6, (images, height // 4, width // 4)),
        },
        **masks.batch((0, n) for n in range(images)),
    }
    tasks = len(size.tasks)
    return step_flops(
        lambda: balanced_loss(balancer, global_risks(output_sums(model(**batch), tasks, images)))
    )


@pytest.mark.parametrize("arm", ["average", "minimax", "uncertainty", "dwa", "gradnorm"])
def test_steps_with_values_take_what_is_counted_without(arm):
    made = maker("table2", "smoke")
    (work,) = mae_work.pretraining(made, arm)
    found = real_flops(made.configuration, arm, work.units)
    if arm == "gradnorm":  # norms may be had for less
        (plain,) = mae_work.pretraining(made, "average")
        assert found - plain.flops <= work.flops - plain.flops
        assert found == pytest.approx(work.flops, rel=0.05)
    else:
        assert found == work.flops


def test_hours_are_operations_over_speed():
    speed = PEAKS["A100"]["bf16"]
    work = Work(
        "", "tokens", "bf16", steps=3600, units=1, flops=int(speed), parameters=1, repeats=2
    )
    assert gpu_hours([work], "A100", 0.5) == pytest.approx(4)
    both = [work, replace(work, precision="float32")]
    slower = speed / PEAKS["A100"]["float32"]
    assert gpu_hours(both, "A100", 0.5) == pytest.approx(4 * (1 + slower))


def test_shares_of_the_chains_cost_what_all_do():
    made = maker("table2", "smoke")
    every = chains(list(made.table.rows.values()), 3)
    whole = estimate(made, every, None).flops
    shares = [estimate(made, Shard(n, 2).of(every), None).flops for n in (1, 2)]
    assert sum(shares) == whole
    assert min(shares) > 0


def test_the_figure_is_of_models_halfway():
    table = maker("table2", "smoke").table
    made = MaeRuns("smoke", table, None, None, Console(), tasks=("semseg-half",))
    (work,) = mae_work.fine_tuning(made)
    assert work.flops == mae_work.fine_tuning(maker("table2", "smoke"))[1].flops


@pytest.mark.parametrize("share", [0, -0.1, 1.1, math.nan])
def test_a_utilisation_that_is_no_share_is_refused(share):
    with pytest.raises(ConfigurationError, match="--utilisation should be above 0 and at most 1"):
        estimate(maker("table1", "smoke"), [], None, share)


def test_images_of_unknown_number_are_asked_for():
    made = maker("table2", "paper", "None")
    data = {name: replace(each, examples=None) for name, each in made.table.data.items()}
    made = replace(made, table=replace(made.table, data=data))
    with pytest.raises(ConfigurationError, match=r"`reads\.pretrain` should have `examples`"):
        mae_work.pretraining(made, "average")


def test_a_report_ends_with_what_is_missing_and_its_files_say_the_same(tmp_path):
    made = maker("table1", "paper", "None")
    (tmp_path / "data/glue").mkdir(parents=True)
    (tmp_path / "data/text/wikipedia").mkdir(parents=True)
    console = Console(file=io.StringIO(), width=400)
    found = report(
        "table1", replace(made), everything(made), None, console, tmp_path / "out", command="typed"
    )
    lines = console.file.getvalue().splitlines()
    missing = lines[-len(made.table.data) :]
    for line, each in zip(missing, made.table.data.values(), strict=True):
        assert line == f"missing: {each.path}: {each.title} ({each.licence}); {each.source}"
    page = (tmp_path / "out/table1-paper-cost.md").read_text(encoding="utf-8")
    assert page == to_markdown("table1", found, "typed")
    content = json.loads((tmp_path / "out/table1-paper-cost.json").read_text(encoding="utf-8"))
    assert content["flops"] == found.flops
    assert f"| all |  |  |  | {content['flops']:.1e} |".replace("e+", "e") in page
    for gpu, hours in content["gpu_hours"].items():
        assert f"{gpu} {hours:.0f}" in page
    assert [each["there"] for each in content["data"]] == [False] * 5
    assert content["command"] == "typed"


def test_what_is_generated_needs_no_data():
    made = maker("table1", "smoke")
    page = to_markdown("table1", estimate(made, everything(made), None))
    assert "- No data are needed: all is generated.\n" in page
    assert "missing" not in page
    json.loads(to_json(estimate(made, everything(made), None)))


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("preset", ["small", "paper"])
def test_the_costs_that_the_report_quotes_are_those_of_the_presets(name, preset):
    path = COSTS / f"{name}-{preset}-cost.json"
    committed = json.loads(path.read_text(encoding="utf-8"))
    made = maker(name, preset)
    found = json.loads(to_json(estimate(made, everything(made), None, committed["utilisation"])))
    for field in ("preset", "seeds", "pretraining", "fine_tuning", "flops", "gpu_hours"):
        assert committed[field] == found[field], field
