#!/usr/bin/env python3
"""Writes the token ids that the reference tokenizer gives: tests/unit/engine/text/testdata/smollm2.json and pretokenizers.json.

    python3 -m venv /tmp/golden && /tmp/golden/bin/pip install tokenizers jinja2
    /tmp/golden/bin/python tools/golden_text.py [model.gguf]

The reference is the `tokenizers` library, built from the vocabulary, merges and chat template of the GGUF file itself.
"""
import json
import os
import pathlib
import struct
import sys

import jinja2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

ROOT = pathlib.Path(__file__).resolve().parent.parent
DATA = ROOT / "tests/unit/engine/text/testdata"
CACHE = os.environ.get("PATELLA_CACHE", os.path.expanduser("~/.cache/patella"))
MODEL = os.environ.get("PATELLA_MODEL", f"{CACHE}/models/SmolLM2-135M-Instruct.Q4_1.gguf")
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")

STRINGS = [
    "", "a", " ", "  ", "   ", "\n", "\n\n", "\t", "\r\n", " \n ", "\n \n", " a", "a ", " a ", "  a  ", "a  b", "a   b c",
    "Hello, world!", "Hello World", "hello", " hello", "HELLO", "The quick brown fox jumps over the lazy dog.",
    "What is the capital of France?", "Once upon a time, in a land far away,", "I'm sure you've said we'll go; he'd agree.",
    "I'M SURE YOU'VE SAID WE'LL GO", "don't can't won't it's they're", "'s 't 're 've 'm 'll 'd", " 's", "''s", "'''", "it' s",
    "rock 'n' roll", "O'Reilly", "'S'T", "1", "12", "123", "1234", "12345678", "3.14159", "1,000,000", "a1b2c3", "1a2b", " 1",
    "  1", "1 2 3", "1  2", "x = 10", "2024-01-31", "$19.99", "100%", "0xDEADBEEF", "v1.2.3", "IPv4 127.0.0.1:8080",
    "½ ¼ ²³", "Ⅻ", "१२३", "٣٤٥", "①②", "5\n6", "1 \n", "a \n", "naïve café résumé", "Ærøskøbing", "Straße GROẞE",
    "Ünïcödé", "e\u0301 combining", "a\u0300\u0301", "Ω≈ç√∫", "Привет, мир!", "Γειά σου Κόσμε", "שלום עולם", "مرحبا بالعالم",
    "नमस्ते दुनिया", "สวัสดีชาวโลก", "你好，世界！", "こんにちは世界", "안녕하세요 세계", "漢字かな交じり文", "中文 English 混排 123",
    "日本語テスト。", "𠮷野家", "😀", "😀😃😄", "👨‍👩‍👧‍👦 family", "🇫🇷🇩🇪", "I ❤️ you", "👍🏽", "a😀b", " 😀", "➜ →", "©®™",
    "“quotes” ‘single’", "em—dash…ellipsis", "\u00a0nbsp", "a\u00a0b", "a\u2003b", "\u3000全角", "zero\u200bwidth", "\ufeffBOM",
    "\u2028line", "a\u0085b", "\u001f unit", "\x00nul", "\x7f", "tab\tseparated\tvalues", "\tindent", "\t\tx", "    four",
    "     five", "def f(x):\n    return x + 1\n", "for (int i = 0; i < n; ++i) {\n\tsum += a[i];\n}\n", "if x == 1:\n\n\n  pass",
    "#include <vector>\n\nint main() { return 0; }", "SELECT * FROM t WHERE id='5';", "<div class=\"a\">text</div>",
    "{\"key\": [1, 2.5, null, true]}", "a->b && c || !d", "x+=1;y-=2;", "/* comment */ // line", "https://example.com/a?b=c&d=e#f",
    "user@example.com", "C:\\path\\file.txt", "$HOME/.config", "---", "===", "!!!", "...", "?!?!", "***bold***", "__init__",
    "snake_case_name", "camelCaseName", "SCREAMING_CASE", "foo.bar.baz()", "(nested [brackets {here}])", "a,b;c:d",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "abababababababababab", "antidisestablishmentarianism",
    "Donaudampfschifffahrtsgesellschaft", "supercalifragilisticexpialidocious", "line one\nline two\n", "line\r\nwin\r\n",
    "end.\n\nNew paragraph.", "trailing   ", "\n\n\n   x", "a\n\n b", " \t \n x", "!\n\n", "?\r\n?", "...\n", "(\n)", "- item\n- item\n",
    "<|im_start|>", "<|im_start|>user\nHi<|im_end|>\n", "<|endoftext|>", "a<|im_end|>b", "<|im_end|><|im_end|>", "<|im_",
    "<repo_name>x", "<file_sep> y", "< |im_end|>", "<<|im_end|>>", "ſ'ſ", "mixed Русский and 中文 and العربية text", "x" * 300,
    "word " * 40, " " * 70, "\n" * 33, "€£¥₹", "√2 ≠ 1.414", "α1β2", "ﬁ ligature", "İstanbul ıI", "Ǆ ǅ ǆ", "\U0001d400 math",
]

