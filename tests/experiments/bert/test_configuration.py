from dataclasses import FrozenInstanceError, replace

import pytest

from experiments.bert.configuration import BertStudy
from experiments.configuration import ConfigurationError, dump, load, preset_path, presets
from taskrobust import create_balancer

SMOKE = preset_path("bert", "smoke")


def written(folder, text, name="own"):
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", presets("bert"))
def test_every_preset_loads_and_survives_writing(name, tmp_path):
    study = load(BertStudy, preset_path("bert", name))
    assert study.arms
    assert load(BertStudy, written(tmp_path, dump(study))) == study


@pytest.mark.parametrize("name", presets("bert"))
def test_every_arm_of_a_preset_but_gradnorm_has_a_balancer_that_takes_its_options(name):
    for arm in load(BertStudy, preset_path("bert", name)).arms.values():
        if arm.balancer != "gradnorm":  # needs parameters of a model
            extra = {} if arm.reference is None else {"reference": [1.0] * 9}
            assert create_balancer(arm.balancer, 9, **arm.options, **extra).num_tasks == 9


def test_there_are_the_presets_that_the_documentation_names():
    assert set(presets("bert")) >= {"smoke", "cpu", "small", "paper", "study"}


def test_the_paper_preset_is_table_4():
    how = load(BertStudy, preset_path("bert", "paper")).optimisation
    found = (how.steps, how.batch_size, how.learning_rate, how.warmup_steps, how.weight_decay)
    assert found == (1_000_000, 256, 2e-4, 10_000, 0.01)
    assert (how.betas, how.epsilon, how.max_gradient_norm) == ((0.9, 0.999), 1e-6, 0.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sed: 1", r"`sed`: .*found 1"),
        ("model: {layer: 3}", r"`model\.layer`: .*found 3"),
        ("model: {layers: three}", r"`model\.layers`: .*found 'three'"),
        ("model: {layers: 0}", r"`model\.layers`: .*greater than or equal to 1; found 0"),
        ("masking: {probability: 1.5}", r"`masking\.probability`: .*found 1\.5"),
        ("optimisation: {learning_rate: 0}", r"`optimisation\.learning_rate`: .*found 0"),
        ("grouping: letters", r"`grouping`: .*'pos', 'frequency' or 'random'; found 'letters'"),
        ("arms: {a: {balancer: average, option: {}}}", r"`arms\.a\.option`"),
        ("arms: {a: {options: {}}}", r"`arms\.a\.balancer`: "),
        (
            "arms: {a: {balancer: minimax, reference: b}}",
            r"`arms\.a\.reference` should name an arm; found 'b'",
        ),
        ("phases: [{share: 0.5}]", r"`phases` should have shares that sum to 1"),
        ("model: {hidden: 10, heads: 3}", r"`model\.hidden` should be a multiple .*10 and 3"),
        ("- 1", r"should be a mapping of fields; found \[1\]"),
        ("model: [", r"own\.yaml: "),
        ("inherits: nobody", r"own\.yaml: `inherits` should name a preset .*; found 'nobody'"),
        ("inherits: /etc/passwd", r"found '/etc/passwd'"),
        ("inherits: [a]", r"found \['a'\]"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_file(tmp_path, content, message):
    with pytest.raises(ConfigurationError, match=message) as refused:
        load(BertStudy, written(tmp_path, content))
    assert str(tmp_path) in str(refused.value)


def test_all_that_is_wrong_is_said_at_once(tmp_path):
    with pytest.raises(ConfigurationError) as refused:
        load(BertStudy, written(tmp_path, "seed: x\nlog_every: 0"))
    assert "`seed`" in str(refused.value)
    assert "`log_every`" in str(refused.value)


def test_inherited_fields_are_merged_mapping_by_mapping(tmp_path):
    written(tmp_path, "seed: 4\nmodel: {layers: 3, hidden: 8, heads: 2}", "first")
    written(tmp_path, "inherits: first\nmodel: {hidden: 16}", "second")
    study = load(BertStudy, written(tmp_path, "inherits: second\nmodel: {heads: 4}"))
    assert study.seed == 4
    assert (study.model.layers, study.model.hidden, study.model.heads) == (3, 16, 4)


def test_inheritance_in_a_circle_is_refused(tmp_path):
    first = written(tmp_path, "inherits: second", "first")
    written(tmp_path, "inherits: first", "second")
    with pytest.raises(ConfigurationError, match="circle"):
        load(BertStudy, first)


def test_overrides_set_nested_fields_to_yaml_values():
    overrides = [
        "model.layers=3",
        "optimisation.precision=bf16",
        "preparation.train=[a.txt, b.txt]",
        "preparation.vocabulary=null",
        "arms.robust.balancer=minimax",
        "arms.robust.options.alpha=0.5",
    ]
    study = load(BertStudy, SMOKE, overrides)
    expected = load(BertStudy, SMOKE)
    assert (study.model.layers, study.optimisation.precision) == (3, "bf16")
    assert study.preparation.train == ("a.txt", "b.txt")
    assert study.preparation.vocabulary is None
    assert study.arms["robust"].options == {"alpha": 0.5}
    assert study.arms["average"] == expected.arms["average"]
    assert replace(study.model, layers=2) == expected.model


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.layers", "'model.layers': should be key=value"),
        ("=3", "'=3': should be key=value"),
        ("seed.x=3", "'seed.x=3': 'seed' has no fields"),
        ("seed=[", "--set 'seed=\\['"),
        ("model.layer=3", r"`model\.layer`"),
        ("model.layers=many", r"`model\.layers`: .*found 'many'"),
    ],
)
def test_overrides_that_cannot_be_used_are_refused_by_name(tmp_path, override, message):
    with pytest.raises(ConfigurationError, match=message):
        load(BertStudy, written(tmp_path, "seed: 1"), [override])


