import zipfile

import numpy as np
import pytest

from experiments.bert.glue.read import read_task
from experiments.bert.glue.tasks import TASKS
from experiments.configuration import ConfigurationError

COLA = "gj04\t1\t\tThe sailors rode .\ngj04\t0\t*\tRode sailors the .\n"
RTE = (
    'index\tsentence1\tsentence2\tlabel\n0\tA "quote .\tNA\tentailment\n1\tB .\tC\tnot_entailment\n'
)
STSB = (
    "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n"
    "0\ta\tb\tc\td\te\tf\tA .\tB .\t5.000\n1\ta\tb\tc\td\te\tf\tC .\tD .\t0.25\n"
)
MRPC = (
    "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n"
    "1\t7\t8\tA .\tB .\r\n0\t7\t9\tA .\tC .\r\n"
)
QQP = (
    "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
    + "9\t1\t2\tHow ?\tWhy ?\t1\n" * 999
    + "{}\n8\t1\t2\tWho ?\t\t0\n"
)
MNLI_HEAD = "index\tpromptID\tsentence1\tsentence2\tlabel1\t{}gold_label\n"
MNLI = {
    "train": MNLI_HEAD.format("") + "0\t1\tA\tB\tneutral\tneutral\n1\t1\tA\tC\tx\tcontradiction\n",
    "dev_matched": MNLI_HEAD.format("label2\t") + "0\t1\tM\tB\tx\ty\tentailment\n",
    "dev_mismatched": MNLI_HEAD.format("label2\t") + "0\t1\tN\tB\tx\ty\tneutral\n",
    "test_mismatched": "index\tpromptID\tsentence1\tsentence2\n77\t1\tP\tQ\n",
}


def folder(place, title, **files):
    (place / title).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        content = text if isinstance(text, bytes) else text.encode()
        (place / title / f"{name}.tsv").write_bytes(content)
    return place


def read(place, name, title=None, **files):
    return read_task(TASKS[name], folder(place, title or TASKS[name].title, **files))


def refused(place, name, message, **files):
    with pytest.raises(ConfigurationError, match=message) as error:
        read(place, name, **files)
    return str(error.value)


def test_quotes_and_na_are_text_and_labels_have_the_ids_of_the_hub(tmp_path):
    data = read(tmp_path, "rte", train=RTE, dev=RTE)
    assert data.train.first == ('A "quote .', "B .")
    assert data.train.second == ("NA", "C")
    assert data.train.labels.tolist() == [0, 1]
    assert data.test == {}


def test_cola_has_no_header_but_in_its_test_file(tmp_path):
    test = "index\tsentence\n4\tWho ?\n9\tHe .\n"
    data = read(tmp_path, "cola", train=COLA, dev=COLA, test=test)
    assert data.train.first == ("The sailors rode .", "Rode sailors the .")
    assert data.train.second is None
    assert data.train.labels.tolist() == [1, 0]
    assert data.test[""].first == ("Who ?", "He .")
    assert data.test[""].index == ("4", "9")
    assert data.test[""].labels is None


def test_a_byte_order_mark_and_carriage_returns_are_no_part_of_the_text(tmp_path):
    data = read(tmp_path, "mrpc", train=MRPC, dev=MRPC)
    assert data.train.second == ("B .", "C .")
    assert data.train.labels.tolist() == [1, 0]


def test_scores_are_numbers(tmp_path):
    data = read(tmp_path, "stsb", train=STSB, dev=STSB)
    assert data.dev[""].labels.dtype == np.float32
    assert data.dev[""].labels.tolist() == [5.0, 0.25]


def test_mnli_has_two_parts_whose_columns_differ_from_those_of_train(tmp_path):
    data = read(tmp_path, "mnli", **MNLI)
    assert data.train.labels.tolist() == [1, 2]
    assert {name: (part.first, part.labels.tolist()) for name, part in data.dev.items()} == {
        "matched": (("M",), [0]),
        "mismatched": (("N",), [1]),
    }
    assert data.test["mismatched"].index == ("77",)
    assert list(data.test) == ["mismatched"]
    assert list(data.splits()) == ["train", "dev matched", "dev mismatched", "test mismatched"]


def test_a_line_break_within_a_question_of_qqp_leaves_its_halves_out(tmp_path):
    whole = QQP.format(
        "\n".join(["9\t1\t2\tHow ?\tWhy ?\t1"] * 1000 + ["7\t1\t2\tHow", "much ?\tX"])
    )
    data = read(tmp_path, "qqp", train=whole, dev=whole)
    assert (len(data.train), data.train.skipped) == (2000, 2)
    assert data.train.second[-1] == ""
    few = QQP.format("7\t1\t2\tHow\nmuch ?\tX")
    refused(tmp_path, "qqp", r"train\.tsv: 2 of 1,002 rows have too few columns", train=few)


