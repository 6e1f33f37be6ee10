"""Writes the fixtures of bpe_test.go: five small tokenizers, and what Hugging Face's own library makes of many texts.

    pip install tokenizers==0.23.2 && python generate.py

The vocabularies are trained here on the text below, so they carry no licence but this project's. Each tokenizer has two oracles: the
same file without added tokens, which is how text from outside is encoded, and the file as it is, which is how templates are. Where the
post-processor puts something before a text, that is stored too.
"""

import json
import random

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

assert tokenizers.__version__ == "0.23.2"

LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
DEEPSEEK = [
    r"\p{N}{1,3}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
]

CORPUS = [
    "A model reads a question, writes a little code, and waits. The interpreter's answer comes back as text; it's then the model's turn again.",
    "def divisors(n):\n    return [d for d in range(1, n + 1) if n % d == 0]\n\nprint(sum(divisors(5040)))\n",
    "We've multiplied 482 by 937; they'd expected 451634, and we'll check: 451634 / 937 = 482. I'm sure you're right, aren't you?",
    "La réponse était déjà là: l'élève a calculé 3,14 × 2² = 12,56. Où est-ce qu'on s'arrête? Größe, Straße, Übung, naïve, façade.",
    "Модель читает вопрос и пишет код. Ответ: сорок два. Αυτό είναι ένα παράδειγμα. यह एक उदाहरण है। これは例です。模型先写代码，然后等待结果。",
    "<code>\n```python\nprint(1 + 1)\n```\n</code>\n<interpreter>\n2</interpreter>\n\n<answer>\n\\boxed{2}\n</answer>\n\n\n\t\tindented   with   spaces   ",
    "SHOUTING TEXT, CamelCaseNames, snake_case_names, kebab-case; x=1;y=2; z==3 && w!=4 || !v ... ??? !!! *** --- === /// ### $$$ 100% @home",
] * 4


def build(normalizer, pre, ignore_merges, size, without=""):
    t = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    t.normalizer = normalizer
    t.pre_tokenizer = pre
    t.decoder = decoders.ByteLevel()
    t.post_processor = processors.ByteLevel(trim_offsets=False)
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=sorted(set(pre_tokenizers.ByteLevel.alphabet()) - set(without)), show_progress=False))
    return t


def split(*patterns):
    return pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(p), behavior="isolated") for p in patterns]
        + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def digits_then_gpt2():
    return pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ])


def texts(rng, added):
    yield from ["", " ", "\n", "  \n  ", "a", "'", "''s", "'S 'T 'RE 'VE 'M 'LL 'D", "'\u017f'\u017f", "it'\u017f", "'lL'Ve", "K\u212a'k"]
    yield from CORPUS[:7]
    yield from ["a" * 47, "a" * 48, "a" * 49, "ab" * 200, "=" * 100, " " * 70, "1234567890" * 8, "\n" * 60, "é" * 40, "e\u0301" * 40, "a" + "\u0301" * 40, "a" + "\u0301" * 20 + "\u0327" * 20, "the" * 60]
    spaces = [" ", "  ", "   ", "\t", "\n", "\r\n", "\r", "\v", "\f", "\x1c", "\x1f", "\x85", "\xa0", "\u2003", "\u2028", "\u2029", "\u202f", "\u3000", "\u200b", "\ufeff", "\u180e"]
    words = ["model", "Model", "the", "l'élève", "модель", "模型", "これは", "है", "x1", "n", "answer's", "code", "Größe", "straße", "I'm", "\u01c5", "\u02b0", "\u0345"]
    digits = ["0", "1", "42", "451634", "1234567", "\u0663", "\u00b2", "\u2167", "\u00bd", "\uff15", "\U0001d7d9"]
    signs = ["'", "''", "-", "_", "...", "!?", "<code>", "</code>", "```", "\\boxed{", "}", "\u2014", "\u0301", "\u0327\u0301", "\U0001f600", "\U0001f468\u200d\U0001f469", "\x00", "\x01", "\x7f", "\ufffd", "\u0e33", "$", "\u00a8", "\u212b", "\u1100\u1161\u11a8", "\uac00\u11a8", "\u0344", "\u0958", "\ufb1d"]
    tails = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'LL", "'x", "'\u017f"]
    pools = [spaces, words, digits, signs, tails, added]
    for _ in range(450):
        yield "".join(rng.choice(rng.choice(pools)) for _ in range(rng.randint(1, 9)))
    for _ in range(100):
        alphabet = [chr(c) for c in (*range(0x250), 0x300, 0x301, 0x37e, 0x1e9b, 0x2126, 0x3099, 0x304b, 0xfb2a)]
        yield "".join(rng.choice(alphabet) for _ in range(rng.randint(1, 24)))


def write(name, t, added, pairs, bos=None):
    plain = Tokenizer.from_str(t.to_str())
    t.add_special_tokens([a for a in added if a.special])
    t.add_tokens([a for a in added if not a.special])
    if bos:
        t.post_processor = processors.TemplateProcessing(single=[bos, "$A"], pair=[bos, "$A", "$B"], special_tokens=[(bos, t.token_to_id(bos))])
    f = json.loads(t.to_str())
    if not pairs:
        f["model"]["merges"] = [" ".join(m) for m in f["model"]["merges"]]
    with open(name + ".tokenizer.json", "w") as out:
        json.dump(f, out, ensure_ascii=False)
    t = Tokenizer.from_file(name + ".tokenizer.json")
    rng = random.Random(name)
    with open(name + ".cases.jsonl", "w") as out:
        for text in texts(rng, [a.content for a in added]):
            ids = plain.encode(text, add_special_tokens=False).ids
            template = t.encode(text, add_special_tokens=False).ids
            row = {"text": text, "ids": ids, "decoded": plain.decode(ids)}
            if template != ids:
                row["template"], row["shown"] = template, t.decode(template)  # decode leaves special tokens out
            begin = t.encode(text).ids
            if begin != template:
                row["begin"] = begin
            out.write(json.dumps(row) + "\n")


def marks(*contents):
    return [AddedToken(c, special=not c.startswith("<tool"), normalized=False) for c in contents]


write("qwen2", build(normalizers.NFC(), split(QWEN2), False, 700),
      marks("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool_call>", "</tool_call>", "<tool_call>x"), pairs=False)
write("llama3", build(None, split(LLAMA3), True, 700), marks("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"), pairs=True)
write("gpt2", build(None, pre_tokenizers.ByteLevel(add_prefix_space=False), False, 500), marks("<|endoftext|>"), pairs=False)
# As SmolLM2's: digits alone, and some bytes have no token: the library drops them.
write("smollm2", build(None, digits_then_gpt2(), False, 500, without="ÀÁÌÎðñòóôõöĀġĤ"), marks("<|endoftext|>", "<|im_start|>", "<|im_end|>"), pairs=False)
# As DeepSeek V3's: three Splits, an empty sequence for a normalizer, added tokens that are looked for in normalised text, and a text begins
# with a token.
write("deepseek3", build(normalizers.Sequence([]), split(*DEEPSEEK), False, 700),
      [AddedToken("<｜begin▁of▁sentence｜>", special=True, normalized=False), AddedToken("<｜end▁of▁sentence｜>", special=True, normalized=False),
       AddedToken("<｜User｜>", special=False, normalized=True), AddedToken("<|EOT|>", special=True, normalized=True), AddedToken("sentence｜><", special=False, normalized=True)],
      pairs=False, bos="<｜begin▁of▁sentence｜>")
