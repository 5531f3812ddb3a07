import pytest
import torch
from transformers.models.dpt.configuration_dpt import DPTConfig
from transformers.models.dpt.modeling_dpt import DPTDepthEstimationHead, DPTNeck

from experiments.mae.downstream.heads import ClassificationHead, ConvNextHead, DptHead
from tests.experiments.mae.model import reference

WIDTH, CLASSES, BATCH = 16, 5, 2
GRID = (3, 2)


def states(layers=2, modalities=1, grid=GRID, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (layers, BATCH, 1 + modalities * grid[0] * grid[1], WIDTH)
    return list(torch.randn(shape, generator=generator, dtype=torch.float64))


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def of(head):
    """In float64, and with every parameter away from a special first value."""
    generator = torch.Generator().manual_seed(1)
    head = head.double()
    with torch.no_grad():
        for each in head.parameters():
            each.add_(0.2 * torch.randn(each.shape, generator=generator, dtype=torch.float64))
    return head


@pytest.mark.parametrize(
    ("head", "arguments", "count"),
    [
        (ClassificationHead, (768, 1000), 770_536),
        (ClassificationHead, (768, 50), 39_986),
        (ConvNextHead, (768, 40), 9_546_280),
        (DptHead, (768, 12), 20_065_921),
    ],
)
def test_the_paper_s_heads_have_the_documented_numbers_of_parameters(head, arguments, count):
    with torch.device("meta"):
        made = head(*arguments)
    assert parameters(made) == count


def test_the_paper_s_convnext_blocks_and_never_trained_fusion_have_the_documented_numbers():
    with torch.device("meta"):
        convnext, dpt = ConvNextHead(768, 40), DptHead(768, 12)
    assert [parameters(block) for block in convnext.blocks] == [1_201_536] * 4
    frozen = sum(p.numel() for p in dpt.parameters() if not p.requires_grad)
    assert frozen == 1_180_160
    assert dpt.layers == (3, 6, 9, 12)


@pytest.mark.parametrize("modalities", [1, 3])
def test_classification_is_of_the_mean_of_all_tokens_of_the_last_block(modalities):
    head = of(ClassificationHead(WIDTH, CLASSES))
    given = states(modalities=modalities)
    mean = sum(given[-1][:, token] for token in range(given[-1].shape[1])) / given[-1].shape[1]
    expected = reference.linear(head.classifier, reference.layer_norm(head.norm, mean))
    torch.testing.assert_close(head(given, GRID), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("modalities", [1, 3])
def test_a_token_becomes_its_square_of_positions_with_the_modalities_side_by_side(modalities):
    head = of(ConvNextHead(WIDTH, CLASSES, modalities, blocks=0))
    given = states(modalities=modalities)
    found = head(given, GRID)
    assert found.shape == (BATCH, CLASSES, 12, 8)
    weight = head.classifier.weight[:, :, 0, 0]
    for row in range(GRID[0]):
        for column in range(GRID[1]):
            places = [1 + m * 6 + 2 * row + column for m in range(modalities)]
            token = torch.cat([given[-1][:, place] for place in places], dim=-1)
            projected = reference.linear(head.project, token)
            for y in range(4):
                for x in range(4):
                    start = (4 * y + x) * WIDTH // 2
                    position = projected[:, start : start + WIDTH // 2]
                    expected = position @ weight.T + head.classifier.bias
                    torch.testing.assert_close(
                        found[:, :, 4 * row + y, 4 * column + x], expected, rtol=1e-12, atol=1e-12
                    )


def test_dpt_is_that_of_transformers_but_for_the_last_relu():
    given = states(layers=4, grid=(4, 2))
    head = of(DptHead(WIDTH, 4, fusion=6))
    configuration = DPTConfig(
        hidden_size=WIDTH,
        neck_hidden_sizes=[2, 4, 8, 16],
        fusion_hidden_size=6,
        readout_type="ignore",
    )
    neck, output = DPTNeck(configuration).double(), DPTDepthEstimationHead(configuration).double()
    neck.load_state_dict(head.neck.state_dict())
    output.load_state_dict(head.output.state_dict())
    expected = output(neck(given, 4, 2))
    found = head(given, (4, 2))
    assert found.shape == (BATCH, 1, 64, 32)
    assert (found < 0).any()
    assert (found > 0).any()
    torch.testing.assert_close(found[:, 0].relu(), expected)


@pytest.mark.parametrize(
    ("layers", "taken"), [(12, {3, 6, 9, 12}), (8, {2, 4, 6, 8}), (5, {2, 3, 4, 5}), (2, {1, 2})]
)
def test_dpt_takes_evenly_spread_blocks_and_no_others(layers, taken):
    head = of(DptHead(WIDTH, layers))
    given = [state.requires_grad_() for state in states(layers)]
    gradients = torch.autograd.grad(head(given, GRID).sum(), given, allow_unused=True)
    used = {number for number, each in enumerate(gradients, 1) if each is not None}
    assert used == taken


@pytest.mark.parametrize("kind", [ConvNextHead, DptHead])
def test_dense_heads_do_not_read_the_global_token(kind):
    head = of(kind(WIDTH, 2))
    given = states()
    found = head(given, GRID)
    for state in given:
        state[:, 0] += 1
    assert torch.equal(head(given, GRID), found)


@pytest.mark.parametrize("kind", [ConvNextHead, DptHead])
@pytest.mark.parametrize("modality", [0, 1])
def test_a_patch_of_any_modality_changes_the_map_most_where_it_is(kind, modality):
    torch.manual_seed(0)
    grid = (6, 10)
    head = kind(WIDTH, 4, modalities=2).double()
    given = states(4, 2, grid)
    found = head(given, grid)
    for row, column in ((0, 9), (2, 3), (5, 1)):
        changed = [state.clone() for state in given]
        for state in changed:
            state[:, 1 + 60 * modality + 10 * row + column] *= 10
        change = (head(changed, grid) - found).abs().sum((0, 1))
        side = change.shape[0] // grid[0]
        assert change.shape == (grid[0] * side, grid[1] * side)
        by_place = change.unfold(0, side, side).unfold(1, side, side).sum((2, 3))
        y, x = divmod(int(by_place.argmax()), grid[1])
        assert max(abs(y - row), abs(x - column)) <= 1  # kernels spread a change


@pytest.mark.parametrize("modalities", [1, 2])
@pytest.mark.parametrize(
    "make",
    [
        lambda m: ClassificationHead(WIDTH, CLASSES),
        lambda m: ConvNextHead(WIDTH, CLASSES, m),
        lambda m: DptHead(WIDTH, 4, m),
    ],
)
def test_exactly_what_is_trainable_gets_a_gradient(make, modalities):
    head = make(modalities).double()
    head(states(4, modalities), GRID).square().sum().backward()
    for name, each in head.named_parameters():
        assert (each.grad is not None) == each.requires_grad, name
        if each.requires_grad:
            assert each.grad.abs().max() > 0, name


@pytest.mark.parametrize("grid", [(1, 1), (1, 4), (5, 3), (7, 7)])
@pytest.mark.parametrize("kind", [ConvNextHead, DptHead])
def test_any_grid_gives_a_finite_map(kind, grid):
    head = of(kind(WIDTH, 2))
    assert head(states(grid=grid), grid).isfinite().all()


def test_linear_maps_start_xavier_uniform_without_bias():
    torch.manual_seed(0)
    head = ConvNextHead(256, 3)
    for each in (head.project, *(layer for b in head.blocks for layer in (b.mlp.fc1, b.mlp.fc2))):
        bound = (6 / (each.in_features + each.out_features)) ** 0.5
        assert 0.99 * bound < each.weight.abs().max() <= bound
        assert each.bias.abs().max() == 0
