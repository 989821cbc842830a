"""Real tokenizers, small: each is trained here on a few sentences and written as a model folder."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

SENTENCES = [
    "The quick brown fox jumps over the lazy dog.",
    "Größe, Übermut und naïve Café-Gäste; 你好，世界。",
    'He said: "tokens are not words", and {"name": "x"} is JSON.',
    "im_start im_end think tool_call user assistant system",
    "🙂 emoji 👩‍👩‍👧 and numbers 1234567890.",
] * 4

CHATML = (
    "{% if tools %}<|im_start|>system\n<tools>\n{% for tool in tools %}{{ tool | tojson }}\n"
    "{% endfor %}</tools><|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{% set text = message.content or '' %}"
    "{% if message.role == 'assistant' and '</think>' in text %}"
    "{% set text = text.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "{{ text }}"
    "{% for call in message.tool_calls or [] %}<tool_call>\n{{ call.function | tojson }}\n</tool_call>"
    "{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

ADDED = [
    AddedToken("<|endoftext|>", special=True, normalized=False),
    AddedToken("<|im_start|>", special=True, normalized=False),
    AddedToken("<|im_end|>", special=True, normalized=False),
    AddedToken("<tool_call>", special=False, normalized=False),
    AddedToken("</tool_call>", special=False, normalized=False),
    AddedToken("<think>", special=False, normalized=False),
    AddedToken("</think>", special=False, normalized=False),
    AddedToken("<tools>\n", special=False, normalized=False),
    AddedToken('", "arguments": {"', special=False, normalized=False),
    AddedToken('{"name": "', special=False, normalized=False),
    AddedToken("<code>", special=False, normalized=False),
]


def byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.add_tokens(ADDED)
    return tokenizer


def _byte_tokens() -> list[str]:
    return [f"<0x{byte:02X}>" for byte in range(256)]


def llama() -> Tokenizer:
    """SentencePiece BPE with byte fallback, as Llama 2 has it: prefix by normalizer."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    trainer = trainers.BpeTrainer(vocab_size=200, show_progress=False)
    trained.train_from_iterator(SENTENCES, trainer)
    state = json.loads(trained.to_str())["model"]
    vocabulary = ["<unk>", "<s>", "</s>", *_byte_tokens(), *state["vocab"]]
    tokenizer = Tokenizer(
        models.BPE(
            vocab={token: place for place, token in enumerate(vocabulary)},
            merges=[tuple(merge) for merge in state["merges"]],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    specials = ("<unk>", "<s>", "</s>")
    tokenizer.add_tokens([AddedToken(t, special=True, normalized=False) for t in specials])
    tokenizer.add_tokens(ADDED)
    return tokenizer


def unigram() -> Tokenizer:
    """SentencePiece Unigram, whose vocabulary holds its own control tokens at no cost."""
    specials = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    chars = sorted({char for sentence in SENTENCES for char in sentence.replace(" ", "▁")} | {"▁"})
    chars += [char for char in "<>|/_\n" if char not in chars]
    pieces = [(token, 0.0) for token in specials] + [(token, -9.0) for token in _byte_tokens()]
    pieces += [(char, -5.0) for char in chars] + [("▁the", -3.0), ("▁quick", -3.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first")]
    )
    tokenizer.add_tokens([AddedToken(t, special=True, normalized=False) for t in specials])
    tokenizer.add_tokens(ADDED)
    return tokenizer


def word_piece() -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    trainer = trainers.WordPieceTrainer(
        vocab_size=200, special_tokens=["[UNK]"], show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    tokenizer.add_tokens(ADDED)
    return tokenizer


FAMILIES: dict[str, Callable[[], Tokenizer]] = {
    "byte_level": byte_level,
    "llama": llama,
    "unigram": unigram,
    "word_piece": word_piece,
}


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A model folder (tokenizer and template) for each family."""
    written = {}
    for name, build in FAMILIES.items():
        folder = tmp_path_factory.mktemp(name)
        build().save(str(folder / "tokenizer.json"))
        config = {
            "eos_token": "<|im_end|>",
            "pad_token": {"__type": "AddedToken", "content": "<|endoftext|>", "special": True},
            "clean_up_tokenization_spaces": False,
        }
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        (folder / "chat_template.jinja").write_text(CHATML)
        written[name] = folder
    embedded = Path(__file__).parents[3] / "engine" / "embedded" / "kvorum-mini"
    if (embedded / "tokenizer.json").is_file():
        written["embedded"] = embedded
    return written


@pytest.fixture(params=[*FAMILIES, "embedded"])
def folder(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    """Each model folder in turn."""
    if request.param not in folders:
        pytest.skip("the embedded model is not there")
    return folders[request.param]
