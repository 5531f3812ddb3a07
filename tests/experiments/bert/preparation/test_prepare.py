import filecmp
import io
import json
import lzma
import multiprocessing
import os
import signal
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
import yaml
from datasets import load_from_disk
from rich.console import Console
from transformers import AutoTokenizer

from experiments.bert.configuration import BertStudy, Preparation
from experiments.bert.data import Prepared
from experiments.bert.preparation import blocks
from experiments.bert.preparation.annotate import Annotator
from experiments.bert.preparation.generated import generated_documents
from experiments.bert.preparation.prepare import prepare
from experiments.bert.tags import CLASSES, OTHER, class_of_tag, table_key
from experiments.configuration import ConfigurationError, load, preset_path
from experiments.progress import Stages

# Workers are forked; Python 3.12 warns of it where there are threads, as torch's.
pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")

SMOKE = load(BertStudy, preset_path("bert", "smoke")).preparation
TINY = replace(SMOKE, generated_documents=60, vocabulary_size=200, sequence_length=32)
BLOCK = 500


def quiet():
    return Stages(Console(file=io.StringIO(), width=200))


def run(preparation, out, data=None, block=BLOCK):
    """What was prepared, and what was printed."""
    stages = quiet()
    found = prepare(preparation, data, out, block=block, stages=stages)
    assert found == out
    return stages.console.file.getvalue()


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "prepared"
    run(SMOKE, out)
    return out


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "prepared"
    run(TINY, out)
    return out


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def assert_equal_folders(first, second):
    names = files(first)
    assert names == files(second)
    equal, *_ = filecmp.cmpfiles(first, second, names, shallow=False)
    assert set(equal) == names


def rows(folder, split):
    return load_from_disk(str(folder / split)).with_format("numpy")


def test_the_smoke_preset_is_prepared_and_read_as_pre_training_reads_it(smoke):
    prepared = Prepared(smoke)
    assert prepared.sequence_length == 64
    assert len(prepared.tokenizer) == 400
    assert all(prepared.has(split) for split in ("train", "valid", "test"))
    assert prepared.class_counts.min() > 0
    assert files(smoke) >= {"preparation.yaml", "report.json", "report.md"}
    assert not list(smoke.parent.glob(".*"))


def test_columns_are_compact(smoke):
    features = load_from_disk(str(smoke / "train")).features
    assert {name: str(feature) for name, feature in features.items()} == {
        "input_ids": "List(Value('uint16'))",
        "pos": "List(Value('int8'))",
        "first_length": "Value('uint16')",
        "next_sentence_label": "Value('int8')",
    }


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_instances_are_two_segments_between_special_pieces_within_the_length(smoke, split):
    tokenizer = AutoTokenizer.from_pretrained(str(smoke / "tokenizer"))
    cls, sep = tokenizer.cls_token_id, tokenizer.sep_token_id
    for row in rows(smoke, split):
        pieces, first = row["input_ids"], int(row["first_length"])
        assert 5 <= len(pieces) <= 64
        assert np.flatnonzero(np.isin(pieces, tokenizer.all_special_ids)).tolist() == [
            0, first - 1, len(pieces) - 1
        ]  # fmt: skip
        assert pieces[[0, first - 1, -1]].tolist() == [cls, sep, sep]
        assert len(row["pos"]) == len(pieces)
        assert row["pos"][[0, first - 1, -1]].tolist() == [OTHER] * 3


def texts_of(documents, tokenizer):
    """Each document as its pieces, in one line of text."""
    return [
        " ".join(tokenizer.tokenize(" ".join(sentence.text for sentence in document.sentences)))
        for document in documents
    ]


def test_segments_are_of_one_document_each_and_of_two_only_where_random(smoke):
    tokenizer = AutoTokenizer.from_pretrained(str(smoke / "tokenizer"))
    documents = texts_of(generated_documents(300, SMOKE.seed), tokenizer)
    for row in rows(smoke, "valid"):
        first = int(row["first_length"])
        parts = (row["input_ids"][1 : first - 1], row["input_ids"][first:-1])
        a, b = (" ".join(tokenizer.convert_ids_to_tokens(part.tolist())) for part in parts)
        assert any(a in document for document in documents)
        assert any(b in document for document in documents)
        if not row["next_sentence_label"]:
            assert any(0 <= d.find(a) < d.find(b, d.find(a) + len(a)) for d in documents)


