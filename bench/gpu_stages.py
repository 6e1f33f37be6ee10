"""What gpu_check.py runs: its stages, their tests, and how one test is run and judged."""
import fcntl
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

CASE = 20  # seconds, of one test
NOT_HERE = 77  # exit code of peers.py without PyTorch
RAPID = ["-rapid.shrinktime=1ns", "-rapid.nofailfile"]  # a smaller example is not worth a GPU's time


class Skip(Exception):
    """Why a stage runs nothing: it cannot, or, with status none, there is nothing to run on such a device."""

    def __init__(self, why, status="skipped"):
        super().__init__(why)
        self.status = status


def scratch():
    """A folder for what a run needs no longer than itself, and the file in it that is locked as long. Those of runs that were killed go."""
    prefix = "retool-gpu-check-"
    for left in pathlib.Path(tempfile.gettempdir()).glob(prefix + "*/owner"):
        try:
            with left.open() as owner:
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(str(left.parent), ignore_errors=True)
        except OSError:
            pass
    folder = pathlib.Path(tempfile.mkdtemp(prefix=prefix))
    owner = (folder / "owner").open("w")
    fcntl.flock(owner, fcntl.LOCK_EX)
    return folder, owner


class Context:
    """Where things are, on which device, and the environment of every process."""

    def __init__(self, here, device):
        self.here, self.device, self.capability, self.folder = here, device, 0, None
        self.patience = 1 if device == "gpu" else 6  # the emulator interprets
        self.scratch, self.owner = scratch()
        cache = here / "cuda-cache"
        try:
            cache.mkdir(exist_ok=True)
            (cache / "writable").write_text("")
        except OSError:
            cache = self.scratch / "cuda-cache"
            cache.mkdir()
        self.env = dict(os.environ, CUDA_CACHE_PATH=str(cache), CUDA_CACHE_DISABLE="0")
        self.retool, self.kernels, self.model = (str(here / x) for x in ("retool", "kernels.test", "model.test"))

    def close(self):
        shutil.rmtree(str(self.scratch), ignore_errors=True)

    def output(self, *command):
        """What a short command says, for lists of tests."""
        return execute(command, self, CASE * self.patience)[1]


def execute(command, context, limit, quiet=None):
    """Runs a command in a process group of its own, which is killed after limit seconds, or after it has said nothing for quiet seconds.
    Returns the exit code, or None if it was killed, and what it wrote."""
    p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=str(context.scratch),
                         env=context.env, start_new_session=True)
    lines, last = [], [time.monotonic()]

    def listen():
        for line in iter(p.stdout.readline, b""):
            lines.append(line.decode(errors="replace"))
            last[0] = time.monotonic()
    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    end, code = time.monotonic() + limit, None
    try:
        while code is None:
            try:
                code = p.wait(0.02 if time.monotonic() - last[0] < 1 else 0.2)
            except subprocess.TimeoutExpired:
                now = time.monotonic()
                if now > end or (quiet and now - last[0] > quiet):
                    break
    finally:
        kill(p)
    listener.join(2)
    return code, "".join(lines)


