#!/usr/bin/env python3
"""Confirms a learned limit with a client that is not Patella's.

A limit K is right when, in interleaved and shuffled blocks at 0.7 K, K and 1.3 K against the engine alone,
  - at K the target holds: the Wilson lower bound of attainment is at least the target's quantile, and
  - at 1.3 K either the target is missed or goodput gains less than 5 % in the median round.
A limit of 1 (wastes the machine) and of 128 (breaks the target) must fail the same check; --self-test runs them too.
Where that gain decides, it must be there in every round to refute K; void (exit 6) when the rounds disagree, or when no two of three blocks at K
agree within 12 %.

  confirm_limit.py --limit 11 --target-ms 50 --url http://127.0.0.1:3000 [--self-test]
"""

import argparse
import asyncio
import random
import statistics
import sys
import time
import urllib.parse

from load_client import LoadClient, attainment, goodput, quantile, spread_of


async def block(client, concurrency, seconds, sizes, target_ms):
    begin = time.monotonic()
    records = await client.closed_loop(concurrency, seconds, sizes)
    warm = begin + 0.25 * seconds
    steady = [r for r in records if r.ended >= warm]
    return steady, goodput(records, target_ms, warm, begin + seconds)


async def check(client, limit, args) -> tuple[bool | None, str]:
    levels = sorted({max(1, round(f * limit)) for f in (0.7, 1.0)} | {max(limit + 1, round(1.3 * limit))})
    runs = {c: ([], []) for c in levels}
    rng = random.Random(limit)
    for _ in range(args.repeats):
        for c in rng.sample(levels, len(levels)):
            records, good = await block(client, c, args.block_seconds, [(args.input_tokens, args.output_tokens)], args.target_ms)
            runs[c][0].extend(records)
            runs[c][1].append(good)
    for c in levels:
        p, low, n = attainment(runs[c][0], args.target_ms)
        p90 = quantile([r.tpot_ms for r in runs[c][0] if r.status == 200], args.quantile)
        print(f"  c={c:3d}: p{100 * args.quantile:.0f} {p90:6.1f} ms/token, attainment {p:.3f} (>= {low:.3f}, n={n}), "
              f"goodput {statistics.median(runs[c][1]):7.1f} tokens/s")
    p, low, _ = attainment(runs[limit][0], args.target_ms)
    if low < args.quantile:
        return False, f"the target is not held at {limit}: attainment {p:.3f}, lower bound {low:.3f} < {args.quantile}"
    above = levels[-1]
    gains = [more / max(1e-9, here) - 1 for here, more in zip(runs[limit][1], runs[above][1])]  # by round
    gain = statistics.median(gains)
    if attainment(runs[above][0], args.target_ms)[0] < args.quantile:
        return True, f"{limit} holds the target; {above} does not"
    if min(gains) >= 0.05:
        return False, f"{above} also holds the target and gives {gain:.0%} more goodput: {limit} wastes the machine"
    if gain >= 0.05:
        return None, f"the rounds disagree: {above} gives {min(gains):.0%} to {max(gains):.0%} more goodput"
    if spread_of(runs[limit][1]) > args.max_spread:
        return None, f"goodput at the limit repeats worse than {args.max_spread:.0%}"
    return True, f"{limit} holds the target; {above} gains {gain:.0%}"


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", required=True)
    parser.add_argument("--limit", type=int, required=True)
    parser.add_argument("--target-ms", type=float, required=True)
    parser.add_argument("--quantile", type=float, default=0.90)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--input-tokens", type=int, default=128)
    parser.add_argument("--output-tokens", type=int, default=64)
    parser.add_argument("--block-seconds", type=float, default=15)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--max-spread", type=float, default=0.12)
    parser.add_argument("--self-test", action="store_true", help="limits 1 and 128 must fail")
    args = parser.parse_args()
    url = urllib.parse.urlparse(args.url)
    client = LoadClient(url.hostname, url.port, args.model, seed=1)

    print(f"limit {args.limit}, target p{100 * args.quantile:.0f} <= {args.target_ms} ms/token")
    verdict, why = await check(client, args.limit, args)
    print(f"{ {True: 'confirmed', False: 'refuted', None: 'void'}[verdict] }: {why}")
    code = {True: 0, False: 1, None: 6}[verdict]
    if args.self_test:
        for wrong in (1, 128):
            print(f"a constant limit of {wrong} must fail")
            verdict, why = await check(client, wrong, args)
            print(f"  {why}")
            code = 1 if verdict else code or (6 if verdict is None else 0)
    return code


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