def test_no_document_is_in_two_splits(smoke):
    tokenizer = AutoTokenizer.from_pretrained(str(smoke / "tokenizer"))
    documents = texts_of(generated_documents(300, SMOKE.seed), tokenizer)
    homes = Counter()
    for split in ("train", "valid", "test"):
        found = set()
        for row in rows(smoke, split):
            first = row["input_ids"][1 : int(row["first_length"]) - 1]
            if len(first) >= 25:  # long enough to be of one document alone
                text = " ".join(tokenizer.convert_ids_to_tokens(first.tolist()))
                found |= {number for number, d in enumerate(documents) if text in d}
        assert found
        homes.update(found)
    assert max(homes.values()) == 1


def test_class_counts_survive_tokenisation(smoke):
    tokenizer = AutoTokenizer.from_pretrained(str(smoke / "tokenizer"))
    expected = Counter()
    for document in generated_documents(300, SMOKE.seed):
        for sentence in document.sentences:
            for (start, end), tag in zip(sentence.spans, sentence.tags, strict=True):
                word = sentence.text[start:end]
                expected[CLASSES[class_of_tag(tag)]] += len(tokenizer.tokenize(word))
    report = json.loads((smoke / "report.json").read_text())
    found = Counter()
    for split in report["splits"].values():
        found.update(split["classes"])
        assert sum(split["classes"].values()) == split["pieces"]
    assert found == expected


def test_the_report_counts_what_is_there(smoke):
    report = json.loads((smoke / "report.json").read_text())
    assert report["tag_table"] == table_key()
    documents = list(generated_documents(300, SMOKE.seed))
    totals = Counter()
    for name, split in report["splits"].items():
        totals.update({key: split[key] for key in ("documents", "sentences", "words", "tokens")})
        instances = rows(smoke, name)
        assert split["instances"] == len(instances)
        assert split["random_next"] == int(instances["next_sentence_label"][:].sum())
        assert split["instance_pieces"] == sum(len(row["input_ids"]) for row in instances)
        assert split["unknown"] == split["unaligned"] == split["straddling"] == 0
        assert sum(split["class_shares"].values()) == pytest.approx(1)
    sentences = [sentence for document in documents for sentence in document.sentences]
    assert totals == {
        "documents": len(documents),
        "sentences": len(sentences),
        "words": sum(len(sentence.text.split()) for sentence in sentences),
        "tokens": sum(len(sentence.tags) for sentence in sentences),
    }


def test_the_record_has_all_that_went_in(tiny):
    record = yaml.safe_load((tiny / "preparation.yaml").read_text())
    assert record["preparation"]["generated_documents"] == 60
    assert "processes" not in record["preparation"]
    assert record["tag_table"] == table_key()
    assert set(record["versions"]) >= {"python", "datasets", "nltk", "tokenizers"}
    assert len(record["inputs"]["grammar.yaml"]) == 64


@pytest.mark.parametrize(("processes", "block"), [(2, BLOCK), (1, 10**6)])
def test_neither_processes_nor_blocks_change_a_byte(tiny, tmp_path, processes, block):
    run(replace(TINY, processes=processes), tmp_path / "prepared", block=block)
    assert_equal_folders(tiny, tmp_path / "prepared")


@pytest.mark.parametrize("changed", [{"seed": 1}, {"sequence_length": 40}])
def test_the_configuration_changes_the_result(tiny, tmp_path, changed):
    run(replace(TINY, **changed), tmp_path / "prepared")
    with pytest.raises(AssertionError):
        assert_equal_folders(tiny, tmp_path / "prepared")


class Killed(Stages):
    """Kills its own process after so many steps of a stage, as a power cut would."""

    def __init__(self, title, steps):
        super().__init__(Console(file=io.StringIO()))
        self.title, self.left = title, steps

    @contextmanager
    def stage(self, title, unit, total=None):
        with super().stage(title, unit, total) as advance:

            def counted(amount, earlier):
                advance(amount, earlier)
                self.left -= title == self.title
                if self.left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

            yield counted


