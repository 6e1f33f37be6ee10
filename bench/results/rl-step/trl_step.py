"""trl_step.py MODEL [--steps N] [--threads N]: the same step by TRL's GRPOTrainer with transformers' own generation. Prints seconds a step."""
import argparse
import os
import statistics
import tempfile
import time

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
import trl
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

SHAPES = {"d128": (128, 4, 4, 384, 512), "d256": (256, 6, 8, 768, 512)}


class Clock(TrainerCallback):
    times = []

    def on_step_begin(self, *_, **__):
        self.begin = time.perf_counter()

    def on_step_end(self, *_, **__):
        self.times.append(time.perf_counter() - self.begin)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("model", choices=SHAPES)
    p.add_argument("--steps", type=int, default=8)
    p.add_argument("--threads", type=int, default=0)
    a = p.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    c, layers, h, f, vocab = SHAPES[a.model]
    words = Tokenizer(models.WordLevel({f"w{i}": i for i in range(vocab)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tok = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="w1", eos_token="w2")
    torch.manual_seed(1)
    m = LlamaForCausalLM(LlamaConfig(hidden_size=c, num_hidden_layers=layers, num_attention_heads=h, num_key_value_heads=h, intermediate_size=f,
                                     vocab_size=vocab, max_position_embeddings=256, pad_token_id=1, eos_token_id=2, bos_token_id=None,
                                     tie_word_embeddings=False))
    data = Dataset.from_dict({"prompt": [" ".join(f"w{(37 * i + 11 * j) % (vocab - 3) + 3}" for j in range(16)) for i in range(256)]})

    def reward(completions, **_):
        return [float(hash(text) % 100) / 100 for text in completions]
    with tempfile.TemporaryDirectory() as out:
        cfg = GRPOConfig(output_dir=out, use_cpu=True, bf16=False, per_device_train_batch_size=64, num_generations=8, max_completion_length=128,
                         max_steps=a.steps, beta=0.0, temperature=1.0, top_k=0, learning_rate=1e-6, logging_steps=1000, save_strategy="no",
                         report_to="none", generation_kwargs={"min_new_tokens": 128}, gradient_checkpointing=False, disable_tqdm=True)
        t = GRPOTrainer(model=m, reward_funcs=reward, args=cfg, train_dataset=data, processing_class=tok, callbacks=[Clock()])
        t.train()
    times = sorted(Clock.times[1:])
    print(f"TRL {trl.__version__} {a.model} {torch.get_num_threads()} threads: {times[0]:.3f} s, median {statistics.median(times):.3f} of {len(times)}",
          flush=True)


main()
