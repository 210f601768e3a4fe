"""A mistaken or hostile mix file is one line that names the file and the source, and leaves nothing behind."""

from pathlib import Path

import pytest

from sftkey_data.building.build import build
from sftkey_data.building.build_config import BuildConfig
from sftkey_data.building.mix import SourceConfig, sources_of
from sftkey_data.errors import SFTKeyError
from sftkey_data.registry import load_dataset

DEEP = ".".join(["a"] * 5000)
GOOD = '[[source]]\ndataset = "columns"\ninput = "rows.jsonl"\n'


@pytest.fixture
def mix(tmp_path: Path) -> Path:
    (tmp_path / "rows.jsonl").write_text('{"prompt": "q", "cot": "So.", "key": "1"}\n')
    (tmp_path / "inner.toml").write_text(GOOD)
    (tmp_path / "mine.toml").write_text('prompt = "prompt"\ncot = "cot"\nkey = "key"\n')
    return tmp_path / "mix.toml"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            f"{GOOD}wieght = 2\n",
            r"mix.toml: source 1: unknown key 'wieght' \(did you mean 'weight'\?\); known: dataset",
        ),
        (f"{GOOD}[[source]]\ninput = 'rows.jsonl'\n", "mix.toml: source 2: key 'dataset' is missing"),
        (f"{GOOD}weight = 0\n", "source 1: weight: Input should be greater than 0, found 0"),
        (f"{GOOD}weight = -1.5\n", "weight: Input should be greater than 0, found -1.5"),
        (f"{GOOD}weight = nan\n", "weight: Input should be less than or equal to 100, found nan"),
        (f"{GOOD}weight = inf\n", "weight: Input should be less than or equal to 100, found inf"),
        (f"{GOOD}weight = 1e9\n", "weight: Input should be less than or equal to 100"),
        (f"{GOOD}weight = true\n", "weight: Input should be a valid number, found True"),
        (f"{GOOD}weight = '2'\n", "weight: Input should be a valid number, found '2'"),
        (f"{GOOD}limit = 0\n", "limit: Input should be greater than or equal to 1"),
        (f"{GOOD}limit = 1.5\n", "limit: Input should be a valid integer"),
        ("[[source]]\ndataset = 'columns'\ninput = 3\n", "source 1: input: Input should be a valid tuple, found 3"),
        (f"{GOOD}input = 'b.jsonl'\n", "mix.toml: not a readable TOML file: Cannot overwrite a value"),
        (f"{GOOD}name = '../up'\n", "source 1: name: String should match pattern"),
        (f'{GOOD}name = "a\\n"\n', "source 1: name: String should match pattern"),
        (f"{GOOD}where = 'key'\n", "mix.toml: source 1: `where` 'key': expected COLUMN=VALUE"),
        (f"{GOOD}where = 'kye=1'\n", r"source 1: .*rows.jsonl: column 'kye' is missing \(did you mean 'key'\?\)"),
        (
            f"{GOOD}set = {{ promt = 'q' }}\n",
            r"source 1: columns option: unknown key 'promt' \(did you mean 'prompt'\?\)",
        ),
        (f"{GOOD}set = 3\n", "source 1: set: Input should be a valid dictionary"),
        (f"{GOOD}split = 'tran'\n", r"source 1: `split` 'tran': no such split \(did you mean 'train'\?\)"),
        ("[[source]]\ndataset = 'gsm9k'\n", r"mix.toml: source 1: unknown dataset 'gsm9k' \(did you mean 'gsm8k'\?\)"),
        ("[[source]]\ndataset = 'columns'\n", "source 1: columns has no input of its own: name .* with `input`"),
        ("[[source]]\ndataset = 'columns'\ninput = 'row.jsonl'\n", "not found: .*row.jsonl .did you mean 'rows.jsonl'"),
        ("[[source]]\ndataset = 'columns'\ninput = ''\n", "source 1: an input's name is empty"),
        ("[[source]]\ndataset = 'columns'\ninput = \"a\\u0000.jsonl\"\n", "source 1: input .* cannot be opened"),
        ("[[source]]\ndataset = './no.py'\n", "source 1: dataset file not found: .*no.py"),
        ("[[source]]\ndataset = 'inner.toml'\n", r"source 1: .*inner.toml: a mix of sources .*, expected one dataset"),
        ("[[source]]\ndataset = 'mix.toml'\n", r"source 1: .*mix.toml: a mix of sources .*, expected one dataset"),
        (
            f"{GOOD}{GOOD}",
            "mix.toml: sources 1 and 2 are both columns/train, of which ids are made: give one of them a",
        ),
        ("source = []\n", r"expected a table \[\[source\]\] for each source, found \[\]"),
        ("source = 'gsm8k'\n", r"expected a table \[\[source\]\] for each source, found 'gsm8k'"),
        ("[source]\ndataset = 'gsm8k'\n", r"expected a table \[\[source\]\] for each source, found \[source\]"),
        ("source = ['gsm8k']\n", r"expected a table \[\[source\]\] for each source, found \['gsm8k'\]"),
        (f"prompt = 'q'\n{GOOD}", r"both a mix of sources .* and a mapping \(prompt\): expected one of them"),
        (f"sed = 3\n{GOOD}", r"mix.toml: unknown key 'sed' \(did you mean 'seed'\?\); known: seed, source"),
        (f"seed = -1\n{GOOD}", "mix.toml: seed: Input should be greater than or equal to 0, found -1"),
        (f"seed = true\n{GOOD}", "mix.toml: seed: Input should be a valid integer, found True"),
        (
            GOOD.replace("source", "sources"),
            r"mix.toml: neither a mapping .* nor a mix .*: found sources \(did you mean",
        ),
        (f"{GOOD}weight.{DEEP} = 1\n", "weight: Input should be a valid number, found a table nested too deeply"),
        (f"source = [3, {{ {DEEP} = 1 }}]\n", "for each source, found a table nested too deeply"),
        (f"{GOOD}set.prompt = ['q']\n", r"source 1: set.prompt.str: Input should be a valid string, found \['q'\]"),
        ("", "mix.toml: neither a mapping .* nor a mix of sources .*: it is empty"),
        ("[[source]\n", "mix.toml: not a readable TOML file"),
    ],
)
def test_a_mistaken_mix_is_one_line_with_its_place(mix: Path, content: str, says: str) -> None:
    mix.write_text(content)
    before = sorted(path.name for path in mix.parent.iterdir())
    with pytest.raises(SFTKeyError, match=says) as raised:
        build(BuildConfig(source=str(mix)), mix.parent / "out")
    assert "\n" not in str(raised.value)
    assert sorted(path.name for path in mix.parent.iterdir()) == before