@pytest.mark.parametrize(
    ("title", "steps", "done"),
    [
        ("read train", 30, None),
        ("train WordPiece, 3 passes", 2, "read train"),
        ("tag and tokenize train", 3, "tag and tokenize train"),
        ("pair sentences of valid", 1, "pair sentences of valid"),
    ],
)
def test_a_killed_preparation_goes_on_and_gives_the_same_bytes(tiny, tmp_path, title, steps, done):
    out = tmp_path / "prepared"
    killed(TINY, out, title, steps)
    printed = run(TINY, out)
    assert_equal_folders(tiny, out)
    assert not list(tmp_path.glob(".*"))
    if done == "read train":
        assert "read train" not in printed  # the documents were there
    elif done:
        (line,) = (line for line in printed.splitlines() if line.startswith(done))
        assert "of them done before" in line


def test_blocks_that_were_done_are_not_done_again(tiny, tmp_path, monkeypatch):
    out = tmp_path / "prepared"
    annotated = []
    original = Annotator.__call__

    def counted(self, batch):
        annotated.append(len(batch["words"]))
        if sum(annotated) > 20:
            raise KeyboardInterrupt
        return original(self, batch)

    monkeypatch.setattr(Annotator, "__call__", counted)
    with pytest.raises(KeyboardInterrupt):
        run(TINY, out)
    done = sum(annotated[:-1])
    assert done > 0
    annotated[:] = []
    monkeypatch.setattr(
        Annotator, "__call__", lambda s, b: annotated.append(len(b["words"])) or original(s, b)
    )
    run(TINY, out)
    assert sum(annotated) == 60 - done
    assert_equal_folders(tiny, out)


def test_a_finished_preparation_is_left_as_it_is(tiny, monkeypatch):
    before = {name: (tiny / name).stat().st_mtime_ns for name in files(tiny)}
    monkeypatch.setattr(blocks, "map_in_blocks", None)
    assert "prepared already" in run(replace(TINY, processes=2), tiny)
    assert {name: (tiny / name).stat().st_mtime_ns for name in files(tiny)} == before


