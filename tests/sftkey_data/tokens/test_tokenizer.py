import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from sftkey_data.errors import SFTKeyError
from sftkey_data.extract import Reject
from sftkey_data.format.template import BUILTIN
from sftkey_data.tokens.borders import token_borders
from sftkey_data.tokens.tokenizer import OFFSET_PROBES, Encoder, load_tokenizer, tokenizer_fingerprint
from sftkey_data.tokens.tokenizer_copy import save_tokenizer

NAMES = ("qwen2.5", "gpt2", "phi-3-mini", "falcon", "cl100k")
every_tokenizer = pytest.mark.parametrize("name", NAMES)
_ENCODERS: dict[str, Encoder] = {}


def encoder_of(shared_data: Path, name: str) -> Encoder:
    if name not in _ENCODERS:
        _ENCODERS[name] = Encoder(load_tokenizer(str(shared_data / "tokenizers" / name)))
    return _ENCODERS[name]


def write_tokenizer(directory: Path, tokenizer: Tokenizer, **config: object) -> str:
    directory.mkdir(exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"))
    settings_ = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<eos>", **config}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings_))
    return str(directory)


def word_tokenizer(normalizer: object = None) -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "<eos>": 1, "4": 2}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.Fuse()
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    return tokenizer


@every_tokenizer
def test_the_offsets_of_a_real_tokenizer_pass_the_self_test(shared_data: Path, name: str) -> None:
    encoder_of(shared_data, name).check_offsets(OFFSET_PROBES)


@every_tokenizer
def test_ids_equal_those_of_the_reference(shared_data: Path, name: str) -> None:
    encoder = encoder_of(shared_data, name)
    for probe, encoded in zip(OFFSET_PROBES, encoder.encode_batch(OFFSET_PROBES), strict=True):
        assert encoded.ids == encoder.tokenizer(probe)["input_ids"]


@pytest.mark.parametrize("trimming", [False, True], ids=["as-shipped", "trimming"])
def test_a_space_before_the_key_is_seen_even_where_the_tokenizer_trims_its_offsets(
    shared_data: Path, trimming: bool
) -> None:
    tokenizer = load_tokenizer(str(shared_data / "tokenizers" / "gpt2"))
    if trimming:
        tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
        assert tokenizer("#### 72", return_offsets_mapping=True)["offset_mapping"] == [(0, 4), (5, 7)]
    encoder = Encoder(tokenizer)
    completion, spans = BUILTIN["hash"].render("a", "72")
    borders = token_borders(encoder.encode_batch([f"Q\n{completion}"])[0], 2, spans)
    assert borders.straddle == 1
    assert borders.key_token_end - borders.key_token_start == 1


@every_tokenizer
def test_the_default_template_keeps_tokens_off_the_start_of_the_key(shared_data: Path, name: str) -> None:
    encoder = encoder_of(shared_data, name)
    for key in ("72", "-5", "1,234", "\\frac{1}{2}", "(C)", "yes", "½"):
        completion, spans = BUILTIN["sftkey"].render("so it is", key)
        encoded = encoder.encode_batch([f"Q?\n{completion}"])[0]
        borders = token_borders(encoded, 3, spans)
        assert borders.straddle & 1 == 0
        assert encoder.decode(encoded.ids[borders.key_token_start : borders.key_token_end]).strip() == key


@every_tokenizer
@given(
    prompt=st.text(min_size=1).filter(str.strip),
    cot=st.text(min_size=1),
    key=st.text(min_size=1),
    template=st.sampled_from(list(BUILTIN.values())),
)
@settings(max_examples=60, deadline=None)
def test_the_key_tokens_hold_the_key_for_any_text(
    shared_data: Path, name: str, prompt: str, cot: str, key: str, template: object
) -> None:
    encoder = encoder_of(shared_data, name)
    prompt = f"{prompt.strip()}\n"
    try:
        completion, spans = template.render(cot, key)  # type: ignore[attr-defined]
        text = prompt + completion
        text.encode()
        encoded = encoder.encode_batch([text])[0]
        borders = token_borders(encoded, len(prompt), spans)
    except (Reject, UnicodeEncodeError):
        return
    if not encoder.same_text(encoder.decode(encoded.ids), text):
        return  # falcon has no token for some control characters; a build rejects such a row
    first, last = borders.key_token_start, borders.key_token_end
    assert encoded.starts[first] <= len(prompt) + spans.key_start
    assert encoded.ends[last - 1] >= len(prompt) + spans.key_end
    assert first == 0 or encoded.ends[first - 1] <= len(prompt) + spans.key_start
    assert last == len(encoded.ids) or encoded.starts[last] >= len(prompt) + spans.key_end


def test_a_normaliser_that_joins_characters_leaves_no_gap(shared_data: Path) -> None:
    encoder = encoder_of(shared_data, "qwen2.5")
    encoded = encoder.encode_batch(["cafe\u0301 4"])[0]
    assert encoded.ends[-1] == len("cafe\u0301 4")
    assert all(end == start for end, start in zip(encoded.ends, encoded.starts[1:], strict=False))


def test_a_tokenizer_that_loses_text_fails_the_self_test(tmp_path: Path) -> None:
    path = write_tokenizer(tmp_path / "words", word_tokenizer())
    with pytest.raises(SFTKeyError, match="self-test"):
        Encoder(load_tokenizer(path)).check_offsets(OFFSET_PROBES)


@every_tokenizer
def test_a_saved_copy_has_the_same_fingerprint(shared_data: Path, tmp_path: Path, name: str) -> None:
    tokenizer = encoder_of(shared_data, name).tokenizer
    save_tokenizer(tokenizer, tmp_path, tokenizer.eos_token_id)
    assert tokenizer_fingerprint(load_tokenizer(str(tmp_path))) == tokenizer_fingerprint(tokenizer)


def test_fingerprints_tell_tokenizers_apart(shared_data: Path, tmp_path: Path) -> None:
    prints = {tokenizer_fingerprint(encoder_of(shared_data, name).tokenizer) for name in NAMES}
    plain = load_tokenizer(write_tokenizer(tmp_path / "a", word_tokenizer()))
    lower = load_tokenizer(write_tokenizer(tmp_path / "b", word_tokenizer(normalizers.Lowercase())))
    assert len(prints | {tokenizer_fingerprint(plain), tokenizer_fingerprint(lower)}) == len(NAMES) + 2


def test_a_tokenizer_that_is_not_there_names_the_nearest_folder(shared_data: Path, tmp_path: Path) -> None:
    with pytest.raises(SFTKeyError, match=r"did you mean 'qwen2\.5'"):
        load_tokenizer(str(shared_data / "tokenizers" / "qwen25"))
    with pytest.raises(SFTKeyError, match=r"holds no tokenizer\.json"):
        load_tokenizer(str(tmp_path))


def test_a_tokenizer_without_eos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SFTKeyError, match="has no EOS token"):
        load_tokenizer(write_tokenizer(tmp_path / "t", word_tokenizer(), eos_token=None))