@pytest.mark.parametrize("title", ["SST-2", "sst2", "SST-2.zip", "sst-2.zip", "all"])
def test_folders_and_zips_are_found_under_official_names_and_ours(tmp_path, title):
    text = "sentence\tlabel\nfine .\t1\n"
    place = tmp_path / "glue"
    if title == "all":
        place = tmp_path / "glue.zip"
        members = [f"glue_data/SST-2/{split}.tsv" for split in ("train", "dev")]
        archive = place
    elif title.endswith(".zip"):
        place.mkdir()
        members = [f"SST-2/{split}.tsv" for split in ("train", "dev")]
        archive = place / title
    else:
        folder(place, title, train=text, dev=text)
        archive = None
    if archive is not None:
        with zipfile.ZipFile(archive, "w") as packed:
            for member in (*members, "__MACOSX/SST-2/._train.tsv", "CoLA/train.tsv"):
                packed.writestr(member, text)
    data = read_task(TASKS["sst2"], place)
    assert data.train.first == ("fine .",)
    assert data.dev[""].labels.tolist() == [1]


@pytest.mark.parametrize(
    ("name", "good", "bad", "message"),
    [
        ("rte", RTE, RTE.replace("sentence2", "sentence_2"), r"line 1: .*'sentence2' are missing"),
        ("rte", RTE, RTE.replace("\t", ","), r"line 1: .*tabs between columns"),
        ("rte", RTE, RTE + "2\tA\tentailment\n", r"line 4: should have 4 columns .*found 3: 2\tA"),
        ("rte", RTE, RTE + "2\tA\tB\tC\tneutral\n", r"line 4: should have 4 columns .*found 5"),
        ("rte", RTE, RTE.replace("not_e", "E"), r"line 3: the label .*not_entailment; found 'Ent"),
        ("cola", COLA, "source\tlabel\tstar\tsentence\n" + COLA, r"line 1: .*no header line"),
        ("cola", COLA, COLA.replace("\t0\t", "\t-1\t"), r"line 2: .*one of 0, 1; found '-1'"),
        ("stsb", STSB, STSB.replace("0.25", "5.01"), r"line 3: the score .*0 to 5; found '5\.01'"),
        ("stsb", STSB, STSB.replace("0.25", "-0.1"), r"line 3: the score .*found '-0\.1'"),
        ("stsb", STSB, STSB.replace("0.25", "nan"), r"line 3: the score .*found 'nan'"),
        ("stsb", STSB, STSB.replace("0.25", "high"), r"line 3: the score .*found 'high'"),
        ("rte", RTE, "", r"\.tsv: is empty"),
        ("rte", RTE, "\n\n", r"\.tsv: is empty"),
        ("rte", RTE, RTE.splitlines()[0], r"\.tsv: has no examples"),
        ("cola", COLA, "", r"\.tsv: has no examples"),
        (
            "rte",
            RTE,
            RTE.encode() + b"2\tcaf\xe9\tB\tentailment\n",
            r"line 4: byte 0xe9 is not UTF",
        ),
    ],
)
@pytest.mark.parametrize("split", ["train", "dev"])
def test_what_cannot_be_used_is_named_with_file_and_line(tmp_path, name, good, bad, message, split):
    said = refused(tmp_path, name, message, **{"train": good, "dev": good, split: bad})
    assert f"{tmp_path / TASKS[name].title}/{split}.tsv" in said


def test_blank_lines_count_but_are_no_examples(tmp_path):
    refused(tmp_path, "rte", "line 6: should have 4", train=RTE + "\n\nx\n", dev=RTE)
    assert len(read(tmp_path, "rte", train=RTE + "\n\n", dev=RTE).train) == 2


def test_missing_files_are_named_with_what_is_wanted(tmp_path):
    with pytest.raises(ConfigurationError, match=r"nowhere: is missing; give .*RTE/train\.tsv"):
        read_task(TASKS["rte"], tmp_path / "nowhere")
    with pytest.raises(ConfigurationError, match=r"holds no RTE; give a folder"):
        read_task(TASKS["rte"], folder(tmp_path, "CoLA", train=COLA))
    refused(tmp_path, "rte", r"RTE: dev\.tsv is missing; RTE needs train\.tsv, dev\.tsv", train=RTE)
    refused(tmp_path, "mnli", r"dev_mismatched\.tsv is missing", **dict(list(MNLI.items())[:2]))