def test_a_mix_is_no_dataset(mix: Path) -> None:
    with pytest.raises(SFTKeyError, match=r"inner.toml: a mix of sources \(\[\[source\]\]\), expected one dataset"):
        load_dataset(str(mix.parent / "inner.toml"))


@pytest.mark.parametrize(
    ("weight", "shares"),
    [("1", (1.0,)), ("2", (1.0, 1.0)), ("0.3", (0.3,)), ("2.3", (1.0, 1.0, 0.3)), ("1e-7", (1e-7,))],
)
def test_a_weight_is_so_many_readings_and_a_share(mix: Path, weight: str, shares: tuple[float, ...]) -> None:
    """2.3 - 2 is 0.2999999999999998 in binary, which would draw other questions than 0.3."""
    mix.write_text(f"{GOOD}weight = {weight}\n")
    assert sources_of(BuildConfig(source=str(mix)))[0].shares == shares


def of_source(mix: Path, words: str) -> SourceConfig:
    mix.write_text(f"[[source]]\n{words}\n")
    return sources_of(BuildConfig(source=str(mix)))[0]


def test_paths_are_from_the_folder_of_the_mix_and_hub_ids_and_urls_stay(mix: Path) -> None:
    folder = mix.parent
    words = 'dataset = "mine.toml"\ninput = ["rows.jsonl", "openai/gsm8k:main", "s3://bucket/a.jsonl", "/abs/b.jsonl"]'
    found = of_source(mix, words)
    assert found.source == str(folder / "mine.toml")
    assert found.inputs == (
        str(folder / "rows.jsonl"),
        "openai/gsm8k:main",
        "s3://bucket/a.jsonl",
        "/abs/b.jsonl",
    )
    (folder / "openai" / "gsm8k").mkdir(parents=True)
    assert of_source(mix, words).inputs[1] == str(folder / "openai" / "gsm8k:main")
    assert of_source(mix, 'dataset = "gsm8k"').source == "gsm8k"


def test_options_are_as_on_the_command_line_and_files_beside_the_mix_are_found(mix: Path) -> None:
    found = of_source(mix, 'dataset = "chat"\nset = { template = "mine.toml", free_text = true, n = 3, key = "rest" }')
    assert found.options == {
        "template": str(mix.parent / "mine.toml"),
        "free_text": "true",
        "n": "3",
        "key": "rest",
    }
