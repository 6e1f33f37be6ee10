"""Writes the files of this folder: one for each layout and each way a Parquet file may be written.

    python3 -m venv VENV && VENV/bin/pip install pyarrow==26.0.1
    VENV/bin/python trainer/data/testdata/make_fixtures.py

The rows are invented; the columns are those of the public sets. layouts_test.go says what a reader has to make of each file.
"""
import datetime
import decimal
import json
import os

import pyarrow as pa
import pyarrow.parquet as pq

HERE = os.path.dirname(os.path.abspath(__file__))
BEFORE = ("Solve the following math problem step by step. The last line of your response should be of the form Answer: $Answer "
          "(without quotes) where $Answer is the answer to the problem.\n\n")
AFTER = "\n\nRemember to put your answer on its own line after \"Answer:\"."
SUMS = [(f"What is {a} + {b}? π ≠ 3", str(a + b)) for a, b in [(2, 3), (40, 2), (7, 0), (19, 23), (500, 12)]]
MESSAGE = pa.struct([("role", pa.string()), ("content", pa.string())])


def at(name):
    return os.path.join(HERE, name)


def table(rows, schema):
    return pa.Table.from_pylist(rows, schema=pa.schema(schema))


def dapo():
    schema = [
        ("data_source", pa.string()), ("prompt", pa.list_(MESSAGE)), ("ability", pa.string()),
        ("reward_model", pa.struct([("ground_truth", pa.string()), ("style", pa.string())])),
        ("extra_info", pa.struct([("index", pa.string())])),
    ]
    rows = [{
        "data_source": "math_dapo", "prompt": [{"role": "user", "content": BEFORE + q + AFTER}], "ability": "MATH",
        "reward_model": {"ground_truth": a, "style": "rule-lighteval/MATH_v2"}, "extra_info": {"index": f"sum-{i}"},
    } for i, (q, a) in enumerate(SUMS)]
    t = table(rows, schema)
    pq.write_table(t, at("dapo.parquet"), compression="snappy")
    pq.write_table(t, at("dapo-item-zstd.parquet"), compression="zstd", use_compliant_nested_type=False)
    pq.write_table(t, at("dapo-gzip-v2.parquet"), compression="gzip", data_page_version="2.0", use_dictionary=False, row_group_size=2)
    required = [(n, k, False) if n != "prompt" else
                (n, pa.list_(pa.field("element", pa.struct([pa.field("role", pa.string(), False), pa.field("content", pa.string(), False)]), False)), False)
                for n, k in schema]
    required = pa.schema([pa.field(n, k, nullable=null) for n, k, null in required])
    pq.write_table(pa.Table.from_pylist(rows, schema=required), at("dapo-required-lz4.parquet"), compression="lz4")
    large = pa.schema([("prompt", pa.large_list(MESSAGE)), ("reward_model", pa.struct([("ground_truth", pa.large_string())]))])
    pq.write_table(pa.Table.from_pylist([{k: r[k] for k in ("prompt", "reward_model")} for r in rows], schema=large),
                   at("dapo-large-brotli.parquet"), compression="brotli")


USER = ("Solve the following problem step by step. You now have the ability to selectively write executable Python code.\n"
        "<answer>\n\\boxed{'The final answer goes here.'}\n</answer>\n\n*user question:*\nAnswer the following Math Problem and put the "
        "answer in the format of \\boxed{answer}\n\nWhat is 12 * 12?\n\n\nRemember to place the final answer in the last part using the format: \n"
        "<answer>\n\\boxed{'The final answer goes here.'}\n</answer>")


def fenced(code):
    return f"<code>\n```python\n{code}\n```\n</code>"


def retool_sft():
    forms = {
        "retool-eval": ("\n<interpreter>\n", "</interpreter>\n\n"),
        "agent-r1": ("\n<interpreter>\n", "\n</interpreter>\n"),
        "slime": ("\n\n<interpreter>\n", "\n</interpreter>\n\n"),
    }
    rows = []
    for before, after in forms.values():
        text = ("I multiply.\n" + fenced("print(12*12)") + before + "144" + after + "And once more.\n" + fenced("print(144 == 12**2)") +
                before + "True" + after + "<answer>\n\\boxed{144}\n</answer>")
        rows.append({"messages": [{"role": "user", "content": USER}, {"role": "assistant", "content": text}]})
    rows.append({"messages": [{"role": "user", "content": USER}, {"role": "assistant", "content": "In my head.\n<answer>\n\\boxed{144}\n</answer>"}]})
    rows.append({"messages": [{"role": "user", "content": USER},
                              {"role": "assistant", "content": fenced("print(1)") + "\nno result here\n<answer>\n\\boxed{144}\n</answer>"}]})
    pq.write_table(table(rows, [("messages", pa.list_(MESSAGE))]), at("retool-sft.parquet"))


def gsm8k():
    rows = [{"question": f"Ann has {a} apples and buys {b}. How many has she?",
             "answer": f"She has {a}+{b}=<<{a}+{b}={a + b}>>{a + b} apples.\n#### {a + b:,}"} for a, b in [(3, 4), (900, 200), (10, 5)]]
    pq.write_table(table(rows, [("question", pa.string()), ("answer", pa.string())]), at("gsm8k.parquet"))


