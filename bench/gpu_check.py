"""Everything that only a GPU can confirm, on a machine that has one, Python and no Go. `make gpu-check` packs the folder this lies in.

  tar xzf gpu-check.tgz && python3 gpu-check/gpu_check.py --archive gpu-check-results.tgz

Stages come in the order of what they teach, each with a limit of its own, and each test of a stage is a process of its own: a failure hides
nothing. Results are on disk after every test, under OUT/<date>-<gpu>-<commit>/ (bench/results/README.md says what the files are) and in one
archive. The same command again goes on with what has no result yet; on a fresh machine, --from takes the archive of the call before:

  python3 gpu-check/gpu_check.py --from earlier/gpu-check-results.tgz --archive gpu-check-results.tgz
  python3 gpu-check/gpu_check.py --only conformance,bits --case Attention --again
  python3 gpu-check/gpu_check.py --dry-run

Exit code 0: every stage that was asked for has passed; 1: one has not, or was not run to its end.
"""
import argparse
import datetime
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
import time

import gpu_results
import gpu_stages

HERE = pathlib.Path(__file__).resolve().parent


def arguments(stages):
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
                                epilog="stages:\n" + "\n".join(f"  {s.name:18} {s.says}" for s in stages))
    p.add_argument("--out", metavar="DIR", default=str(HERE / "results"), help="where results go; default: results beside this file")
    p.add_argument("--archive", metavar="FILE", help="the results once more, as one small .tgz, written again after every stage")
    p.add_argument("--from", dest="earlier", metavar="FILE", help="an archive of an earlier call, to go on from")
    p.add_argument("--only", metavar="STAGE[,…]", help="these stages alone")
    p.add_argument("--skip", metavar="STAGE[,…]", help="not these")
    p.add_argument("--case", metavar="REGEX", help="of each stage the tests whose name has a match")
    p.add_argument("--again", action="store_true", help="also what has failed or timed out before")
    p.add_argument("--budget", metavar="SECONDS", type=float, default=560, help="of the whole call; default: 560")
    p.add_argument("--device", choices=("gpu", "emu"), default="gpu", help="emu: the emulator stands in for the hardware")
    p.add_argument("--dry-run", action="store_true", help="say what each stage would do, and do nothing")
    return p.parse_args()


def chosen(stages, only, skip):
    """The stages that were asked for; an unknown name is a sentence."""
    names = [s.name for s in stages]
    for name in ",".join(filter(None, (only, skip))).split(","):
        if name and name not in names:
            sys.exit(f"gpu_check: no stage {name}: want some of {', '.join(names)}")
    return [s for s in stages if (not only or s.name in only.split(",")) and s.name not in (skip or "").split(",")]


def smi():
    """Clocks and the like as nvidia-smi has them now; nothing is changed by asking."""
    fields = ["name", "driver_version", "pstate", "clocks.sm", "clocks.mem", "clocks.max.sm", "power.draw", "power.limit",
              "temperature.gpu", "memory.total"]
    try:
        text = subprocess.run(["nvidia-smi", "--query-gpu=" + ",".join(fields), "--format=csv,noheader"], stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, timeout=20).stdout.decode()
        return dict(zip(fields, [x.strip() for x in text.splitlines()[0].split(",")]))
    except (OSError, IndexError, subprocess.TimeoutExpired):
        return {}