def test_an_unknown_preset_comes_with_the_near_and_the_known_ones():
    with pytest.raises(ConfigurationError, match=r"'smok'; did you mean smoke.*cpu, paper, small"):
        preset_path("bert", "smok")
    with pytest.raises(ConfigurationError, match=r"unknown preset 'no\.yaml'"):
        preset_path("bert", "no.yaml")


def test_a_path_is_a_preset(tmp_path):
    assert load(BertStudy, preset_path("bert", str(written(tmp_path, "seed: 9")))).seed == 9


def test_a_configuration_does_not_change():
    with pytest.raises(FrozenInstanceError):
        load(BertStudy, SMOKE).seed = 1


def test_ones_own_preset_can_start_from_ours_or_from_a_neighbour(tmp_path):
    own = written(tmp_path, "inherits: smoke\nmodel: {hidden: 24}")
    with pytest.raises(ConfigurationError, match="found 'smoke'"):
        load(BertStudy, own)
    study = load(BertStudy, own, study="bert")
    smoke = load(BertStudy, preset_path("bert", "smoke"))
    assert study.model.hidden == 24
    assert study.masking == smoke.masking
    written(tmp_path, "masking: {max_predictions: 3}\nmodel: {hidden: 48}", "smoke")
    assert load(BertStudy, own, study="bert").masking.max_predictions == 3


@pytest.mark.parametrize("name", ["minimax/3", "../escaped", ".hidden", ""])
def test_names_of_arms_are_names_of_folders(tmp_path, name):
    with pytest.raises(ConfigurationError, match=r"`arms\."):
        load(BertStudy, written(tmp_path, f"arms: {{{name!r}: {{balancer: average}}}}"))


def test_off_is_what_yaml_reads_as_false(tmp_path):
    assert load(BertStudy, written(tmp_path, "next_sentence: off")).next_sentence == "off"
    study = load(BertStudy, written(tmp_path, ""), ["next_sentence=off"])
    assert study.next_sentence == "off"
    with pytest.raises(ConfigurationError, match="`next_sentence`"):
        load(BertStudy, written(tmp_path, "next_sentence: on"))


@pytest.mark.parametrize(
    "override", ["seed=-1", "masking.seed=-1", "optimisation.betas=[0.9, 1.5]"]
)
def test_seeds_and_decays_out_of_range_are_refused(tmp_path, override):
    with pytest.raises(ConfigurationError, match=override.split("=")[0]):
        load(BertStudy, written(tmp_path, ""), [override])
