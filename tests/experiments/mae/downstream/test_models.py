import json
import shutil

import pytest
import torch

from experiments.configuration import ConfigurationError
from experiments.mae.downstream.models import SCRATCH, Pretrained, find_models
from experiments.records import RESULT, RecordError
from tests.experiments.mae.downstream import mosaics
from tests.experiments.mae.downstream.mosaics import recipe


def pretraining(root, model_folder, runs):
    """Folders as pre-training leaves them; no record where the run is not finished."""
    for arm, seed, finished in runs:
        folder = root / arm / f"seed-{seed}"
        shutil.copytree(model_folder, folder / "model")
        if finished:
            (folder / RESULT).write_text(json.dumps({"arm": arm, "seed": seed}))
    return root


def test_every_finished_run_of_a_folder_is_a_model(tmp_path, model_folder):
    runs = [("minimax", 10, True), ("minimax", 9, True), ("average", 0, True), ("dwa", 0, False)]
    root = pretraining(tmp_path, model_folder, runs)
    found = find_models([str(root), SCRATCH])
    assert [(each.arm, each.seed) for each in found] == [
        ("average", 0), ("minimax", 9), ("minimax", 10), (SCRATCH, None),
    ]  # fmt: skip
    assert [str(each.runs(tmp_path / "out").relative_to(tmp_path)) for each in found[2:]] == [
        "out/minimax/seed-10", "out/scratch",
    ]  # fmt: skip
    for name in ("minimax", "minimax/seed-9", "minimax/seed-9/model"):
        some = find_models([str(root / name)])
        assert {each.arm for each in some} == {"minimax"}
        assert 9 in {each.seed for each in some}
    assert find_models([str(root / "minimax"), str(root)])[1].seed == 10


def test_a_model_of_its_own_has_the_name_of_its_folder(model_folder):
    (found,) = find_models([str(model_folder)])
    assert found == Pretrained("random", None, model_folder)


def test_identity_is_that_of_the_content(tmp_path, model_folder):
    copy = shutil.copytree(model_folder, tmp_path / "copy")
    one, other = (Pretrained("a", 0, each).identity(mosaics.SIZE) for each in (model_folder, copy))
    assert one == other
    content = bytearray((copy / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (copy / "model.safetensors").write_bytes(content)
    assert Pretrained("a", 0, copy).identity(mosaics.SIZE) != one
    assert Pretrained(SCRATCH, None, None).identity(mosaics.SIZE) != one


def test_a_fresh_encoder_is_drawn(model_folder):
    how = recipe("cls")
    fresh, given = Pretrained(SCRATCH, None, None), Pretrained("a", 0, model_folder)
    torch.manual_seed(5)
    first = fresh.encoder(how, mosaics.SIZE).global_token
    assert not torch.equal(first, fresh.encoder(how, mosaics.SIZE).global_token)
    pair = [given.encoder(how, mosaics.SIZE).global_token for _ in range(2)]
    assert torch.equal(*pair)


def test_names_that_mean_no_model_or_two_are_refused(tmp_path, model_folder):
    with pytest.raises(ConfigurationError, match=r"--model .*missing: is missing; give a folder"):
        find_models([str(tmp_path / "missing")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match="should hold finished runs"):
        find_models([str(tmp_path / "empty")])
    with pytest.raises(ConfigurationError, match="at least one model"):
        find_models([])
    roots = [
        str(pretraining(tmp_path / name, model_folder, [("minimax", 0, True)])) for name in "ab"
    ]
    with pytest.raises(ConfigurationError, match="are both called minimax, seed 0"):
        find_models(roots)
    (tmp_path / "a" / "minimax" / "seed-0" / RESULT).write_text("{")
    with pytest.raises(RecordError, match="is not valid JSON"):
        find_models(roots[:1])
