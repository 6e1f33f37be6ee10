"""gpu_check.py [OUT]: everything that only a GPU can confirm, on a machine that has one, Python and no Go. `make gpu-check` prepares its folder.

Each stage has a time limit, and one that fails or has no time left does not stop the next. Writes OUT/<date>-<gpu>.json and .md (default:
results beside this file), and the stages' output to OUT/log.txt. Exit code 0: every stage passed.
"""
import datetime
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
BUDGET = 585  # seconds, of all stages
WHOLE = ("rollout", "train")  # benchmarks of a whole model


def stages(out, capability):
    """Name, seconds, command, and what the output of a test must hold: one that skips, or that runs on the emulator only, has shown nothing.
    What matters most comes first."""
    kernels, retool, scratch = str(HERE / "kernels.test"), str(HERE / "retool"), tempfile.mkdtemp(prefix="retool-gpu-check-")
    try:  # the tests that run on hardware and on the emulator; the others of their file are the emulator's
        bits = "|".join((HERE / "bit_tests.txt").read_text().split())
    except OSError:
        bits = "TestGPU.*"
    tiny = ["--set", "sft.steps=100", "--set", "rl.steps=8", "--set", "eval.problems=40", "--set", "eval.samples=2"]
    plan = [
        ("conformance", 90, [kernels, "-test.v", "-test.run", "^TestHardware"], r"PASS: TestHardware\w+/bf16/\w+"),
        ("bit tests", 90, [kernels, "-test.v", "-test.run", f"^({bits})$/^hardware"], r"PASS: \w+/hardware"),
        ("peers", 110, [sys.executable, str(HERE / "peers.py"), str(HERE / "cases.json"), str(out / "peers.json"), "90"], ""),
        ("bench kernels", 90, [retool, "bench", "kernels", "--device", "gpu", "--json", str(out / "kernels.json"), "--peers", str(out / "peers.json")], ""),
        ("demo", 100, [retool, "profile", "--out", str(out / "demo"), "--", retool, "demo", "--set", "device=gpu", "--set", f"run={scratch}/run", *tiny], ""),
        *((f"bench {what}", 60, [retool, "bench", what, "--device", "gpu", "--json", str(out / f"{what}.sm80.json")], "") for what in WHOLE),
        ("model", 60, [str(HERE / "model.test"), "-test.v", "-test.run", "BF16/.*/^hardware"], r"PASS: \w+/\w+/hardware"),
        ("probes", 30, [str(HERE / "probe.test"), "-test.v", "-test.run", "^TestHardware", "-record", str(out / "probes.json")], r"PASS: TestHardware"),
        ("memcheck", 70, ["compute-sanitizer", "--tool", "memcheck", "--error-exitcode", "9", kernels, "-test.v", "-test.run", "^TestHardware", "-rapid.checks=2"], r"PASS: TestHardware\w+/bf16/\w+"),
        ("racecheck", 70, ["compute-sanitizer", "--tool", "racecheck", "--error-exitcode", "9", kernels, "-test.v", "-test.run", "^TestHardware/^(bf16|Hopper)$/^(Linear|Attention|PagedAttention)", "-rapid.checks=1"], r"PASS: TestHardware\w+/bf16/Attention"),
    ]
    if capability == "9.0":  # the kernels of Hopper: does rollout agree with training, to the bit, and how much faster is it
        plan.append(("demo, sm90a", 60, [retool, "demo", "--set", "device=gpu", "--set", "variant=sm90a", "--set", f"run={scratch}/hopper", *tiny], ""))
        plan += [(f"bench {what}, sm90a", 60, [retool, "bench", what, "--device", "gpu", "--variant", "sm90a", "--json", str(out / f"{what}.sm90a.json")], "") for what in WHOLE]
    return plan