def run_stage(stage, context, results, until, args):
    """Runs what of a stage has no result yet, as long as there is time. Returns the names of the tests that were asked for."""
    until = min(until, time.monotonic() + stage.limit * context.patience)
    try:
        cases = stage.cases(context)
    except gpu_stages.Skip as e:
        results.record(stage.name, "", e.status, 0, str(e))
        return [""]
    results.expect(stage.name, [c.name for c in cases])
    cases = [c for c in cases if not args.case or c.matches(args.case)]
    for case in cases:
        if results.has(stage.name, case.name, args.again):
            continue
        left = until - time.monotonic()
        if left < 1:
            break
        begin = time.monotonic()
        try:
            status, why, text = case.run(context, left)
        except Exception as e:  # a result that is not what was expected: the next test has its turn
            status, why, text = "failed", f"its result cannot be read: {type(e).__name__}: {e}", ""
        early = status == "timed out" and left < case.limit * context.patience  # the stage's time is up, not the test's
        if status == "not run" or early and results.cut(stage.name, case.name) == 1:  # a second time it has had its turn
            break
        results.record(stage.name, case.name, status, time.monotonic() - begin, why, text, case.command)
        if status in ("failed", "timed out"):
            print(f"          {stage.name}, {case.name}: {status}: {why}", flush=True)
    if not results.count(stage.name) and not args.case:
        results.record(stage.name, "", "failed", 0, "none of its tests is there")
        return [""]
    return [c.name for c in cases]


def rest(args, names):
    """The command line that runs what was left."""
    command = ["python3", sys.argv[0], "--only", ",".join(names), "--out", args.out, "--budget", f"{args.budget:g}"]
    for flag, value in (("--archive", args.archive), ("--case", args.case), ("--device", args.device if args.device != "gpu" else "")):
        command += [flag, value] if value else []
    return " ".join(map(shlex.quote, command))


def main():
    stages = gpu_stages.STAGES
    args = arguments(stages)
    wanted = chosen(stages, args.only, args.skip)
    if args.dry_run:
        for s in wanted:
            print(f"{s.name:18} at most {s.limit:3d} s: {s.says}")
        print(f"{sum(s.limit for s in wanted)} s at most, of which a call takes {args.budget:g}: the same command again goes on")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no test outlives this
    begin = time.monotonic()
    out = pathlib.Path(args.out).resolve()
    if args.earlier:
        gpu_results.unpack(args.earlier, out)
    context = gpu_stages.Context(HERE, args.device)
    try:
        results, unfit = open_results(context, out, args)
        asked = {}
        for stage in wanted:
            if unfit:
                results.record(stage.name, "", "skipped", 0, unfit)
                asked[stage.name] = [""]
            else:
                asked[stage.name] = run_stage(stage, context, results, begin + args.budget, args)
            results.save(args.archive)
            print(results.line(stage.name), flush=True)
        results.close_run(smi())
        results.save(args.archive)
    finally:
        context.close()
    print(f"{results.folder}" + (f", {args.archive}" if args.archive else ""))
    statuses = {name: {results.status(name, test) for test in tests} for name, tests in asked.items()}
    left = [name for name, found in statuses.items() if "not run" in found]
    if left:
        print(f"not run to the end: {', '.join(left)}. The rest:\n  {rest(args, left)}")
    return 0 if all(found <= {"passed", "none"} for found in statuses.values()) else 1


def open_results(context, out, args):
    """Loads every kernel, which says what machine this is, and takes or makes the results' folder. Second: why nothing can run."""
    scratch = context.scratch / "load.json"
    case = gpu_stages.load(context, scratch)
    begin = time.monotonic()
    status, why, text = case.run(context, case.limit)
    machine = gpu_results.read(scratch) or {}
    context.capability = (machine.get("info") or {}).get("Capability", 0)
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d")
    results = gpu_results.Results(out, machine.get("gpu", "none"), gpu_results.read(HERE / "build.json") or {}, date)
    context.folder = results.folder
    results.open_run(date, " ".join(map(shlex.quote, ["python3", *sys.argv])), machine, smi())
    if not machine:  # the device does not open: the sentence is everybody's
        return results, gpu_stages.plain(why)
    kept = results.folder / "load.json"
    if machine["jit_seconds"] > (gpu_results.read(kept) or {"jit_seconds": -1})["jit_seconds"]:  # later calls find the driver's cache full
        shutil.copy(str(scratch), str(kept))
    why = why or f"{machine['jit_seconds']:.1f} s of compiling"
    results.record("load", "modules", status, time.monotonic() - begin, why, text, case.command)
    return results, ""


if __name__ == "__main__":
    sys.exit(main())