def killed(preparation, out, title, steps):
    process = multiprocessing.get_context("fork").Process(
        target=prepare,
        args=(preparation, None, out),
        kwargs={"block": BLOCK, "stages": Killed(title, steps)},
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert not out.exists()


def test_nothing_of_another_configuration_is_gone_on_with(tiny, tmp_path):
    other = replace(TINY, sequence_length=48, seed=3)
    killed(other, tmp_path / "prepared", "pair sentences of valid", 1)
    assert "done before" not in run(TINY, tmp_path / "prepared")
    assert_equal_folders(tiny, tmp_path / "prepared")


def test_a_change_of_the_text_is_noticed(tmp_path):
    data, out = tmp_path / "data", tmp_path / "prepared"
    data.mkdir()
    lines = "# text = Oh no\n1\tOh\t_\t_\tUH\t_\t_\t_\t_\t_\n2\tno\t_\t_\tDT" + "\t_" * 5
    (data / "a.conllu").write_text(f"# newdoc\n{lines}\n\n" * 9)
    options = local(train=("*",), tagger="gold")
    run(options, out, data)
    assert "prepared already" in run(options, out, data)
    (data / "a.conllu").write_text(f"# newdoc\n{lines}\n\n" * 10)
    with pytest.raises(ConfigurationError, match=r"something else \(see inputs in"):
        run(options, out, data)


def test_work_left_by_another_configuration_is_removed(tmp_path):
    leftover = tmp_path / ".prepared.partial" / "0123456789abcdef" / "file"
    leftover.parent.mkdir(parents=True)
    leftover.write_text("old")
    run(TINY, tmp_path / "prepared")
    assert not leftover.exists()


def test_an_empty_folder_may_be_given(tiny, tmp_path):
    run(TINY, tmp_path)
    assert_equal_folders(tiny, tmp_path)


@pytest.mark.parametrize("exists", [False, True])
def test_a_link_is_followed(tiny, tmp_path, exists):
    place, link = tmp_path / "disk" / "deep" / "prepared", tmp_path / "prepared"
    if exists:
        place.mkdir(parents=True)
    link.symlink_to(place)
    run(TINY, link)
    assert link.is_symlink()
    assert_equal_folders(tiny, place)
    assert [path.name for path in place.parent.iterdir()] == ["prepared"]
    assert "prepared already" in run(TINY, link)


@pytest.fixture
def no_work(monkeypatch):
    def refuse(*_):
        raise AssertionError("something was read")

    monkeypatch.setattr("experiments.bert.preparation.prepare.read_splits", refuse)


@pytest.mark.usefixtures("no_work")
def test_a_folder_that_cannot_be_replaced_is_told_before_the_work(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for out in (Path(), tmp_path / "here"):
        with pytest.raises(ConfigurationError, match="here is the current folder or"):
            run(TINY, out)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os.path, "ismount", lambda path: path == tmp_path / "here")
    with pytest.raises(ConfigurationError, match="where a file system is mounted"):
        run(TINY, tmp_path / "here")
    assert [path.name for path in tmp_path.rglob("*")] == ["here"]


@pytest.mark.usefixtures("no_work")
def test_a_link_in_a_circle_or_to_a_file_is_told_before_the_work(tmp_path):
    (tmp_path / "file").write_text("mine")
    for name in ("circle", "file"):
        (tmp_path / name[::-1]).symlink_to(name)
    (tmp_path / "circle").symlink_to("elcric")
    for name in ("circle", "elif"):
        with pytest.raises(ConfigurationError, match=r"cannot be followed|is no folder"):
            run(TINY, tmp_path / name)
    assert len(list(tmp_path.iterdir())) == 4


def test_a_finished_preparation_may_be_the_current_folder(tiny, monkeypatch):
    monkeypatch.chdir(tiny)
    assert "prepared already" in run(TINY, Path())


def test_a_folder_with_something_else_is_refused_and_kept(tiny, tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="holds something else; choose another folder"):
        run(TINY, tmp_path)
    with pytest.raises(ConfigurationError, match="is no folder"):
        run(TINY, tmp_path / "thesis.txt")
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    with pytest.raises(ConfigurationError, match="cannot write beside"):
        run(TINY, tmp_path / "thesis.txt" / "prepared")
    with pytest.raises(ConfigurationError, match=r"something else \(see preparation in"):
        run(replace(TINY, seed=5), tiny)


def local(**options):
    return Preparation(
        **{"train": ("a.txt",), "vocabulary_size": 90, "sequence_length": 16, **options}
    )


@pytest.mark.usefixtures("nltk_models")
@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"One .\n\nTwo .\n\n\xff\n", {}, r"a.txt, line 5: byte 0xff"),
        (b"A b c .\n\n" * 9, {"vocabulary_size": 7}, r"vocabulary_size` should be at least"),
        (b"A b c .\n\n" * 9, {"vocabulary": "data"}, r"no tokenizer from"),
        (b"\x01\n\n" * 9 + b"ab .", {"held_out": 0.2}, r"with a visible character"),
    ],
)
def test_text_that_cannot_be_used_leaves_nothing_behind(
    tmp_path, monkeypatch, content, options, message
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_bytes(content)
    with pytest.raises(ConfigurationError, match=message):
        run(local(**options), tmp_path / "prepared", tmp_path / "data")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@pytest.mark.usefixtures("no_nltk_models")
def test_a_missing_tagger_is_told_before_anything_is_read(tmp_path):
    with pytest.raises(ConfigurationError, match="averaged_perceptron_tagger_eng"):
        run(local(), tmp_path / "prepared", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def excerpt(real_data, tmp_path_factory):
    """A folder with the first documents of two real texts."""
    folder = tmp_path_factory.mktemp("excerpt")
    for name in ("wikitext103.valid", "masc"):
        with lzma.open(real_data / "text" / f"{name}.txt.xz", "rt", encoding="utf-8") as file:
            documents = file.read().split("\n\n")[:6]
        (folder / f"{name}.txt").write_text("\n\n".join(documents), encoding="utf-8")
    return folder


@pytest.mark.usefixtures("nltk_models")
def test_real_text_is_prepared(excerpt, tmp_path):
    options = Preparation(train=("*.txt",), vocabulary_size=2000, held_out=0.1, processes=2)
    run(options, tmp_path / "prepared", excerpt, block=10_000)
    report = json.loads((tmp_path / "prepared" / "report.json").read_text())
    train = report["splits"]["train"]
    assert train["unaligned"] == 0
    assert 0 < train["straddling"] < 0.005 * train["pieces"]
    assert 0 < train["unknown"] < 0.02 * train["pieces"]
    assert 0.45 < train["random_next"] / train["instances"] < 0.65
    shares = train["class_shares"]
    assert sorted(shares, key=shares.get)[::9] == ["interjection", "noun"]
    assert 0.10 < shares["other"] < 0.18
    assert train["instance_pieces"] > 100 * train["instances"]


def annotated(tokenizer, *sentences):
    """Pieces and classes of one document."""
    row = {"sentences": [sentences], "spans": [[]], "tags": [[]], "paragraphs": [False]}
    found = Annotator(tokenizer, "nltk")({**row, "words": [0]})
    loaded = AutoTokenizer.from_pretrained(str(tokenizer))
    pieces = loaded.convert_ids_to_tokens(found["input_ids"][0].tolist())
    return pieces, [CLASSES[c] for c in found["pos"][0]], found


@pytest.mark.usefixtures("nltk_models")
def test_text_cannot_forge_special_pieces_and_unknown_ones_are_no_task(smoke):
    pieces, classes, found = annotated(
        smoke / "tokenizer", "The ship [SEP] sails [MASK] [UNK] 東 ."
    )
    special = {"[SEP]", "[MASK]", "[CLS]", "[PAD]"}
    assert not special & set(pieces)
    unknown = [n for n, piece in enumerate(pieces) if piece == "[UNK]"]
    assert len(unknown) == 4
    assert {classes[n] for n in unknown} == {"other"}
    assert found["unknown"] == [4]
    assert classes[pieces.index("ship")] == "noun"


@pytest.mark.usefixtures("nltk_models")
def test_an_unknown_piece_is_not_counted_as_straddling_too(smoke):
    # The tokens are ß and n't; the first piece, [UNK] of ßn, ends in the second.
    pieces, _, found = annotated(smoke / "tokenizer", "A ship ßn't old .")
    assert pieces[2] == "[UNK]"
    assert found["straddling"] == [0]


@pytest.mark.usefixtures("nltk_models")
def test_sentences_without_a_piece_are_left_out(smoke):
    pieces, _, found = annotated(smoke / "tokenizer", "A ship .", "\x01", "A fox .")
    assert pieces == ["a", "ship", ".", "a", "fox", "."]
    assert found["lengths"] == [[3, 3]]
    assert found["sentences"] == [2]
    assert found["words"] == [7]
    assert annotated(smoke / "tokenizer", "\x01")[0] == []


@pytest.mark.usefixtures("nltk_models")
def test_paragraphs_are_split_where_they_are_annotated(smoke):
    row = {"sentences": [["A ship sails. A fox hides."]], "spans": [[]], "tags": [[]]}
    found = Annotator(smoke / "tokenizer", "nltk")({**row, "paragraphs": [True], "words": [6]})
    assert found["lengths"] == [[4, 4]]


@pytest.mark.usefixtures("nltk_models")
def test_articles_of_the_hub_are_prepared(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    articles = [
        "Title\n\n" + " ".join(sentence.text for sentence in document.sentences) + "\n\nReferences"
        for document in generated_documents(60, seed=0)
    ]
    (tmp_path / "wiki" / "en").mkdir(parents=True)
    (tmp_path / "wiki" / "README.md").write_text(
        "---\nconfigs:\n- config_name: en\n  data_files: en/*.parquet\n---\n", encoding="utf-8"
    )
    rows = datasets.Dataset.from_dict({"title": ["T"] * 60, "text": articles})
    rows.to_parquet(tmp_path / "wiki" / "en" / "train-00000-of-00001.parquet")
    options = replace(
        TINY, source="hub", hub=(f"{tmp_path / 'wiki'}:en@text",), tagger="nltk", processes=2
    )
    run(options, tmp_path / "prepared")
    report = json.loads((tmp_path / "prepared" / "report.json").read_text())
    found = report["splits"]
    assert [found[name]["documents"] for name in ("train", "valid", "test")] == [48, 6, 6]
    written = sum(len(document.sentences) for document in generated_documents(60, seed=0))
    # Punkt sees a new sentence at nearly every stop; title and references count as one each.
    assert sum(found[name]["sentences"] for name in found) == pytest.approx(written + 120, rel=0.02)
    assert found["train"]["class_shares"]["noun"] > 0.15


def test_a_folder_that_would_not_be_read_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match=r"--data \S+ would not be read"):
        prepare(TINY, tmp_path, tmp_path / "out", stages=quiet())
    assert list(tmp_path.iterdir()) == []


def test_the_terminal_shows_the_shares_and_where_the_report_is(tmp_path):
    out = tmp_path / "prepared"
    said = run(TINY, out)
    assert f"report in {out / 'report.md'}" in said
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    for name in CLASSES:
        (line,) = (line for line in said.splitlines() if line.startswith(f"│ {name} "))
        share = 100 * report["splits"]["train"]["class_shares"][name]
        assert f"{share:.3f} %" in line
