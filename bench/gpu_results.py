"""Where gpu_check.py keeps what it found: a folder, as JSON and Markdown, and an archive of it."""
import json
import os
import pathlib
import re
import tarfile
import time

ORDER = ("passed", "failed", "timed out", "skipped", "not run")


def read(path):
    try:
        return json.loads(pathlib.Path(path).read_text())
    except (OSError, ValueError):
        return None


def replace(path, text):
    """Writes a file whole or not at all."""
    aside = path.with_name(path.name + ".new")
    with open(str(aside), "w", encoding="utf-8") as f:
        f.write(text)
        f.flush()
        os.fsync(f.fileno())
    os.replace(str(aside), str(path))


def unpack(archive, out):
    out.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            if member.isfile() and ".." not in pathlib.PurePosixPath(member.name).parts and not member.name.startswith("/"):
                tar.extract(member, str(out))


class Results:
    """A folder OUT/<date>-<gpu>-<commit>: that of an earlier call if GPU and build are the same, else a new one."""

    def __init__(self, out, gpu, build, date):
        self.begin = time.monotonic()
        self.build, self.data = build, {"build": build, "runs": [], "stages": {}}
        slug = re.sub(r"[^A-Za-z0-9]+", "-", gpu).strip("-").lower()
        commit = build.get("commit", "unknown")
        for path in sorted(out.glob(f"*-{slug}-{commit}*/results.json"), reverse=True):
            found = read(path)
            if found and found["build"] == build:
                self.folder, self.data = path.parent, found
                return
        name, n = f"{date}-{slug}-{commit}", 1
        while (out / (name if n == 1 else f"{name}-{n}")).exists():
            n += 1
        self.folder = out / (name if n == 1 else f"{name}-{n}")
        self.folder.mkdir(parents=True)

    def open_run(self, date, command, machine, smi):
        info = machine.get("info") or {}
        self.data["runs"].append({
            "date": date, "command": command, "gpu": machine.get("gpu", "none"), "cuda": machine.get("driver", ""),
            "driver": smi.get("driver_version") or machine.get("driver", ""), "capability": info.get("Capability", 0),
            "multiprocessors": info.get("Multiprocessors", 0),
            "jit_seconds": machine.get("jit_seconds", 0), "at_start": smi, "seconds": 0})
        self.save()

    def close_run(self, smi):
        self.data["runs"][-1]["at_end"] = smi

    def tests(self, stage):
        return self.data["stages"].setdefault(stage, {"tests": {}})["tests"]

    def has(self, stage, name, again=False):
        status = self.tests(stage).get(name, {}).get("status")
        return status in (("passed", "none") if again else ("passed", "none", "failed", "timed out"))

    def record(self, stage, name, status, seconds, why, text="", command=()):
        tests = self.tests(stage)
        if name:
            tests.pop("", None)
        tests[name] = {"status": status, "seconds": round(seconds, 1), "why": why, "run": len(self.data["runs"]) - 1}
        if status in ("failed", "timed out"):
            tests[name]["command"] = " ".join(command)
            with open(str(self.folder / "log.txt"), "a", encoding="utf-8") as f:
                f.write(f"===== {stage}, {name}: {status}\n{' '.join(command)}\n{text[-6000:]}\n\n")
        self.save()

    def expect(self, stage, names):
        """The tests of a stage, before the first of them runs."""
        tests = self.tests(stage)
        if names:
            tests.pop("", None)
        for name in names:
            tests.setdefault(name, {"status": "not run", "seconds": 0.0, "why": "", "run": len(self.data["runs"]) - 1})
        self.save()

    def cut(self, stage, name):
        """How often a test was stopped before its time."""
        test = self.tests(stage)[name]
        test["cut"] = test.get("cut", 0) + 1
        self.save()
        return test["cut"]

    def status(self, stage, name):
        return self.tests(stage).get(name, {}).get("status", "not run")

    def seconds(self, stage):
        return sum(t["seconds"] for t in self.tests(stage).values())

    def count(self, stage):
        found = [t["status"] for t in self.tests(stage).values()]
        return {s: found.count(s) for s in ORDER if s in found}

    def line(self, stage):
        """A stage in a sentence."""
        tests, count = self.tests(stage), self.count(stage)
        mark = "ok  " if set(count) == {"passed"} else "FAIL" if "failed" in count or "timed out" in count else "--  "
        reasons = list(dict.fromkeys(t["why"] for t in tests.values() if t["why"] and (t["status"] != "none" or not count)))
        if "failed" in count or "timed out" in count:
            reasons = [f"{name}: {t['why']}" for name, t in tests.items() if t["status"] in ("failed", "timed out")]
        said = ", ".join(f"{n} {s}" for s, n in count.items()) or "nothing to run"
        return f"{mark} {stage:18} {self.seconds(stage):6.1f} s  {said}" + (": " + reasons[0] if reasons else "")

    def save(self, archive=None):
        self.data["runs"][-1]["seconds"] = round(time.monotonic() - self.begin, 1)
        replace(self.folder / "results.json", json.dumps(self.data, indent=1, ensure_ascii=False) + "\n")
        replace(self.folder / "results.md", markdown(self) + "\n")
        if archive:
            aside = archive + ".new"
            pathlib.Path(archive).resolve().parent.mkdir(parents=True, exist_ok=True)
            with tarfile.open(aside, "w:gz") as tar:
                tar.add(str(self.folder), self.folder.name, filter=lambda m: None if m.name.endswith(".new") else m)
            os.replace(aside, archive)


