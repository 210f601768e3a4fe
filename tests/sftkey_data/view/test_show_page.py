import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from page_samples import HOSTILE, REJECTED, ROWS, prepared_folder

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.errors import SFTKeyError
from sftkey_data.prepared.manifest import read_manifest
from sftkey_data.prepared.prepared_folder import open_prepared
from sftkey_data.prepared.shards import open_shards
from sftkey_data.tokens.tokenizer import Encoder, load_tokenizer
from sftkey_data.view import examples_page
from sftkey_data.view.examples_page import page_data, write_page
from sftkey_data.view.show import show_folder, token_ends


@pytest.fixture(scope="module", params=["gpt2", "falcon", "phi-3-mini", "qwen2.5"])
def tokenized(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    name = str(shared_data / "tokenizers" / request.param)
    return prepared_folder(tmp_path_factory.mktemp("tokenized"), name)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared_folder(tmp_path_factory.mktemp("plain"), None)


def embedded(file: Path) -> dict[str, Any]:
    content = file.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', content, re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def utf16_slice(text: str, start: int, end: int) -> str:
    return text.encode("utf-16-le")[2 * start : 2 * end].decode("utf-16-le")


def test_token_widths_tile_the_text_and_the_keys_tokens_hold_the_key(tokenized: Path) -> None:
    examples = page_data(tokenized, None)["examples"]
    assert len(examples["id"]) == len(ROWS)
    for prompt, completion, widths, borders, row in zip(
        examples["prompt"], examples["completion"], examples["widths"], examples["borders"], ROWS, strict=True
    ):
        text = prompt + completion
        assert sum(widths) == len(text.encode("utf-16-le")) // 2
        assert widths[-1] == 0  # the EOS
        start, end = sum(widths[: borders[2]]), sum(widths[: borders[3]])
        assert row["k"] in utf16_slice(text, start, end)
        assert len(utf16_slice(text, start, end)) < len(row["k"]) + 3


def test_spans_count_as_a_browser_counts(tokenized: Path) -> None:
    examples = page_data(tokenized, None)["examples"]
    for completion, (cot_start, cot_end, start, end), row in zip(
        examples["completion"], examples["spans"], ROWS, strict=True
    ):
        assert utf16_slice(completion, start, end) == row["k"]
        assert utf16_slice(completion, cot_start, cot_end) == row["c"].strip()


def test_widths_are_those_of_the_decoded_tokens(tmp_path: Path, shared_data: Path) -> None:
    out = prepared_folder(tmp_path, str(shared_data / "tokenizers" / "gpt2"))
    encoder = open_prepared(out).encoder()
    assert encoder is not None
    row = open_shards(out).slice(0, 1).to_pylist()[0]
    text, start, pieces = row["prompt"] + row["completion"], 0, []
    for end in token_ends([row], encoder)[0]:
        pieces.append(text[start:end])
        start = end
    assert pieces[:-1] == [encoder.decode([token]) for token in row["input_ids"][:-1]]


def test_ids_that_are_not_those_of_the_text_are_refused(tokenized: Path) -> None:
    encoder = open_prepared(tokenized).encoder()
    row = open_shards(tokenized).slice(0, 1).to_pylist()[0]
    row["input_ids"][3] += 1
    assert encoder is not None
    with pytest.raises(SFTKeyError, match="mixed/train/0: its text encodes to other ids"):
        token_ends([row], encoder)


def test_no_text_of_the_data_ends_the_script_and_all_of_it_is_there(plain: Path, tmp_path: Path) -> None:
    written = write_page(plain, tmp_path / "page.html")
    content = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert written.bytes == len(content.encode())
    assert (written.examples, written.rejects) == (len(ROWS), len(REJECTED))
    assert content.count("<script") == content.count("</script>") == 2
    assert "<img" not in content
    data = embedded(tmp_path / "page.html")
    assert data["examples"]["prompt"][2].startswith(HOSTILE)
    assert "widths" not in data["examples"]
    assert data["unit"] == "characters"
    assert [reject["reason"] for reject in data["rejects"]] == ["empty_key", "tag_in_cot", "tag_in_cot"]
    assert "\ud800" in data["rejects"][2]["row"]
    assert data["rejects"][2]["row"].endswith("characters in all")
    assert len(data["rejects"][2]["row"]) < 21_000


def test_the_page_asks_for_nothing_from_outside(plain: Path, tmp_path: Path) -> None:
    write_page(plain, tmp_path / "page.html", num=1)
    content = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", content)
    assert "default-src 'none'" in content


def test_num_cuts_examples_and_rejects_and_keeps_the_true_counts(plain: Path) -> None:
    data = page_data(plain, 2)
    assert data["examples"]["id"] == ["mixed/train/0", "mixed/train/1"]
    assert len(data["rejects"]) == 2
    assert (data["written"], data["rejected"]) == (len(ROWS), len(REJECTED))


def test_more_text_than_a_browser_takes_is_refused(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = open_shards(plain).slice(0, 2).select(["prompt", "completion"]).nbytes
    monkeypatch.setattr(examples_page, "MAX_TEXT_BYTES", size)
    assert len(page_data(plain, 2)["examples"]["id"]) == 2
    with pytest.raises(SFTKeyError, match=r"5 examples hold .* say how many with --num"):
        page_data(plain, None)


def test_a_page_that_cannot_be_written_is_one_line(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(SFTKeyError, match=r"--html .*page\.html cannot be written: No such file"):
        write_page(plain, tmp_path / "missing" / "page.html")
    assert list(tmp_path.iterdir()) == []


def test_the_terminal_shows_the_text_between_token_borders(tokenized: Path) -> None:
    manifest = read_manifest(tokenized)
    shown = [text.plain for text in show_folder(tokenized, len(ROWS), None)]
    for text, row in zip(shown, open_shards(tokenized).to_pylist(), strict=True):
        tokens = text.split("\n", 1)[1]
        assert tokens.count("·") == len(row["input_ids"])
        written = tokens.replace("·", "").replace("↵\n", "\n").replace("⟨U+202E⟩", "\u202e")
        assert row["completion"] in written
        assert "\ufffd" not in tokens
    assert "options: 'red', " in shown[4]
    assert manifest.tokenizer is not None


def test_an_id_is_found_in_any_shard_and_a_wrong_one_is_named(plain: Path) -> None:
    assert [text.plain.split()[1] for text in show_folder(plain, 3, "mixed/train/4")] == ["mixed/train/4"]
    with pytest.raises(SFTKeyError, match=r"no example with id 'mixed/train/44' \(did you mean"):
        list(show_folder(plain, 3, "mixed/train/44"))


def test_the_shards_of_the_sample_hold_a_straddling_key(tmp_path: Path, shared_data: Path) -> None:
    out = prepared_folder(tmp_path, str(shared_data / "tokenizers" / "gpt2"), template="plain")
    bits = open_shards(out).column("straddle")
    assert isinstance(bits, pa.ChunkedArray)
    assert page_data(out, None)["examples"]["straddle"] == bits.to_pylist()


def test_a_special_token_after_the_text_takes_no_text_back(shared_data: Path) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = load_tokenizer(str(shared_data / "tokenizers" / "qwen2.5"))
    closing = tokenizer.convert_tokens_to_ids("<|im_start|>")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A <|im_start|>", special_tokens=[("<|im_start|>", closing)]
    )
    encoder = Encoder(tokenizer)
    ids = encoder.encode_batch(["a word"])[0].ids
    assert ids[-1] == closing
    row = {"id": "x", "prompt": "a ", "completion": "word", "input_ids": [*ids, encoder.eos_token_id]}
    assert token_ends([row], encoder) == [[1, 6, 6, 6]]


def sftkey_data(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sftkey_data.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_program_writes_the_page_and_says_what_it_holds(plain: Path, tmp_path: Path) -> None:
    file = str(tmp_path / "page.html")
    done = sftkey_data("show", str(plain), "--html", file, "--num", "2")
    assert done.returncode == 0, done.stderr
    size = Path(file).stat().st_size
    assert json.loads(done.stdout) == {"out": file, "examples": 2, "rejects": 2, "bytes": size}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("show", "gsm8k", "--html", "x.html"), "error: --html needs a prepared folder, and gsm8k is none\n"),
        (("show", ".", "--html", "x.html", "--id", "a"), "error: --id and --html: the page finds an id by its search"),
        (("show", ".", "--html", "x.html"), "error: .: no manifest.json"),
        (("stats", "."), "error: .: no manifest.json"),
    ],
    ids=["source", "id", "no-folder", "stats"],
)
def test_what_cannot_be_shown_is_one_line(arguments: tuple[str, ...], expected: str) -> None:
    done = sftkey_data(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(expected)
    assert done.stderr.count("\n") == 1


def test_rows_of_a_source_are_shown_as_tokens_with_their_options(tmp_path: Path, shared_data: Path) -> None:
    arguments = ("--set", "regime=choice", "--num", "1", "--tokenizer", str(shared_data / "tokenizers" / "gpt2"))
    shown = sftkey_data("show", "arithmetic", *arguments).stdout
    assert "options: '" in shown
    assert "\n<·Answer·>·" in shown
    assert "<|endoftext|>·" in shown


def test_only_the_heading_is_bold_and_no_line_begins_with_a_border(tokenized: Path) -> None:
    for text in show_folder(tokenized, len(ROWS), None):
        heading, _, shown = text.plain.partition("\n")
        assert [str(span.style) for span in text.spans if span.start == 0] == ["bold"]
        assert text.style == ""
        assert heading.startswith("── mixed/train/")
        assert not any(line.startswith("·") for line in shown.splitlines() if "endoftext" not in line)


@pytest.mark.parametrize("tokenizer", ["gpt2", None], ids=["tokens", "text"])
def test_text_of_the_data_does_not_steer_the_terminal(tmp_path: Path, shared_data: Path, tokenizer: str | None) -> None:
    row = {"question": "a\x1b[2Jb\u202ec", "answer": "d\x9be\n#### 4"}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    name = str(shared_data / "tokenizers" / tokenizer) if tokenizer else None
    config = BuildConfig(source="gsm8k", inputs=(str(tmp_path / "rows.jsonl"),), tokenizer=name)
    build(config, tmp_path / "out")
    shown = next(show_folder(tmp_path / "out", 1, None)).plain
    assert not set(shown) & {"\x1b", "\x9b", "\u202e"}
    assert ("a⟨U+001B⟩[2Jb⟨U+202E⟩c" in shown) == (tokenizer is None)


def test_the_id_of_a_rejected_row_says_where_it_stood_and_why(plain: Path) -> None:
    wanted = f"mixed/train/{len(ROWS)}"
    with pytest.raises(
        SFTKeyError, match=rf"{wanted} was rejected \(.*rows.jsonl:{len(ROWS) + 1}\): empty_key"
    ) as raised:
        list(show_folder(plain, 1, wanted))
    assert "\n" not in str(raised.value)
    with pytest.raises(SFTKeyError, match="no example with id 'mixed/train/999'"):
        list(show_folder(plain, 1, "mixed/train/999"))
