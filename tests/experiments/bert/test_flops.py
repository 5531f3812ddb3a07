import pytest

from tests.benchmarks.pos_bert_flops import step_flops
from tests.benchmarks.pos_bert_steps import VOCABULARY, Case

HIDDEN = 768


@pytest.mark.parametrize(("sequence", "predictions"), [(128, 20), (512, 77)])
def test_model_flops_are_those_of_the_matrices_of_bert_base(sequence, predictions):
    # Twelve layers of four H × H and two H × 4H matrices; scores and averages of values cost each
    # position 2 · S · H; the vocabulary head sees the masked positions, the pooler one, and the
    # two-way classifier its output. A product costs two operations forwards and four backwards.
    layers = 12 * (12 * HIDDEN**2 + 2 * sequence * HIDDEN)
    head = predictions * (HIDDEN**2 + HIDDEN * VOCABULARY)
    pairs = HIDDEN**2 + 2 * HIDDEN
    expected = 6 * 3 * (sequence * layers + head + pairs)
    assert step_flops(Case(12, 3, sequence, predictions)) == expected
    stated = {128: 547e6, 512: 589e6}[sequence]  # of a token, rounded, without the pooler
    assert expected / (3 * sequence) == pytest.approx(stated, rel=3e-3)