def kill(p):
    """Ends a process and what it left behind. One that the driver does not let go is not waited for."""
    try:
        os.killpg(p.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass
    try:
        p.wait(5)
    except subprocess.TimeoutExpired:
        pass


def plain(why):
    """A reason without what every line of the program begins with."""
    return re.sub(r"^(exit code 1: )?(retool: )?", "", why)


def sentence(text):
    """The line of an output that says most about why it failed."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for pattern in (r"^retool: ", r"^peers: (?!left out)", r"ERROR SUMMARY: [1-9]|RACECHECK SUMMARY: [1-9]|^=+ (Error|Invalid)",
                    r"\.go:\d+: (?!\[rapid\] (OK|trying|traceback))", r"^panic:|^fatal error:|^--- FAIL"):
        for line in lines:
            if re.search(pattern, line):
                return re.sub(r"^\S+\.go:\d+: ", "", line)[:400]
    return lines[-1][:400] if lines else "no output"


class Case:
    """One process and its verdict: exit code 0, and proof somewhere in what it said. absent: there may be no such test. writes: files
    of an earlier go, which make room, since retool overwrites none that is named."""

    def __init__(self, name, command, limit=CASE, proof="", note=None, absent=False, writes=()):
        self.name, self.command, self.limit = name, [str(x) for x in command], limit
        self.proof, self.note, self.absent, self.writes = proof, note, absent, [pathlib.Path(x) for x in writes]

    def matches(self, pattern):
        return re.search(pattern, self.name)

    def run(self, context, left):
        """Status, why, and the output."""
        if shutil.which(self.command[0]) is None:
            return "skipped", f"{os.path.basename(self.command[0])} is not on this machine", ""
        for path in self.writes:
            if path.exists():
                path.unlink()
        limit = min(self.limit * context.patience, left)
        code, text = execute(self.command, context, limit)
        return self.judge(code, text, limit, context)

    def judge(self, code, text, limit, context):
        if code is None:
            return "timed out", f"stopped after {limit:.0f} s: {sentence(text)}", text
        if code == NOT_HERE:
            return "skipped", sentence(text), text
        if code != 0:
            return "failed", f"exit code {code}: {sentence(text)}", text
        if self.proof and not re.search(self.proof, text, re.M):
            skipped = re.search(r"^\s*--- SKIP.*\n?\s+\S+\.go:\d+: (.*)$", text, re.M)
            if skipped:
                return "skipped", skipped.group(1), text
            return ("none", "no such test", text) if self.absent else ("failed", "it passed and ran nothing of what was asked for", text)
        return ("passed", "", text) if self.note is None else self.note(context, text)


class Resumable(Case):
    """A process that stores every result and goes on from them: a crash or a hang costs the result it was at, not those behind it."""

    def __init__(self, name, command, path, limit, quiet):
        super().__init__(name, command, limit)
        self.path, self.quiet = path, quiet

    def stored(self):
        try:
            found = json.loads(self.path.read_text())
        except (OSError, ValueError):
            return 0, []
        failed = found.get("failed", [])
        return len(found.get("rows") or []) + len(failed) + len(found.get("left_out", [])), failed

    def run(self, context, left):
        limit, text, idle = min(self.limit * context.patience, left), "", 0
        end = time.monotonic() + limit
        while idle < 2:  # a process may leave its mark only when the next one finds what it was at
            before = self.stored()[0]
            code, said = execute(self.command, context, max(end - time.monotonic(), 1), self.quiet * context.patience)
            text += said
            count, failed = self.stored()
            if code == 0:
                break
            if code == NOT_HERE:
                break
            if time.monotonic() > end - 1:
                return "not run", "", text
            idle = idle + 1 if count == before else 0
        if code == 0 and failed:
            reasons = "; ".join(f"{x['op']} {x['shape']}: {x['why']}" for x in failed)
            return "failed", f"{len(failed)} of {count} cases: {reasons}"[:600], text
        status, why, text = self.judge(code, text, limit, context)
        return status, f"{count} results" if status == "passed" else why, text


class Stage:
    def __init__(self, name, limit, says, cases):
        self.name, self.limit, self.says, self.list = name, limit, says, cases
        self.hopper = name.endswith("-sm90a")

    def cases(self, context):
        if self.hopper and context.capability != 90:
            raise Skip(f"the kernels of Hopper need sm_90, this is sm_{context.capability}", "none")
        return self.list(context, "sm90a" if self.hopper else "sm80")


# Lists of tests come from the binaries, so that none is forgotten.

def ran(text, depth):
    """Names of the tests of a depth that an output says ran; 0 is the top."""
    names = re.findall(r"^=== RUN\s+(\S+)$", text, re.M)
    return list(dict.fromkeys(n.split("/")[-1] for n in names if n.count("/") == depth))


def exactly(*names):
    return "/".join(f"^{re.escape(n)}$" for n in names)


def listed(context, binary, pattern):
    return [line for line in context.output(binary, "-test.list", pattern).splitlines() if line.startswith("Test")]


def is_hopper(name):
    return re.search("90|hopper", name, re.I) is not None


def operations(context):
    """Every operation of the device: the CPU's conformance test, which takes a tenth of a second, names them."""
    text = context.output(context.kernels, "-test.v", "-test.run", "^TestEveryOperation", "-rapid.checks=1")
    names = ran(text, 2)
    if not names:
        raise Skip(f"kernels.test names no operations: {sentence(text)}")
    return names


def suites(context, variant):
    """The conformance tests of the device and their kinds (types of number, variants of kernels): those of one variant."""
    where = "TestHardware" if context.device == "gpu" else "TestEmulated"
    for top in listed(context, context.kernels, f"^{where}.*AgreesWithItsReference$"):
        text = context.output(context.kernels, "-test.v", "-test.run", exactly(top) + "/./^-$")  # kinds, and no operation
        if not ran(text, 1):
            raise Skip(sentence(text))
        for kind in ran(text, 1):
            if is_hopper(kind) == (variant == "sm90a"):
                yield top, kind


def conformance(context, variant):
    checks = 20 if context.device == "gpu" else 1
    flags = ["-test.v", f"-rapid.checks={checks}", *RAPID]
    ops = operations(context)
    return [Case(f"{kind}/{op}", [context.kernels, "-test.run", exactly(top, kind, op), *flags], CASE, rf"^\s+--- PASS: \w+/\S+/{op} ",
                 absent=kind.startswith("f32") or "random" in kind)  # not every operation has these
            for top, kind in suites(context, variant) for op in ops]


# Names of the devices that the bit tests run on.
DEVICES = {("gpu", "sm80"): "hardware.sm80", ("gpu", "sm90a"): "hardware.sm90a",
           ("emu", "sm80"): "(sm_80|emulated)", ("emu", "sm90a"): "sm_90a"}


def bits(context, variant):
    """The bit tests of bit_tests.txt, which `make gpu-check` finds in the sources, and whatever else is for hardware alone."""
    device = DEVICES[context.device, variant]
    cases = []
    for line in (context.here / "bit_tests.txt").read_text().splitlines():
        package, test = line.split()
        where = "/./" if package == "model" else "/"  # there the device is one level down, below the model
        binary = getattr(context, package)
        cases.append(Case(test, [binary, "-test.v", "-test.run", exactly(test) + where + "^" + device], CASE,
                          rf"^\s+--- PASS: \w+/(\S+/)?{device}",
                          absent=package == "model" and (context.device, variant) == ("emu", "sm90a")))  # the model's is emulated once
    if context.device == "gpu":
        for test in listed(context, context.kernels, "^TestHardware"):
            if not test.endswith("AgreesWithItsReference") and is_hopper(test) == (variant == "sm90a"):
                cases.append(Case(test, [context.kernels, "-test.v", "-test.run", exactly(test), *RAPID], 2 * CASE, rf"^--- PASS: {test} "))
    return cases


def load(context, path):
    command = [context.retool, "bench", "load", "--device", context.device, "--json", path]
    if context.device == "emu":  # it is what it is asked to be
        command += ["--variant", "sm90a"]
    return Case("modules", command, 60, writes=[path])


def smoke(context, variant):
    ops = list(dict.fromkeys(c["op"] for c in json.loads((context.here / "cases.json").read_text())))
    command = [context.retool, "bench", "smoke", "--device", context.device, "--variant", variant, "--ops"]
    return [Case(op, [*command, f"^{op}$"], CASE, r"  ok$")
            for op in ops if op != "append kv"]  # that is part of paged attention


def probes(context, variant):
    path = context.folder / "probes.json"
    return [Case("instructions", [context.retool, "bench", "probes", "--device", context.device, "--json", path], writes=[path])]


def kernels_command(context, variant):
    command = [context.retool, "bench", "kernels", "--device", context.device, "--variant", variant]
    command += ["--resume", "--json", context.folder / "kernels.json"]
    peers = context.folder / "peers.json"
    return command + (["--peers", peers] if peers.exists() else [])


class Kernels(Resumable):
    """With the rate of matrices that the peers found, if they have by then."""

    def __init__(self, context, variant, name="kernels"):
        super().__init__(f"{name} {variant}", [], context.folder / "kernels.json", 90, 20)
        self.variant = variant

    def run(self, context, left):
        self.command = [str(x) for x in kernels_command(context, self.variant)]
        return super().run(context, left)


def peers_command(context, *flags):
    return [sys.executable, context.here / "peers.py", context.here / "cases.json", context.folder / "peers.json", *flags]


def bench_kernels(context, variant):
    cases = [Kernels(context, variant)]
    if context.device == "gpu" and variant == "sm80":
        cases.insert(0, Case("ceiling of torch.mm", peers_command(context, "--ceiling"), 40))
    return cases


def peers(context, variant):
    if context.device != "gpu":
        raise Skip("the peers run on hardware only", "none")
    both = ["sm80", "sm90a"] if context.capability == 90 else ["sm80"]
    compared = [Kernels(context, v, "compared") for v in both]  # nothing is measured again
    return [Resumable("peers", peers_command(context), context.folder / "peers.json", 110, 45), *compared]


def whole_model(what):
    def cases(context, variant):
        path = context.folder / f"{what}.{variant}.json"

        def note(context, text):
            rows = json.loads(path.read_text())
            worst = max((r["max_difference"] for r in rows if "max_difference" in r), default=0)
            return ("passed" if worst == 0 else "failed"), f"|Δlogp| {worst:g}" + ("" if worst == 0 else ", want 0"), text
        budget = "2s" if context.device == "gpu" else "1ms"  # of a row
        command = [context.retool, "bench", what, "--device", context.device, "--variant", variant, "--budget", budget, "--json", path]
        return [Case(what, command, 55, note=note, writes=[path])]
    return cases


def demo(context, variant):
    run, prefix = context.scratch / f"demo.{variant}", context.folder / f"demo.{variant}"
    sets = ["device=" + context.device, "variant=" + variant, f"run={run}"]
    recipe = ["train", "tiny"]
    if context.device == "gpu":
        recipe = ["demo"]
        sets += ["sft.steps=100", "rl.steps=8", "eval.problems=40", "eval.samples=2"]

    def note(context, text):
        steps = []
        for path in sorted(run.glob("**/metrics.jsonl")):  # of the run with the tool, and of that without
            steps += [json.loads(line) for line in path.read_text().splitlines()]
        pathlib.Path(f"{prefix}.metrics.jsonl").write_text("".join(json.dumps(m) + "\n" for m in steps))
        differences = [m["max_difference"] for m in steps if "max_difference" in m]
        worst = max(differences) if differences else float("nan")
        return ("passed" if worst == 0 else "failed"), f"|Δlogp| {worst:g} in {len(differences)} steps", text
    command = [context.retool, "profile", "--out", prefix, "--", context.retool, *recipe]
    return [Case("demo", command + [x for s in sets for x in ("--set", s)], 55, note=note,
                 writes=[f"{prefix}.csv", f"{prefix}.svg"])]


def sanitizer(tool):
    def cases(context, variant):
        wrap = ["compute-sanitizer", "--tool", tool, "--error-exitcode", "9"]
        if context.device == "emu":  # it checks by itself
            wrap = []
        flags = ["-test.v", "-rapid.checks=1", *RAPID]
        kinds = [x for v in ("sm80", "sm90a") for x in suites(context, v) if not x[1].startswith("f32")]
        ops = sorted(operations(context), key=lambda op: not re.search("Linear|Attention", op))  # the intricate ones first
        return [Case(f"{kind}/{op}", [*wrap, context.kernels, "-test.run", exactly(top, kind, op), *flags], 2 * CASE,
                     rf"^\s+--- PASS: \w+/\S+/{op} ", absent=True)
                for op in ops for top, kind in kinds]
    return cases


STAGES = [
    Stage("load", 60, "the driver compiles every kernel; local memory and block sizes are the manifest's; opens every call",
          lambda context, variant: [load(context, context.folder / "load.json")]),
    Stage("smoke", 60, "every operation once, in bf16, against the CPU", smoke),
    Stage("conformance", 120, "every operation and type of number against its float64 reference, portable kernels", conformance),
    Stage("bits", 60, "the bit tests of the numerics contract, portable kernels", bits),
    Stage("smoke-sm90a", 40, "every operation once with the kernels of Hopper", smoke),
    Stage("conformance-sm90a", 80, "every operation against its reference, kernels of Hopper", conformance),
    Stage("bits-sm90a", 60, "the bit tests, kernels of Hopper: rows of every tile size among them", bits),
    Stage("probes", 20, "what the GPU answers to single instructions, as a golden file for the emulator", probes),
    Stage("kernels", 100, "every operation at the shapes of the goals, timed, portable kernels", bench_kernels),
    Stage("kernels-sm90a", 60, "the same, kernels of Hopper", bench_kernels),
    Stage("peers", 120, "other implementations of the same cases, with PyTorch, and how ours compare", peers),
    Stage("rollout", 60, "prefill and decode of Qwen2.5-0.5B, with |Δlogp|", whole_model("rollout")),
    Stage("train", 60, "training steps of Qwen2.5-0.5B, with |Δlogp|", whole_model("train")),
    Stage("demo", 60, "cold start and reinforcement learning with Python, with |Δlogp| and the GPU's counters", demo),
    Stage("rollout-sm90a", 60, "rollout with the kernels of Hopper", whole_model("rollout")),
    Stage("train-sm90a", 60, "train with the kernels of Hopper", whole_model("train")),
    Stage("demo-sm90a", 60, "demo with the kernels of Hopper", demo),
    Stage("memcheck", 90, "compute-sanitizer: accesses out of bounds, every operation", sanitizer("memcheck")),
    Stage("racecheck", 90, "compute-sanitizer: races in shared memory, every operation", sanitizer("racecheck")),
]
