import json
import subprocess
import sys

import pytest

from experiments.records import RESULT, RecordError, collect, read, run_folder


def saved(out, arm, seed, text=None):
    folder = run_folder(out, arm, seed)
    folder.mkdir(parents=True)
    content = {"arm": arm, "seed": seed, "valid": {"worst": arm}}
    (folder / RESULT).write_text(text or json.dumps(content), encoding="utf-8")
    return content


def test_finished_runs_are_found_by_arm_and_seed(tmp_path):
    written = [saved(tmp_path, arm, seed) for arm, seed in (("b", 10), ("a", 2), ("b", 9))]
    run_folder(tmp_path, "a", 3).mkdir(parents=True)  # not finished
    assert collect(tmp_path) == [written[1], written[2], written[0]]
    assert collect(tmp_path / "nowhere") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"arm": "a", "se', "is not valid JSON"),
        ("[1]", "should hold an object; found list"),
        ('{"arm": "b", "seed": 0}', "arm and seed of its folder; found arm 'b', seed 0"),
        ('{"arm": "a"}', "found arm 'a', seed None"),
    ],
)
def test_a_damaged_result_is_named(tmp_path, text, message):
    saved(tmp_path, "c", 0)
    saved(tmp_path, "a", 0, text)
    with pytest.raises(RecordError, match=message) as raised:
        collect(tmp_path)
    assert str(run_folder(tmp_path, "a", 0) / RESULT) in str(raised.value)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(RecordError, match=f"cannot read .*{RESULT}: No such file"):
        read(tmp_path / RESULT)


def test_reading_imports_neither_torch_nor_transformers():
    code = (
        "import sys\nfrom experiments import records\n"
        "print(sorted({'torch', 'transformers', 'yaml', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
