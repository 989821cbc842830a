"""The tokenizer: whole words that phrasings use, single characters for everything else.

A name, a list word or a noun must reach the model letter by letter, so that copying, spelling and
reversing are the same work for every word; the words of the phrasings may be one token each, which
keeps prompts short. Byte-level, so any text survives; control tokens take the last ids.
"""

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"

PRE_TOKEN = r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+"

BOILERPLATE = (
    '{"type": "function", "function": {"name": "',
    '", "description": "',
    '", "parameters": {"type": "object", "properties": {"',
    '": {"type": "string"',
    '": {"type": "integer"',
    '": {"type": "number"',
    '": {"type": "boolean"',
    ', "enum": ["',
    ', "description": "',
    '"]}, "',
    '"}, "',
    '}, "',
    '}}, "required": ["',
    '"}}, "required": ["',
    '"]}}, "required": ["',
    '"]}}}',
    ', "additionalProperties": false}}}',
    ', "strict": true}}',
    "<tools>\n",
    "</tools>",
    "<tool_call>",
    "</tool_call>",
    '{"name": "',
    '", "arguments": {"',
    '", "',
    '": "',
    '": ',
    ', "',
    '"}}',
    "}}",
    '{"answer": "',
    '{"',
    '"}',
)


def byte_level(text: str) -> str:
    """The form in which a byte-level vocabulary stores `text`."""
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return "".join(piece for piece, _ in splitter.pre_tokenize_str(text))


def build_tokenizer(words: Iterable[str], template: str) -> PreTrainedTokenizerFast:
    """A tokenizer with `words` (a leading space counts) as single tokens."""
    pieces = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces += sorted({byte_level(word) for word in words} - set(pieces))
    vocabulary = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PRE_TOKEN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in BOILERPLATE])
    tokenizer.add_special_tokens(
        [AddedToken(text, normalized=False, special=True) for text in (PAD, START, END)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        chat_template=template,
        model_max_length=2048,
        clean_up_tokenization_spaces=False,
    )


def save_tokenizer(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the tokenizer and its template, without the fields that only this machine knows."""
    tokenizer.save_pretrained(folder)
    config_path = folder / "tokenizer_config.json"
    config = json.loads(config_path.read_text())
    config.pop("is_local", None)
    config.pop("backend", None)
    config_path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")