CHATS = [
    [{"role": "user", "content": "Hello"}],
    [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
    [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}, {"role": "user", "content": " Why? \n"}],
    [{"role": "assistant", "content": "I begin."}],
    [{"role": "user", "content": "a"}, {"role": "system", "content": "late"}],
    [],
]


class Reader:
    def __init__(self, path):
        self.data = pathlib.Path(path).read_bytes()[: 64 << 20]
        self.at = 8
        _, keys = self.take("Q"), self.take("Q")
        self.metadata = {}
        for _ in range(keys):
            key = self.text()
            self.metadata[key] = self.value(self.take("I"))

    def take(self, code):
        (value,) = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize("<" + code)
        return value

    def text(self):
        size = self.take("Q")
        self.at += size
        return self.data[self.at - size : self.at].decode()

    def value(self, kind):
        if kind == 8:
            return self.text()
        if kind == 9:
            element, count = self.take("I"), self.take("Q")
            return [self.value(element) for _ in range(count)]
        return self.take(SCALARS[kind])


def reference(metadata, pattern, digits=False):
    tokens = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(m.split(" ", 1)) for m in metadata["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    steps = [pre_tokenizers.Digits(individual_digits=True)] if digits else []
    steps += [pre_tokenizers.Split(Regex(pattern), behavior="isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tokenizer.decoder = decoders.ByteLevel()
    controls = [t for t, kind in zip(tokens, metadata["tokenizer.ggml.token_type"]) if kind == 3]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in controls])
    return tokenizer


def render(source, messages, generate):
    template = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(source)
    return template.render(messages=messages, add_generation_prompt=generate, bos_token="<|im_start|>", eos_token="<|im_end|>")


def write(name, content):
    rows = {key: "[\n" + ",\n".join(json.dumps(row) for row in value) + "\n]" for key, value in content.items()}
    (DATA / name).write_text("{" + ",\n".join(f'"{key}": {text}' for key, text in rows.items()) + "}\n")


def words(pattern, digits, text):
    """The words as pre-tokenizer, without the byte spelling."""
    pieces = [pre_tokenizers.Digits(individual_digits=True)] if digits else []
    split = pre_tokenizers.Sequence(pieces + [pre_tokenizers.Split(Regex(pattern), behavior="isolated")])
    return [word for word, _ in split.pre_tokenize_str(text)]


def main():
    metadata = Reader(sys.argv[1] if len(sys.argv) > 1 else MODEL).metadata
    tokenizer = reference(metadata, GPT2, digits=True)
    chats = [{"messages": m, "generate": g, "text": render(metadata["tokenizer.chat_template"], m, g)}
             for m in CHATS for g in (False, True)]
    DATA.mkdir(parents=True, exist_ok=True)
    write("smollm2.json", {"encode": [[s, tokenizer.encode(s, add_special_tokens=False).ids] for s in STRINGS], "chats": chats})
    kinds = {"gpt-2": (GPT2, False), "smollm": (GPT2, True), "llama-bpe": (LLAMA3, False), "qwen2": (QWEN2, False)}
    write("pretokenizers.json", {kind: [words(*how, s) for s in STRINGS if s] for kind, how in kinds.items()})


if __name__ == "__main__":
    main()
