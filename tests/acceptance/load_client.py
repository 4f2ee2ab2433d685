"""A load client that shares no code with Patella: Python's asyncio, raw HTTP/1.1, OpenAI's streaming completions.

It records per request: status, time to first token, time per output token (first token excluded) and tokens. Requests of a closed
loop start as soon as the one before has ended; those of an open loop at times drawn in advance.
"""

import asyncio
import dataclasses
import json
import random
import statistics
import time

WORDS = ("the river carried a small boat past green hills where people worked and children sang about summer rain while an old "
         "teacher wrote letters to friends in distant cities asking how their gardens grew and whether bread was still warm").split()


@dataclasses.dataclass
class Record:
    started: float
    status: int = 0
    ttft_ms: float = float("inf")
    tpot_ms: float = float("inf")
    tokens: int = 0
    ended: float = 0.0
    retry_after: str = ""  # of a refusal
    complete: bool = False  # the stream ended as it should: with [DONE]

    def holds(self, target_ms: float, ttft_target_ms: float = float("inf")) -> bool:
        return self.status == 200 and self.tpot_ms <= target_ms and self.ttft_ms <= ttft_target_ms


class LoadClient:
    def __init__(self, host: str, port: int, model: str, seed: int):
        self.host, self.port, self.model, self.random = host, port, model, random.Random(seed)

    def prompt(self, tokens: int) -> str:
        """About `tokens` tokens of plain words (one each); the first ones are random, so no prefix cache helps."""
        return " ".join(self.random.choice(WORDS) for _ in range(tokens))

    async def request(self, input_tokens: int, output_tokens: int, intended: float | None = None) -> Record:
        record = Record(started=intended if intended is not None else time.monotonic())
        body = json.dumps({"model": self.model, "prompt": self.prompt(input_tokens), "max_tokens": output_tokens, "temperature": 0,
                           "ignore_eos": True, "stream": True}).encode()
        try:
            reader, writer = await asyncio.open_connection(self.host, self.port)
            writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nConnection: close\r\n"
                         b"Content-Length: %d\r\n\r\n%s" % (self.host.encode(), len(body), body))
            first = last = 0.0
            record.status = int((await reader.readline()).split()[1])
            while line := await reader.readline():
                if line.lower().startswith(b"retry-after:"):
                    record.retry_after = line.split(b":", 1)[1].strip().decode()
                record.complete = record.complete or line.startswith(b"data: [DONE]")
                if record.status == 200 and line.startswith(b"data: {") and b'"text"' in line:
                    last = time.monotonic()
                    first = first or last
                    record.tokens += 1
            writer.close()
            if record.status == 200 and record.tokens > 1:
                record.ttft_ms = 1e3 * (first - record.started)
                record.tpot_ms = 1e3 * (last - first) / (record.tokens - 1)
        except (OSError, IndexError, ValueError):
            record.status = record.status or -1
        record.ended = time.monotonic()
        return record

    async def closed_loop(self, concurrency: int, seconds: float, sizes: list[tuple[int, int]], retry_s: float = 0.2) -> list[Record]:
        """`concurrency` clients, each sending its next request when the last has ended; a refused one waits and tries again."""
        deadline, records = time.monotonic() + seconds, []

        async def client(index: int):
            await asyncio.sleep(0.02 * index)
            while time.monotonic() < deadline:
                record = await self.request(*self.random.choice(sizes))
                records.append(record)
                if record.status != 200:
                    await asyncio.sleep(retry_s)

        await asyncio.gather(*(client(i) for i in range(concurrency)))
        return records

    async def open_loop(self, per_second: float, seconds: float, sizes: list[tuple[int, int]]) -> list[Record]:
        """Poisson arrivals; latency counts from the intended time."""
        begin, at, tasks = time.monotonic(), 0.0, []
        while (at := at + self.random.expovariate(per_second)) < seconds:
            await asyncio.sleep(max(0.0, begin + at - time.monotonic()))
            tasks.append(asyncio.create_task(self.request(*self.random.choice(sizes), intended=begin + at)))
        return list(await asyncio.gather(*tasks))


def goodput(records: list[Record], target_ms: float, begin: float, end: float, ttft_target_ms: float = float("inf")) -> float:
    """Output tokens per second, in [begin, end], of requests that held the target. A request's tokens are spread over its time: counted at its
    end, they would come in waves, since requests of one size that began together end together."""
    tokens = 0.0
    for r in records:
        if r.holds(target_ms, ttft_target_ms) and r.ended > r.started:
            tokens += r.tokens * max(0.0, min(end, r.ended) - max(begin, r.started)) / (r.ended - r.started)
    return tokens / (end - begin)


def spread_of(blocks: list[float]) -> float:
    """How well equal blocks repeat: the nearer neighbour's distance from their median, relative. One block in three may be off, for medians are
    compared."""
    middle = statistics.median(blocks)
    return sorted(abs(b / max(1e-9, middle) - 1) for b in blocks)[min(1, len(blocks) - 1)]


def attainment(records: list[Record], target_ms: float) -> tuple[float, float, int]:
    """Share of admitted requests that held the target, its one-sided 95 % Wilson lower bound, and their number."""
    admitted = [r for r in records if r.status == 200]
    n = len(admitted)
    if n == 0:
        return 0.0, 0.0, 0
    p, z = sum(r.holds(target_ms) for r in admitted) / n, 1.645
    centre = p + z * z / (2 * n)
    spread = z * ((p * (1 - p) + z * z / (4 * n)) / n) ** 0.5
    return p, (centre - spread) / (1 + z * z / n), n


def quantile(values: list[float], q: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else float("nan")
