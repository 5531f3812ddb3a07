import pytest

from tests.benchmarks.mae_flops import step_flops
from tests.benchmarks.mae_steps import base, small


def layer(tokens, width):
    # Four width × width and two width × 4 width matrices; every token scores and averages all.
    return tokens * (12 * width**2 + 2 * tokens * width)


def decoder(size, visible, width, layers, outputs):
    # The queries are the patches of one modality, keys and values visible and global tokens.
    patches, context = size.patches, visible + 1
    attention = 2 * patches * width**2 + 2 * context * width**2 + 2 * patches * context * width
    return (
        context * size.width * width
        + attention
        + patches * 8 * width**2
        + layers * layer(patches, width)
        + patches * width * outputs
    )


def expected(case):
    size, semseg = case.size, case.size.modality("semseg")
    side = size.patch_size // semseg.stride
    outputs = (3 * size.patch_size**2, size.patch_size**2, semseg.classes * side**2)
    decoders = sum(
        decoder(size, case.visible, size.decoder_width, size.decoder_layers, count)
        for count in outputs
    )
    matrices = size.layers * layer(case.visible + 1, size.width) + decoders
    pixels = size.patches * size.width * 4 * size.patch_size**2
    classes = size.patches * size.width * semseg.class_width * side**2
    # A product costs two operations forwards and four backwards; pixels need no gradient, class
    # embeddings do.
    return case.batch * (6 * (matrices + classes) + 4 * pixels)


@pytest.mark.parametrize("case", [base(3), small(2)], ids=lambda case: case.name)
def test_model_flops_are_those_of_the_matrices(case):
    assert step_flops(case) == expected(case)


def test_an_image_takes_vit_base_63_gflop():
    assert expected(base(1)) == 63_357_444_096
