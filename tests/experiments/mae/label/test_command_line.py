import argparse
import re
import shlex

import pytest

from experiments.mae.data.manifest import read_manifest
from experiments.mae.label.command_line import add_label


@pytest.fixture
def run(data, tmp_path):
    """The command, given words after its folders."""

    def run(*words):
        parser = argparse.ArgumentParser(prog="label")
        add_label(parser)
        words = ["--data", str(data), "--out", str(tmp_path / "out"), *words]
        options = parser.parse_args(words)
        return options.run(options, shlex.join(["label", *words]))

    return run


def test_depth_and_semantics_in_one_command_that_can_be_repeated(run, models, tmp_path, capsys):
    words = ["--depth", models["dpt"], "--depth-kind", "relative", "--semseg"]
    words += [models["mask2former"], "--batch-size", "2", "--precision", "bfloat16", "--copy"]
    for done in ("5 images in ", "5 of them done before"):
        assert run(*words) == 0
        lines = capsys.readouterr().err.splitlines()
        for name in ("depth", "semseg"):
            assert any(line.startswith(f"{name}: ") and done in line for line in lines)
    header = read_manifest(tmp_path / "out/manifest.jsonl").header
    assert header.names == ("rgb", "depth", "semseg")
    assert header.modalities[1].unit == "relative"
    assert header.provenance["semseg precision"] == "bfloat16"
    assert header.provenance["depth command"].startswith("label --data")
    assert not (tmp_path / "out/train/rgb/c0/0.png").is_symlink()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--depth or --semseg should name a model"),
        (["--depth", "{dpt}"], "--depth-kind should be stated"),
        (["--depth", "{mask2former}"], "model of depth estimation.* found mask2former"),
        (["--semseg", "{segformer}", "--device", "abacus"], "--device should be.*'abacus'"),
        (["--semseg", "{segformer}", "--batch-size", "0"], "--batch-size .*found 0"),
        (["--semseg", "no/such/model"], "no/such/model.*cannot be found"),
    ],
)
def test_what_is_wrong_ends_in_a_line_before_anything_is_written(
    run, models, tmp_path, capsys, words, message
):
    with pytest.raises(SystemExit, match="2"):
        run(*(word.format(**models) for word in words))
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.search(message, last), last
    assert not (tmp_path / "out").exists()