def cell(text):
    return str(text).replace("|", "\\|").replace("\n", " ")


def table(head, rows):
    def line(cells):
        return "| " + " | ".join(map(cell, cells)) + " |"
    return ["", line(head), "|" + "---|" * len(head), *map(line, rows)]


def markdown(results):
    """The same to read: runs, stages, what did not pass, every test, figures."""
    data, folder = results.data, results.folder
    run = data["runs"][-1]
    lines = [f"# {run['gpu']}, driver {run['driver']}, commit {data['build'].get('commit', 'unknown')}"]
    if run["gpu"].startswith("emulated"):
        lines += ["", "The emulator stood in for the hardware: its times mean nothing."]
    lines += table(["run", "date", "seconds", "JIT seconds", "clock at start", "clock at end", "command"], [
        [i, r["date"], r["seconds"], f"{r['jit_seconds']:.1f}", r["at_start"].get("clocks.sm", "?"),
         r.get("at_end", {}).get("clocks.sm", "?"), r["command"]] for i, r in enumerate(data["runs"])])
    lines += table(["stage", *ORDER, "seconds"], [
        [s, *(results.count(s).get(x, "") for x in ORDER), f"{results.seconds(s):.1f}"] for s in data["stages"]])
    lines += table(["stage", "test", "", "why"], [
        [s, name, t["status"], t["why"]] for s in data["stages"] for name, t in results.tests(s).items()
        if t["status"] in ("failed", "timed out", "skipped") or t["status"] == "passed" and t["why"]])
    lines += ["", "Every test:", ""]
    for stage in data["stages"]:
        for status in results.count(stage):
            names = [name or "all" for name, t in results.tests(stage).items() if t["status"] == status]
            lines.append(cell(f"- {stage}, {status}: {', '.join(names)}"))
    lines += loaded(read(folder / "load.json")) + kernels(read(folder / "kernels.json"))
    return "\n".join(lines + models(folder) + peers(read(folder / "peers.json")))


def loaded(found):
    rows = []
    for m in (found or {}).get("modules") or []:
        rows += [[m["name"], k["name"], k["registers"], k["registers_manifest"], k["local"], k.get("why", "")] for k in m["kernels"] or []
                 if k.get("why") or k["registers"] not in (0, k["registers_manifest"])]
    return ["", "Kernels whose registers or local memory are not those of the manifest, which another compiler made:",
            *table(["module", "kernel", "registers", "manifest", "local bytes", ""], rows)] if rows else []


def kernels(found):
    if not found or not found.get("rows"):
        return []
    c = found["ceilings"]
    rows = []
    for r in found["rows"]:
        clock = f"{r['clock_mhz']:.0f}" if r["clock_mhz"] else "?"
        peer = f"{r['ratio']:.2f}× {r['peer']}" if r.get("peer") else ""
        rows.append([r["goal"], r["op"], r["shape"], r["variant"], f"{r['us']:.1f}", f"{r['us_p10']:.1f} – {r['us_p90']:.1f}",
                     f"{r['value']:.4g} {r['unit']}", f"{100 * r['of_peak']:.1f} %", clock, peer])
    return ["", f"Ceilings: copy {c['copy_tb_s']:.2f} TB/s, bf16 matrices {c['matrix_tflop_s']:.0f} TFLOP/s ({c['matrix_source']}), "
            f"{c['clock_mhz']:.0f} MHz under the copy. Ratios are against the fastest peer, above 1 where ours is faster.",
            *table(["goal", "op", "shape", "kernels", "µs", "p10 – p90", "rate", "of floor", "MHz", "against"], rows),
            *(f"\n{x['op']} {x['shape']}, {x['variant']}: {x['why']}" for x in found.get("failed", []))]


def models(folder):
    rows = []
    for path in sorted(folder.glob("rollout.*.json")) + sorted(folder.glob("train.*.json")):
        variant = path.name.split(".")[1]
        for r in read(path) or []:
            difference = f"{r['max_difference']:g}" if "max_difference" in r else ""
            rows.append([r["op"], r["shape"], variant, f"{r['value']:.4g} {r['unit']}", f"{100 * r['of_peak']:.1f} %", difference])
    return table(["op", "shape", "kernels", "rate", "of floor", "|Δlogp|"], rows) if rows else []


def peers(found):
    if not found or not found.get("left_out"):
        return []
    return ["", f"Peers (PyTorch {found['torch']}) left out:", "",
            *(cell(f"- {x['op']} {x['shape']}: {x['why']}") for x in found["left_out"])]
