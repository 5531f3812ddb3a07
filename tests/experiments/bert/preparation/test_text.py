import gzip
import lzma
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.bert.preparation import text as text_module
from experiments.bert.preparation.text import check_no_copies, find_files, read_documents
from experiments.configuration import ConfigurationError

TEXT = "One sentence .\nAnother one .\n\n\nA second document .\n"
DOCUMENTS = [["One sentence .", "Another one ."], ["A second document ."]]


def write(path, content=TEXT):
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    if path.suffix == ".gz":
        data = gzip.compress(data)
    elif path.suffix == ".xz":
        data = lzma.compress(data)
    path.write_bytes(data)
    return path


def pack(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/").replace("_", "."), content)
    return path


def read(*files, folder):
    return list(read_documents(files, folder))


def sentences(documents):
    return [[sentence.text for sentence in document.sentences] for document in documents]


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.txt.xz", "a.gz", "a.xz"])
def test_text_plain_or_compressed_gives_the_same_documents(tmp_path, name):
    documents = read(write(tmp_path / name), folder=tmp_path)
    assert sentences(documents) == DOCUMENTS
    assert [document.name for document in documents] == [f"{name}:1", f"{name}:5"]


def test_members_of_a_zip_are_files_of_their_own_and_others_are_left_out(tmp_path):
    path = pack(tmp_path / "a.zip", b_txt="B .", a__a_txt=TEXT, readme_md="# No text")
    documents = read(path, folder=tmp_path)
    assert sentences(documents) == [*DOCUMENTS, ["B ."]]
    assert documents[-1].name == "a.zip/b.txt:1"


def test_a_document_ends_with_its_file(tmp_path):
    paths = [write(tmp_path / name, "A .\nB .") for name in ("a.txt", "b.txt")]
    assert sentences(read(*paths, folder=tmp_path)) == [["A .", "B ."], ["A .", "B ."]]


@given(st.lists(st.lists(st.sampled_from(["a b", "ü ?", "«x»"]), min_size=1), max_size=5))
def test_documents_survive_being_written_and_read(tmp_path_factory, documents):
    folder = tmp_path_factory.mktemp("text")
    content = "\n\n".join("\n".join(document) for document in documents)
    assert sentences(read(write(folder / "a.txt", content), folder=folder)) == documents


def test_windows_line_ends_byte_order_mark_and_white_space_are_no_text(tmp_path):
    path = write(tmp_path / "a.txt", b"\xef\xbb\xbf A b . \r\n\r\n \t \r\nC .\r\n")
    assert sentences(read(path, folder=tmp_path)) == [["A b ."], ["C ."]]


def test_conllu_is_known_by_its_name(tmp_path):
    word = "1\tHi\thi\tINTJ\tUH\t_\t0\troot\t_\t_\n"
    path = write(tmp_path / "a.conllu.xz", f"# text = Hi\n{word}\n")
    (document,) = read(path, folder=tmp_path)
    assert document.sentences[0].tags == ("UH",)


def test_bytes_that_are_no_utf8_are_named_with_file_line_and_value(tmp_path):
    path = write(tmp_path / "latin.txt.gz", "Fine .\nCaf\xe9 .\n".encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"latin.txt.gz, line 2: byte 0xe9 .*iconv"):
        read(path, folder=tmp_path)


@pytest.mark.parametrize("name", ["a.txt.gz", "a.txt.xz"])
@pytest.mark.parametrize("kept", [3, 20, 0.5, 0.99])
def test_a_truncated_archive_is_named(tmp_path, name, kept):
    path = write(tmp_path / name, "".join(f"Sentence {n} .\n" for n in range(3000)))
    data = path.read_bytes()
    path.write_bytes(data[: kept if kept >= 1 else int(kept * len(data))])
    with pytest.raises(ConfigurationError, match=rf"{name}: cannot be read to its end"):
        read(path, folder=tmp_path)


def test_a_damaged_zip_is_named(tmp_path):
    path = pack(tmp_path / "a.zip", a_txt="".join(f"Sentence {n} .\n" for n in range(3000)))
    data = bytearray(path.read_bytes())
    for damaged in (data[:-40], data[:200] + bytes(100) + data[300:]):
        path.write_bytes(damaged)
        with pytest.raises(ConfigurationError, match=r"a.zip: cannot be read to its end"):
            read(path, folder=tmp_path)


def test_a_zip_whose_names_are_damaged_is_named(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ü.txt", TEXT)
    path.write_bytes(path.read_bytes().replace("ü".encode(), b"\xc3\x28"))
    with pytest.raises(ConfigurationError, match=r"a\.zip: cannot be read .*UnicodeDecodeError"):
        read(path, folder=tmp_path)


def test_a_zip_without_text_is_refused(tmp_path):
    path = pack(tmp_path / "glue.zip", train_tsv="a\tb")
    with pytest.raises(ConfigurationError, match=r"glue.zip: has no member that ends in .txt"):
        read(path, folder=tmp_path)


def test_a_book_on_one_line_is_refused(tmp_path):
    path = write(tmp_path / "a.txt", "Fine .\n" + "word " * 30_000)
    with pytest.raises(ConfigurationError, match=r"a.txt, line 2: 149,999 characters"):
        read(path, folder=tmp_path)


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.txt.xz", "a.conllu", "a.zip"])
def test_a_line_without_end_is_not_read_whole(tmp_path, monkeypatch, name):
    asked = []
    content = "Fine .\n" + "word " * 1_000_000
    if name == "a.zip":
        path = pack(tmp_path / name, a_txt=content)
    else:
        path = write(tmp_path / name, content.replace("Fine .", "# Fine"))
    plain = text_module._decoded

    def recorded(stream, name):
        class Stream:
            def readline(self, size=-1):
                asked.append(size)
                return stream.readline(size)

        return plain(Stream(), name)

    monkeypatch.setattr(text_module, "_decoded", recorded)
    with pytest.raises(ConfigurationError, match=rf"{name}.*, line 2: at least 400,008 bytes"):
        read(path, folder=tmp_path)
    assert asked == [400_008] * 2


def test_the_longest_line_is_read_and_goes_on_in_no_other(tmp_path):
    longest = "\U0001f600" * 100_000  # of four bytes each
    lines = [longest, "a" * 100_000, "b", longest]
    path = write(tmp_path / "a.txt", "\ufeff" + "\r\n".join(lines))
    assert sentences(read(path, folder=tmp_path)) == [lines]


def test_the_same_content_in_two_files_is_refused_however_it_is_packed(tmp_path):
    other = write(tmp_path / "other.txt", TEXT + "More .")
    empty = [write(tmp_path / name, "") for name in ("0.txt", "1.txt.gz")]
    first = write(tmp_path / "a.txt")
    check_no_copies([other, *empty, first], tmp_path)
    copies = {"b.txt": "b.txt", "c.txt.gz": "c.txt.gz", "d.xz": "d.xz", "e.zip": "e.zip/deep/x.txt"}
    for name, shown in copies.items():
        path = tmp_path / name
        pack(path, deep__x_txt=TEXT) if path.suffix == ".zip" else write(path)
        with pytest.raises(ConfigurationError, match=f"^a.txt and {shown} have the same content"):
            check_no_copies([other, first, path], tmp_path)


def test_a_truncated_archive_is_named_where_copies_are_sought(tmp_path):
    path = write(tmp_path / "a.txt.gz")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ConfigurationError, match=r"a.txt.gz: cannot be read to its end"):
        check_no_copies([path], tmp_path)


def test_files_folders_and_patterns_are_found_in_order_and_once(tmp_path):
    for name in ("b/2.txt", "b/1.txt.xz", "b/deep/3.zip", "a.txt", "b/.hidden.txt", "b/x.md",
                 "nltk_data/words.txt", "b/nltk_data/deep/x.zip"):  # fmt: skip
        write(tmp_path / name, b"")
    found = find_files(tmp_path, ["b", "a.txt", "**/*.txt", "b/1.txt.xz"], "train")
    assert [str(path.relative_to(tmp_path)) for path in found] == [
        "b/1.txt.xz", "b/2.txt", "b/deep/3.zip", "a.txt"
    ]  # fmt: skip


def test_absolute_patterns_are_taken_as_they_are(tmp_path):
    path = write(tmp_path / "there" / "a.txt")
    for pattern in (str(path), str(tmp_path / "th*" / "*.txt"), str(tmp_path / "there")):
        assert find_files(tmp_path / "here", [pattern], "train") == (path,)


@pytest.mark.parametrize("pattern", ["no.txt", "*.xyz", "empty", "**/*.md"])
def test_a_pattern_without_files_is_named_with_its_field(tmp_path, pattern):
    (tmp_path / "empty").mkdir()
    write(tmp_path / "notes.md")
    with pytest.raises(ConfigurationError, match=r"`preparation.valid`: .* matches no text file"):
        find_files(tmp_path, [pattern], "valid")


@pytest.mark.parametrize("name", ["a.tsv", "a.tar.gz", "a.pdf"])
def test_a_file_of_an_unknown_kind_is_refused(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"should end in one of .txt, .conllu"):
        find_files(tmp_path, [name], "train")
