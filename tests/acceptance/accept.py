#!/usr/bin/env python3
"""The acceptance of a learned limit, by a client that shares no code with Patella: `make accept`.

Starts the engine and a sidecar that tunes itself, then
  1. confirm_limit: the limit is right, and constant limits of 1 and 128 are seen to be wrong;
  2. overload: three times the load that the limit takes, as a closed loop and as Poisson arrivals with two prompt sizes, and once
     more with a target for the time to first token. The tuned sidecar must keep p90 of each within 1.1 x target and give at least 95 %
     of the goodput of the best fixed limit, in interleaved blocks.
Exit 0 passed, 1 failed, 6 void (no two of three blocks of the reference agree within 12 %, and some block of it is better than one of the
tuned sidecar).
"""

import argparse
import asyncio
import json
import pathlib
import random
import statistics
import subprocess
import sys
import time
import urllib.parse

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "clients"))
import harness  # noqa: E402
from load_client import LoadClient, goodput, quantile, spread_of  # noqa: E402

SIZES = [(128, 64)]
TWO_SIZES = [(64, 64), (256, 64)]


def client_of(sidecar, seed):
    url = urllib.parse.urlparse(sidecar.url)
    return LoadClient(url.hostname, url.port, "smollm2", seed)


async def overload(tuned, fixed, limit, rate, args, poisson: bool, ttft_target_ms: float = float("inf")) -> int:
    """Blocks of the tuned sidecar and of each fixed limit, shuffled anew each round."""
    sidecars = {"tuned": tuned, **{f"fixed {k}": s for k, s in fixed.items()}}
    good, tpot, ttft, limits = {name: [] for name in sidecars}, [], [], []
    rng = random.Random(7)
    for round_number in range(args.repeats):
        for name in rng.sample(list(sidecars), len(sidecars)):
            client = client_of(sidecars[name], round_number)
            begin = time.monotonic()
            records = await (client.open_loop(rate, args.block_seconds, TWO_SIZES) if poisson
                             else client.closed_loop(3 * limit, args.block_seconds, SIZES))
            warm = begin + 0.25 * args.block_seconds
            good[name].append(goodput(records, args.target_ms, warm, begin + args.block_seconds, ttft_target_ms))
            if name == "tuned":
                limits.append(int(harness.status_of(tuned.admin)["limit"]))
                steady = [r for r in records if r.status == 200 and r.started >= warm]
                tpot += [r.tpot_ms for r in steady]
                ttft += [r.ttft_ms for r in steady]
    best = max((n for n in good if n != "tuned"), key=lambda n: statistics.median(good[n]))
    reference = good[best]
    spread = spread_of(reference)
    p90 = quantile(tpot, 0.9)
    share = statistics.median(t / max(1e-9, r) for t, r in zip(good["tuned"], reference))
    for name, values in good.items():
        ends = f"  limits {limits}" if name == "tuned" else ""
        print(f"  {name:10s} goodput " + " ".join(f"{v:7.1f}" for v in values) + ends)
    p90_first = quantile(ttft, 0.9)
    print(f"  tuned: p90 {p90:.1f} ms/token (target {args.target_ms}), first token {p90_first:.0f} ms (target {ttft_target_ms}), goodput {share:.1%} of the best fixed limit ({best}); "
          f"the reference repeats within ±{spread:.1%}")
    if spread > 0.12 and min(good["tuned"]) < max(reference):  # what is better in every block needs no precision
        return 6
    held = p90 <= 1.1 * args.target_ms and p90_first <= 1.1 * ttft_target_ms
    return 0 if held and share >= 0.95 else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target-ms", type=float, default=75, help="as deploy/samples/smollm2.yaml says")
    parser.add_argument("--block-seconds", type=float, default=15)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--ttft-target-ms", type=float, default=600)
    parser.add_argument("--only", choices=["confirm", "overload", "first-token"], default=None)
    args = parser.parse_args()
    harness.require_model()

    engine = harness.Engine()
    started, codes = [engine], {}

    def tuned_sidecar(**target_ms):
        latency = [{"metric": metric, "quantile": "0.90", "targetMs": ms} for metric, ms in target_ms.items()]
        sidecar = harness.Sidecar(engine, limit=0, TUNING_MODE="Auto", OBJECTIVES=json.dumps({"latency": latency}),
                                  WORKLOAD_INPUT_TOKENS="128", WORKLOAD_OUTPUT_TOKENS="64")
        started.append(sidecar)
        return sidecar

    try:
        tuned = tuned_sidecar(TimePerOutputToken=args.target_ms)
        status = harness.status_of(tuned.admin)
        limit = int(status["limit"])
        rate = 3 * max(p["tokens_per_second"] for p in status["curve"]["points"]) / 64
        print(f"learned limit {limit}, bound by {status['bound_by']}, calibration {status['calibration']}", flush=True)
        if args.only in (None, "confirm"):
            codes["a limit of at least 8"] = 0 if limit >= 8 else 1
            codes["confirm"] = subprocess.run([
                sys.executable, HERE / "confirm_limit.py", "--url", engine.url, "--limit", str(limit), "--target-ms", str(args.target_ms),
                "--block-seconds", str(args.block_seconds), "--repeats", str(args.repeats), "--self-test"]).returncode
        fixed = {}
        if args.only != "confirm":
            fixed = {k: harness.Sidecar(engine, limit=k) for k in sorted({max(1, round(0.7 * limit)), limit, round(1.3 * limit)})}
            started += fixed.values()
        if args.only in (None, "overload"):
            for name, poisson in (("closed loop", False), ("Poisson, two prompt sizes", True)):
                print(f"3x overload, {name}", flush=True)
                codes[name] = asyncio.run(overload(tuned, fixed, limit, rate, args, poisson))
        if args.only in (None, "first-token"):
            print("3x overload, closed loop, with a target for the first token too", flush=True)
            both = tuned_sidecar(TimePerOutputToken=args.target_ms, TimeToFirstToken=args.ttft_target_ms)
            codes["first token"] = asyncio.run(overload(both, fixed, limit, rate, args, False, args.ttft_target_ms))
    finally:
        for process in reversed(started):
            process.stop()
    for name, code in codes.items():
        print(f"{name}: { {0: 'passed', 6: 'void'}.get(code, 'FAILED')}")
    return max(codes.values(), key=lambda c: (c == 1, c))


if __name__ == "__main__":
    sys.exit(main())