def sentence(text):
    """The line of a stage's output that says most about why it failed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for pattern in (r"^retool: ", r"^peers: (?!left out)", r"ERROR SUMMARY: [1-9]|RACECHECK SUMMARY: [1-9]|^=+ (Error|Invalid)", r"\.go:\d+: ", r"panic:|^--- FAIL"):
        for line in lines:
            if re.search(pattern, line):
                return line
    return lines[-1] if lines else "no output"


def run(name, limit, command, proof, log):
    begin = time.monotonic()
    result = {"stage": name, "ok": False, "seconds": 0.0, "why": ""}
    program = shutil.which(command[0])
    if program is None:
        result["why"] = f"{command[0]} is not on this machine"
        return result, ""
    p = subprocess.Popen([program, *command[1:]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", cwd=HERE, start_new_session=True)
    try:
        text, _ = p.communicate(timeout=limit)
        result["ok"] = p.returncode == 0
        if not result["ok"]:
            result["why"] = f"exit code {p.returncode}: {sentence(text)}"
    except subprocess.TimeoutExpired:
        os.killpg(p.pid, 9)
        text, _ = p.communicate()
        result["why"] = f"stopped after {limit:.0f} s"
    if result["ok"] and not re.search(proof, text):
        skipped = re.search(r"^\s+\S+\.go:\d+: (.*)$", text, re.M)
        result["ok"], result["why"] = False, skipped[1] if skipped else "no test ran on a GPU"
    result["seconds"] = round(time.monotonic() - begin, 1)
    log.write(f"\n===== {name}: {' '.join(command)}\n{text}\n")
    log.flush()
    return result, text


def read(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def machine():
    out = {"driver": "no nvidia-smi", "gpu": "none", "capability": ""}
    try:
        line = subprocess.run(["nvidia-smi", "--query-gpu=name,driver_version,compute_cap,memory.total,clocks.sm,power.draw,temperature.gpu", "--format=csv,noheader"], capture_output=True, text=True, timeout=20).stdout.strip().splitlines()[0]
        out["gpu"], out["driver"], out["capability"], *rest = [x.strip() for x in line.split(",")]
        out["at_start"] = rest
    except (OSError, IndexError, subprocess.TimeoutExpired):
        pass
    return out


def table(kernels):
    """The rows of `retool bench kernels` as Markdown."""
    lines = ["| goal | op | shape | kernels | µs | p10 – p90 | rate | of floor | MHz | against |", "|---|---|---|---|---|---|---|---|---|---|"]
    for r in kernels["rows"]:
        peer = f"{r['ratio']:.2f}× {r['peer']}" if r.get("peer") else ""
        clock = f"{r['clock_mhz']:.0f}" if r["clock_mhz"] else "?"
        lines.append(f"| {r['goal']} | {r['op']} | {r['shape']} | {r['variant']} | {r['us']:.1f} | {r['us_p10']:.1f} – {r['us_p90']:.1f} | {r['value']:.4g} {r['unit']} | {100 * r['of_peak']:.1f} % | {clock} | {peer} |")
    return lines


def main():
    out = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else HERE / "results").resolve()
    out.mkdir(parents=True, exist_ok=True)
    begin = time.monotonic()
    host, results = machine(), []
    with open(out / "log.txt", "w") as log:
        for name, limit, command, proof in stages(out, host["capability"]):
            left = BUDGET - (time.monotonic() - begin)
            if left < 10:
                result = {"stage": name, "ok": False, "seconds": 0.0, "why": f"no time was left of {BUDGET} s"}
            else:
                if "--peers" in command and not os.path.exists(command[-1]):
                    command = command[:-2]  # without them the rate of matrices is the data sheet's
                result, _ = run(name, min(limit, left), command, proof, log)
            results.append(result)
            print(f"{'ok  ' if result['ok'] else 'FAIL'} {name:14} {result['seconds']:6.1f} s  {result['why']}", flush=True)

    kernels, peers, probes = read(out / "kernels.json"), read(out / "peers.json"), read(out / "probes.json")
    whole_model = [{"variant": v, **row} for v in ("sm80", "sm90a") for what in WHOLE for row in read(out / f"{what}.{v}.json") or []]
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    whole = {"date": date, "machine": host, "stages": results, "kernels": kernels, "model": whole_model, "peers": peers, "probes": probes}
    name = out / (date + "-" + (re.sub(r"[^A-Za-z0-9]+", "-", host["gpu"]).strip("-").lower() or "none"))
    name.with_suffix(".json").write_text(json.dumps(whole, indent=1) + "\n")
    lines = [f"# {host['gpu']}, driver {host['driver']}, {date}", "", "| stage | | seconds | |", "|---|---|---|---|"]
    lines += [f"| {r['stage']} | {'passed' if r['ok'] else '**failed**'} | {r['seconds']} | {r['why'].replace('|', '/')} |" for r in results]
    if kernels:
        c = kernels["ceilings"]
        lines += ["", f"Ceilings: copy {c['copy_tb_s']:.2f} TB/s, bf16 matrices {c['matrix_tflop_s']:.0f} TFLOP/s ({c['matrix_source']}). Ratios are against the fastest peer, above 1 where ours is faster.", "", *table(kernels)]
    if whole_model:
        lines += ["", "| op | shape | kernels | rate | of floor |", "|---|---|---|---|---|"]
        lines += [f"| {r['op']} | {r['shape']} | {r['variant']} | {r['value']:.4g} {r['unit']} | {100 * r['of_peak']:.1f} % |" for r in whole_model]
    if peers and peers["left_out"]:
        lines += ["", "Peers left out:", "", *["- " + x for x in peers["left_out"]]]
    name.with_suffix(".md").write_text("\n".join(lines) + "\n")
    print(f"{name}.json, {name}.md")
    sys.exit(0 if all(r["ok"] for r in results) else 1)


if __name__ == "__main__":
    main()
