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


def test_model_flops_are_those_of_the_matrices_of_vit_base_and_its_decoders():
    case = base(3)
    assert (case.size.patches, case.visible) == (196, 98)
    outputs = (768, 256, 133 * 16)
    decoders = sum(decoder(case.size, 98, 256, 2, count) for count in outputs)
    matrices = 12 * layer(99, 768) + decoders
    # A product costs two operations forwards and four backwards; pixels need no gradient, class
    # embeddings do.
    pixels, classes = 196 * 768 * (768 + 256), 196 * 768 * 16 * 64
    assert step_flops(case) == 3 * (6 * (matrices + classes) + 4 * pixels)


def test_model_flops_are_those_of_the_matrices_of_the_preset_cpu():
    case = small(2)
    assert (case.size.patches, case.visible) == (64, 32)
    decoders = sum(decoder(case.size, 32, 96, 1, count) for count in (768, 256, 39 * 16))
    pixels, classes = 64 * 192 * (768 + 256), 64 * 192 * 16 * 32
    expected = 6 * (6 * layer(33, 192) + decoders + classes) + 4 * pixels
    assert step_flops(case) == 2 * expected