def aime():
    rows = [{"ID": f"2024-I-{i}", "Problem": q, "Solution": f"We add, and get $\\boxed{{{a}}}$.", "Answer": int(a)} for i, (q, a) in enumerate(SUMS)]
    pq.write_table(table(rows, [("ID", pa.string()), ("Problem", pa.string()), ("Solution", pa.string()), ("Answer", pa.int64())]), at("aime2024.parquet"))
    with open(at("aime2025.json"), "w") as f:
        json.dump([{"id": i, "problem": q, "answer": a.zfill(3), "url": "", "year": 2025} for i, (q, a) in enumerate(SUMS)], f, ensure_ascii=False, indent=1)


def conversation(q, output, a, arguments):
    call = {"id": "call_1", "type": "function", "function": {"name": "code_interpreter", "arguments": arguments}}
    return [
        {"role": "system", "content": "You are helpful."},
        {"role": "user", "content": q},
        {"role": "assistant", "content": "I compute.", "tool_calls": [call]},
        {"role": "tool", "content": output, "tool_call_id": "call_1"},
        {"role": "assistant", "content": f"It is \\boxed{{{a}}}."},
    ]


def messages():
    rows = []
    for i, (q, a) in enumerate(SUMS):
        code = f"x = {a}\nprint(x)"
        arguments = json.dumps({"code": code}) if i % 2 else {"code": code}
        rows.append({"messages": conversation(q, a, a, arguments)})
    rows.append({"messages": [
        {"role": "user", "content": [{"type": "text", "text": "What is 6 * 7?"}]},
        {"role": "assistant", "content": "So:\n<tool_call>\n{\"name\": \"code_interpreter\", \"arguments\": {\"code\": \"print(6*7)\"}}\n</tool_call>"},
        {"role": "user", "content": "<tool_response>\n42\n</tool_response>"},
        {"role": "assistant", "content": "\\boxed{42}"}]})
    with open(at("messages.jsonl"), "w") as f:
        for r in rows:
            f.write(json.dumps(r, ensure_ascii=False) + "\n")
    call = pa.struct([("id", pa.string()), ("type", pa.string()), ("function", pa.struct([("name", pa.string()), ("arguments", pa.string())]))])
    message = pa.struct([("role", pa.string()), ("content", pa.string()), ("tool_calls", pa.list_(call)), ("tool_call_id", pa.string())])
    rows = [{"messages": conversation(q, a, a, json.dumps({"code": f"print({a})"})), "answer": a} for q, a in SUMS]
    pq.write_table(table(rows, [("messages", pa.list_(message)), ("answer", pa.string())]), at("messages.parquet"))


def plain():
    rows = [{"problem": q, "level": "Level 1", "type": "Algebra", "solution": f"Adding, we have\n\\[{a}\\] so $\\boxed{{{a}}}$."} for q, a in SUMS]
    pq.write_table(table(rows, [(k, pa.string()) for k in rows[0]]), at("math.parquet"))
    with open(at("prompt-answer.json"), "w") as f:
        json.dump([{"prompt": q, "answer": int(a)} for q, a in SUMS], f)
    rows = [{"question": q, "answer": a, "tags": [("level", "1"), ("source", q)], "scores": [1.5, None]} for q, a in SUMS]
    pq.write_table(table(rows, [("question", pa.string()), ("answer", pa.string()), ("tags", pa.map_(pa.string(), pa.string())),
                                ("scores", pa.list_(pa.float64()))]), at("map.parquet"))
    rows = [{"n": i, "statement": {"text": q}, "truths": [a], "extra": {"keyed": [("truth", a)]}} for i, (q, a) in enumerate(SUMS)]
    rows[3]["statement"] = None
    pq.write_table(table(rows, [("n", pa.int32()), ("statement", pa.struct([("text", pa.string())])), ("truths", pa.list_(pa.string())),
                                ("extra", pa.struct([("keyed", pa.map_(pa.string(), pa.string()))]))]), at("unknown.parquet"))


def types():
    """Every type a number may be written as; what has no text of its own must not be read as a number."""
    values = {
        "int8": pa.array([-3, 4], pa.int8()), "uint32": pa.array([2**32 - 1, 3], pa.uint32()), "uint64": pa.array([2**64 - 1, 3], pa.uint64()),
        "float": pa.array([0.1, 2.0], pa.float32()), "double": pa.array([0.1, 1e21], pa.float64()), "bool": pa.array([True, False]),
        "decimal": pa.array([decimal.Decimal("1.50"), decimal.Decimal("-123456.78")], pa.decimal128(9, 2)),
        "date": pa.array([datetime.date(2024, 1, 2)] * 2), "time": pa.array([datetime.time(1, 2)] * 2),
        "timestamp": pa.array([datetime.datetime(2024, 1, 2)] * 2), "bytes": pa.array([b"\xff", b"ok"]),
        "dictionary": pa.array(["x", "y"]).dictionary_encode(), "nan": pa.array([float("nan"), 1.0]),
        "list": pa.array([[2**64 - 1], None], pa.list_(pa.uint64())), "map": pa.array([[("k", 2**64 - 1)], []], pa.map_(pa.string(), pa.uint64())),
    }
    t = pa.table({"question": ["q", "r"], **values})
    pq.write_table(t, at("types.parquet"), store_decimal_as_integer=True)
    pq.write_table(t, at("types-v1.parquet"), version="1.0", use_deprecated_int96_timestamps=True)


types()
dapo()
retool_sft()
gsm8k()
aime()
messages()
plain()
