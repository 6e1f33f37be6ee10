"""Writes the model folders of folder_test.go: tiny random models with byte-level BPE, as save_pretrained of transformers leaves them.

    pip install torch transformers safetensors
    python make_folders.py NAME ...

Each folder of folders/ also holds golden.safetensors: the logits (T, V) after every token of a text, and as metadata that text, its ids as
the tokenizer makes them, and the greedy continuation of some ids up to a token at which the folder's files say that a text ends. The
committed folders are of torch 2.15.0, qwen2 and qwen3 with transformers 5.24.0, llama with 4.57.6.
"""

import json
import os
import shutil
import sys

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2Config,
                          Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM)

QWEN2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = QWEN2.replace(r"|\p{N}|", r"|\p{N}{1,3}|")
CHATML = ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
          "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
CORPUS = """Multiply 452 by 976, then divide by 971. What is left? What is 3 plus 4? What is the remainder of 81 divided by 7?
<code>
```python
print(452*976)
```
</code>
<interpreter>
441152</interpreter>

Now the second step.
<answer>
\\boxed{318}
</answer>
Find the greatest common divisor of 12 and 18. What is the sum of all divisors of 28? Traceback NameError: name 'x' is not defined
""" * 3


def bpe(pre, size, specials, normalizer=None, bos=None, ignore_merges=False):
    t = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    t.normalizer, t.decoder = normalizer, decoders.ByteLevel()
    t.pre_tokenizer = pre_tokenizers.Sequence([pre, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=isinstance(pre, pre_tokenizers.Digits))])
    t.train_from_iterator([CORPUS], trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
    t.add_special_tokens(specials)
    if bos:
        t.post_processor = processors.TemplateProcessing(
            single=[bos, "$A"], pair=[bos, "$A", bos, "$B:1"], special_tokens=[(bos, t.token_to_id(bos))])
    return t


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), behavior="isolated")


def wrap(t, eos, **more):
    return PreTrainedTokenizerFast(tokenizer_object=t, eos_token=eos, clean_up_tokenization_spaces=False, **more)


def qwen2():
    """Tied, bf16; three files name ends of a text."""
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    t = wrap(bpe(split(QWEN2), 380, marks, normalizers.NFC()), "<|im_end|>", pad_token="<|endoftext|>", chat_template=CHATML)
    end, begin, stop = t.convert_tokens_to_ids(marks)
    cfg = Qwen2Config(vocab_size=len(t), hidden_size=32, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48, num_hidden_layers=2,
                      max_position_embeddings=512, tie_word_embeddings=True, rope_theta=1e6, initializer_range=0.2, eos_token_id=end)
    generation = GenerationConfig(do_sample=True, temperature=0.7, top_p=0.8, eos_token_id=[begin, end], pad_token_id=end)
    return t, Qwen2ForCausalLM(cfg), generation, torch.bfloat16, "5GB", [end, begin]


def llama():
    """Untied, float32, sharded; a text begins with a token; rows of the embedding that are no token."""
    marks = ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"]
    t = wrap(bpe(split(LLAMA3), 380, marks, bos=marks[0], ignore_merges=True), marks[2], bos_token=marks[0])
    begin, end, _ = t.convert_tokens_to_ids(marks)
    cfg = LlamaConfig(vocab_size=400, hidden_size=32, num_attention_heads=4, num_key_value_heads=2, intermediate_size=48, num_hidden_layers=2,
                      max_position_embeddings=512, rope_theta=5e5, initializer_range=0.2, bos_token_id=begin, eos_token_id=end, rope_scaling={
                          "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64})
    return t, LlamaForCausalLM(cfg), GenerationConfig(bos_token_id=begin, eos_token_id=end), torch.float32, "64KB", [end]


def qwen3():
    """Heads that are wider than the model together, untied, bf16; digits alone, as SmolLM2 has them."""
    marks = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    t = wrap(bpe(pre_tokenizers.Digits(individual_digits=True), 380, marks), "<|im_end|>")
    end = t.convert_tokens_to_ids(marks[0])
    cfg = Qwen3Config(vocab_size=len(t), hidden_size=24, num_attention_heads=4, num_key_value_heads=2, head_dim=16, intermediate_size=48,
                      num_hidden_layers=2, max_position_embeddings=512, tie_word_embeddings=False, rope_theta=1e6, initializer_range=0.2, eos_token_id=end)
    return t, Qwen3ForCausalLM(cfg), None, torch.bfloat16, "5GB", [end]


@torch.no_grad()
def continuation(model, ends, tokens):
    """A prompt whose greedy continuation reaches an end that the tokenizer does not name, by choices that no rounding can turn."""
    g = torch.Generator().manual_seed(7)
    for _ in range(20):
        seq = torch.randint(tokens, (256, 5), generator=g)
        leads = []
        for _ in range(24):
            top = model(seq).logits[:, -1].topk(2)
            leads.append(top.values[:, 0] - top.values[:, 1])
            seq = torch.cat([seq, top.indices[:, :1]], 1)
        for row, lead in zip(seq.tolist(), torch.stack(leads, 1)):
            n = next((i for i in range(5, len(row)) if row[i] in ends or row[i] >= tokens), 0)
            if n > 7 and row[n] in ends and lead[:n - 4].min() > 1e-3:
                return row[:5], row[5:n + 1]
    raise SystemExit("no continuation reaches an end")


torch.set_num_threads(1)
for name in sys.argv[1:]:
    torch.manual_seed(sum(name.encode()))
    tokenizer, model, generation, dtype, shard, ends = {"qwen2": qwen2, "llama": llama, "qwen3": qwen3}[name]()
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "folders", name)
    shutil.rmtree(folder, ignore_errors=True)
    if generation is not None:
        model.generation_config = generation
    model = model.to(dtype).eval()
    model.save_pretrained(folder, max_shard_size=shard)
    tokenizer.save_pretrained(folder)
    if generation is None:
        os.remove(os.path.join(folder, "generation_config.json"))

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    text = "What is 12345 minus l'élève's 67?\n<code>\n```python\nprint(12)\n```\n</code>  模型 e\u0301"
    ids = tokenizer(text)["input_ids"]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    prompt, greedy = continuation(model, ends, len(tokenizer))
    save_file({"logits.0": logits.contiguous()}, os.path.join(folder, "golden.safetensors"), metadata={
        "text": text, "ids": json.dumps(ids), "prompt": json.dumps(prompt), "greedy": json.dumps(greedy)})
    print(name, len(tokenizer), "tokens;", len(ids), "ids; greedy", greedy, sorted(os.listdir(folder)))
