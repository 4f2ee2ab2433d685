#!/usr/bin/env python3
"""How far from the float weights Patella's engine and llama.cpp are, on 2,048 positions of real text and the same file
(`make bench-accuracy`).

Both are compared with the same reference, a forward pass with float weights and activations (engine_accuracy_test
writes it). The divergence is taken over the reference's 64 likeliest tokens and the rest as one. Exit 1 if ours is more
than 1.2 times llama.cpp's, or the likeliest token agrees more than half a point less often.
"""

import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "clients"))
import harness  # noqa: E402
from test_llamacpp import LlamaCpp  # noqa: E402

FLOOR = 1e-9


def divergence(reference, other):
    """KL of log probabilities over the listed tokens, and over the rest as one."""
    kl = sum(math.exp(r) * (r - o) for r, o in zip(reference, other))
    rest, rest_other = (max(FLOOR, 1 - sum(map(math.exp, x))) for x in (reference, other))
    return kl + rest * math.log(rest / rest_other)


def ask_llamacpp(url, tokens, ids):
    body = {"prompt": tokens, "n_predict": 1, "n_probs": 1000, "temperature": 1.0, "cache_prompt": True, "id_slot": 0}
    answer = json.load(harness.post(url, "/completion", body))
    listed = {t["id"]: t["logprob"] for t in answer["completion_probabilities"][0]["top_logprobs"]}
    least = min(listed.values())
    return [listed.get(i, least) for i in ids], max(listed, key=listed.get)


def main() -> int:
    harness.require_model()
    tests = pathlib.Path(os.environ.get("PATELLA_BIN", "build/release/bin")).parent / "tests"
    with tempfile.NamedTemporaryFile("r") as dump:
        environment = {**os.environ, "PATELLA_LOGITS_OUT": dump.name}
        subprocess.run([tests / "engine_accuracy_test"], env=environment, check=True)
        lines = [line.split() for line in dump]
    windows = [list(map(int, line[1:])) for line in lines if line[0] == "window"]
    positions = [line for line in lines if line[0] == "position"]
    positions.sort(key=lambda line: (int(line[1]), int(line[2])))
    server = LlamaCpp(slots=1)
    kl, same = [0.0, 0.0], [0, 0]
    try:
        for n, line in enumerate(positions):
            window, at = int(line[1]), int(line[2])
            ids = list(map(int, line[3::3]))
            reference, ours = list(map(float, line[4::3])), list(map(float, line[5::3]))
            theirs, top = ask_llamacpp(server.url, windows[window][:at + 1], ids)
            for i, (other, best) in enumerate(((ours, ids[ours.index(max(ours))]), (theirs, top))):
                kl[i] += divergence(reference, other) / len(positions)
                same[i] += best == ids[0]
            if n % 256 == 255:
                print(f"{n + 1} of {len(positions)} positions", file=sys.stderr)
    finally:
        server.stop()
    share = [s / len(positions) for s in same]
    print(f"{len(positions)} positions against float weights\n           KL        same top token\n"
          f"patella    {kl[0]:.5f}   {share[0]:.1%}\n"
          f"llama.cpp  {kl[1]:.5f}   {share[1]:.1%}\nratio      {kl[0] / kl[1]:.2f}")
    return 0 if kl[0] <= 1.2 * kl[1] and share[0] >= share[1] - 0.005 else 1


if __name__ == "__main__":
    sys.exit(main())