@pytest.mark.parametrize("kept", [0.2, 0.6, 0.98])
def test_a_truncated_zip_is_refused(tmp_path, kept):
    archive = tmp_path / "RTE.zip"
    rng = np.random.default_rng(0)
    text = RTE + "".join(f"2\t{rng.integers(9**9)}\tB\tentailment\n" for _ in range(500))
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("RTE/train.tsv", text)
        packed.writestr("RTE/dev.tsv", text)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ConfigurationError, match=r"RTE\.zip: cannot be read to its end"):
        read_task(TASKS["rte"], tmp_path)


def test_a_damaged_member_is_refused(tmp_path):
    archive = tmp_path / "RTE.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        packed.writestr("RTE/train.tsv", RTE)
        packed.writestr("RTE/dev.tsv", RTE)
    archive.write_bytes(archive.read_bytes().replace(b"quote", b"quoth", 1))
    with pytest.raises(ConfigurationError, match=r"RTE\.zip: cannot be read .*CRC"):
        read_task(TASKS["rte"], tmp_path)


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damaged_compression_of_every_method_is_refused(tmp_path, method):
    archive = tmp_path / "RTE.zip"
    with zipfile.ZipFile(archive, "w", method) as packed:
        packed.writestr("RTE/train.tsv", RTE * 50)
        packed.writestr("RTE/dev.tsv", RTE)
    content = bytearray(archive.read_bytes())
    start = 30 + len("RTE/train.tsv") + 9  # within the data of the first member
    content[start : start + 40] = b"\xff" * 40
    archive.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"RTE\.zip: cannot be read to its end"):
        read_task(TASKS["rte"], tmp_path)


def test_damaged_names_of_members_are_refused(tmp_path):
    archive = tmp_path / "glue.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("ü/RTE/train.tsv", RTE)
    archive.write_bytes(archive.read_bytes().replace("ü".encode(), b"\xc3\x28"))
    with pytest.raises(ConfigurationError, match=r"glue\.zip: cannot .*UnicodeDecodeError"):
        read_task(TASKS["rte"], archive)


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        ("folders", "glue/RTE", "glue/R_TE"),
        ("zips", "glue/RTE.zip", "glue/R_TE.zip"),
        ("members", "a/RTE", "b/RTE"),
    ],
)
def test_a_task_that_is_there_twice_is_refused(tmp_path, kind, first, second):
    place = tmp_path / ("glue.zip" if kind == "members" else "glue")
    for title, text in (("RTE", RTE), ("R_TE", RTE.replace("quote", "other"))):
        if kind == "folders":
            folder(place, title, train=text, dev=text)
        elif kind == "zips":
            place.mkdir(exist_ok=True)
            with zipfile.ZipFile(place / f"{title}.zip", "w") as packed:
                packed.writestr("RTE/train.tsv", text)
    if kind == "members":
        with zipfile.ZipFile(place, "w") as packed:
            packed.writestr("a/RTE/train.tsv", RTE)
            packed.writestr("b/RTE/dev.tsv", RTE)
    with pytest.raises(ConfigurationError, match=r"more than once, in .*; keep one") as error:
        read_task(TASKS["rte"], place)
    assert first in str(error.value)
    assert second in str(error.value)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_zip_with_two_members_of_one_name_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "RTE.zip", "w") as packed:
        for text in (RTE, RTE.replace("quote", "other")):
            packed.writestr("RTE/train.tsv", text)
    with pytest.raises(ConfigurationError, match=r"RTE\.zip: holds RTE/train\.tsv twice"):
        read_task(TASKS["rte"], tmp_path)


def test_the_folder_that_a_zip_was_unpacked_to_is_taken_before_it(tmp_path):
    with zipfile.ZipFile(tmp_path / "RTE.zip", "w") as packed:
        packed.writestr("RTE/train.tsv", RTE.replace("quote", "other"))
    assert read(tmp_path, "rte", train=RTE, dev=RTE).train.first[0] == 'A "quote .'


def test_a_zip_without_the_task_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "RTE.zip", "w") as packed:
        packed.writestr("train.tsv", RTE)
    with pytest.raises(ConfigurationError, match=r"RTE\.zip: holds no RTE/train\.tsv"):
        read_task(TASKS["rte"], tmp_path)


def test_the_digest_changes_with_every_text_and_label(tmp_path):
    def digest(text):
        return read(tmp_path, "rte", train=text, dev=RTE).train.digest()

    changed = [RTE.replace("quote", "quota"), RTE.replace("not_", ""), RTE.replace("NA", "NB")]
    digests = [digest(text) for text in (RTE, *changed)]
    assert len(set(digests)) == 4
    assert digest(RTE) == digests[0]
    # A text that moves from one column to the other, or from one row to the next, is another text.
    moved = RTE.replace('A "quote .\tNA', 'A\t"quote . NA')
    assert digest(moved) not in digests
