#!/usr/bin/env python3
"""Patella's engine against llama.cpp's server: the same model file, two threads each, the same client, interleaved
blocks (`make bench-engine`).

Prints the median tokens/s of each at each number of requests at once, and the median of the paired ratios. The server
whose turn it is not is stopped (SIGSTOP), so that neither pays for the other.
"""

import argparse
import asyncio
import math
import pathlib
import platform
import signal
import statistics
import sys
import time
import urllib.parse

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "clients"), str(HERE.parent / "acceptance")]
import harness  # noqa: E402
from load_client import LoadClient, goodput  # noqa: E402
from test_llamacpp import LlamaCpp  # noqa: E402


def block(server, concurrency, args) -> float:
    url = urllib.parse.urlparse(server.url)
    client = LoadClient(url.hostname, url.port, "smollm2", seed=int(time.time()))
    server.process.send_signal(signal.SIGCONT)
    begin = time.monotonic()
    sizes = [(args.input_tokens, args.output_tokens)]
    records = asyncio.run(client.closed_loop(concurrency, args.block_seconds, sizes))
    server.process.send_signal(signal.SIGSTOP)
    for record in records:
        if record.status != 200:
            raise RuntimeError(f"{server.url} answered {record.status}:\n{server.log_text()[-2000:]}")
    return goodput(records, math.inf, begin + 0.25 * args.block_seconds, begin + args.block_seconds)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--concurrency", default="1,4,8,16,32")
    parser.add_argument("--input-tokens", type=int, default=128)
    parser.add_argument("--output-tokens", type=int, default=64)
    parser.add_argument("--block-seconds", type=float, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    harness.require_model()
    levels = [int(c) for c in args.concurrency.split(",")]
    ours, theirs = harness.Engine(NUM_THREADS="2"), None
    try:
        theirs = LlamaCpp(slots=max(levels))
        for server in (ours, theirs):
            server.process.send_signal(signal.SIGSTOP)
        print(f"{platform.processor() or platform.machine()}, {args.input_tokens} tokens in, {args.output_tokens} out, "
              f"medians of {args.repeats} blocks of {args.block_seconds:g} s\n"
              "at once   patella   llama.cpp   ratio (paired)")
        for c in levels:
            pairs = []
            for i in range(args.repeats):
                order = (ours, theirs) if i % 2 == 0 else (theirs, ours)
                got = {id(server): block(server, c, args) for server in order}
                pairs.append((got[id(ours)], got[id(theirs)]))
            print(f"{c:7d}  {statistics.median(p[0] for p in pairs):8.0f}  "
                  f"{statistics.median(p[1] for p in pairs):10.0f}   "
                  f"{statistics.median(a / b for a, b in pairs):5.2f}", flush=True)
    finally:
        for server in (ours, theirs):
            if server is not None:
                server.process.send_signal(signal.SIGCONT)
                server.stop()


if __name__ == "__main__":
    main()
