#!/usr/bin/env python3
"""Load on `effdet serve`: many clients at once, good and bad, and a stop in the middle of it.

Starts the server, keeps CLIENTS connections busy for MINUTES with the mix of `KINDS`, looks at its memory every five
seconds, sends SIGTERM while all clients go on, and checks that

- every answer is the one its picture had when the server was idle, and every refusal the expected one;
- the memory does not grow, the server does not end, and its exit status is 0;
- no request whose head the server read is left without an answer.

Only Python's standard library is needed. Exit status 1 if a check fails.

    python3 benches/serve_load.py --minutes 20 --page docs/serve.md --effdet target/release/effdet -- \
        --weights lite0.pth --model tf_efficientdet_lite0 --image-size 128
"""

import argparse
import asyncio
import collections
import json
import os
import pathlib
import platform
import random
import signal
import statistics
import struct
import sys
import time
import zlib

# Clients of each kind, of 200.
KINDS = {
    "good": 150,  # a picture of eight, raw or as a form, JSON or drawn; half keep their connection
    "broken": 20,  # truncated, corrupt, no picture, bomb, too long, bad parameter, unknown path
    "slow": 15,  # heads and bodies that trickle, some too slowly
    "gone": 15,  # leave in the middle of their body, right after it, or in the middle of the answer
}
TIMEOUT = 10  # of the server, seconds
SAMPLE = 5  # seconds between looks at the memory
BEGIN, END = "<!-- written by benches/serve_load.py -->", "<!-- end -->"


# --- pictures ---------------------------------------------------------------------------------------------------------


def png(width, height, rows):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows), 6)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def scene(seed):
    """Discs on a gradient, each picture with others."""
    draw = random.Random(seed)
    width, height = draw.randrange(240, 520), draw.randrange(200, 420)
    discs = []
    for _ in range(draw.randrange(6, 14)):
        colour = bytes(draw.randrange(256) for _ in range(3))
        discs.append((draw.randrange(width), draw.randrange(height), draw.randrange(12, 60), colour))
    rows = []
    for y in range(height):
        row = bytearray(bytes((230 - y // 4, 200, 180 + y // 8)) * width)
        for cx, cy, radius, colour in discs:
            if abs(y - cy) < radius:
                half = int((radius**2 - (y - cy) ** 2) ** 0.5)
                left, right = max(0, cx - half), min(width, cx + half)
                row[3 * left : 3 * right] = colour * (right - left)
        rows.append(bytes(row))
    return png(width, height, rows)


def bomb():
    """A header that claims sixty thousand pixels a side."""
    header = struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


# --- one request ------------------------------------------------------------------------------------------------------


class Refused(Exception):
    """The server does not take connections (any more)."""


class Closed(Exception):
    """The server closed the connection before a whole answer."""


class Connection:
    def __init__(self, port):
        self.port, self.reader, self.writer, self.used = port, None, None, 0

    async def open(self):
        if self.writer is not None and (self.reader.at_eof() or self.writer.is_closing()):
            self.close()
        if self.writer is None:
            try:
                self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError as error:
                raise Refused from error
            self.used = 0

    def close(self, abort=False):
        if self.writer is not None:
            if abort:
                self.writer.transport.abort()
            else:
                self.writer.close()
        self.reader = self.writer = None

    async def send(self, *parts):
        """Writes all parts; a server that answers early may close before they are written."""
        try:
            for part in parts:
                self.writer.write(part)
                await self.writer.drain()
        except OSError:
            pass

    async def answer(self):
        """Status, headers and body; the connection stays open unless the server closes it."""
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
            lines = head.decode("latin-1").split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
            body = await self.reader.readexactly(int(headers["content-length"]))
        except (OSError, asyncio.IncompleteReadError) as error:
            self.close(abort=True)
            raise Closed from error
        self.used += 1
        if headers.get("connection") == "close":
            self.close()
        return int(lines[0].split()[1]), headers, body


def head(body_length, target="/v1/detect", content_type="image/png", method="POST"):
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", f"Content-Type: {content_type}"]
    return "\r\n".join([*lines, f"Content-Length: {body_length}", "", ""]).encode()


def form(picture):
    boundary = "----a-boundary-of-a-form"
    start = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'.encode()
    return f"multipart/form-data; boundary={boundary}", start + picture + f"\r\n--{boundary}--\r\n".encode()


# --- clients ----------------------------------------------------------------------------------------------------------


class Load:
    def __init__(self, port, think):
        self.port, self.think = port, think
        self.stop = asyncio.Event()
        self.stopping_at = None
        self.pictures = [scene(seed) for seed in range(8)]
        self.expected = []
        self.statuses = collections.defaultdict(collections.Counter)
        self.latencies = []
        self.wrong = []
        self.lost = []
        self.idle_closes = 0
        self.after_signal = 0

    async def learn(self):
        """What the idle server says of each picture."""
        connection = Connection(self.port)
        for picture in list(self.pictures):
            await connection.open()
            await connection.send(head(len(picture)), picture)
            status, _, body = await connection.answer()
            assert status == 200, body
            self.expected.append(json.loads(body)["detections"])
        # The drawn picture, which is a JPEG, is a picture to send as well.
        await connection.open()
        await connection.send(head(len(self.pictures[0]), "/v1/detect?format=jpeg"), self.pictures[0])
        status, _, jpeg = await connection.answer()
        assert status == 200, jpeg
        await connection.send(head(len(jpeg)), jpeg)
        status, _, body = await connection.answer()
        assert status == 200, body
        self.pictures.append(jpeg)
        self.expected.append(json.loads(body)["detections"])
        connection.close()

    def count(self, kind, what):
        self.statuses[kind][what] += 1

    async def pause(self, draw, factor=1.0):
        try:
            await asyncio.wait_for(self.stop.wait(), draw.expovariate(1 / (factor * self.think)))
        except TimeoutError:
            pass

    async def ask(self, kind, connection, *parts):
        """An answer to a whole request; what is lost of it is written down."""
        reused = connection.used > 0
        try:
            await connection.open()
            reused = connection.used > 0
            await connection.send(*parts)
            answer = await connection.answer()
        except Refused:
            if self.stopping_at is None:
                self.wrong.append(f"{kind}: connection refused")
            raise
        except Closed:
            if reused:
                # HTTP lets a server close an idle connection at any time, and the client ask again.
                self.idle_closes += 1
            else:
                self.lost.append(kind)
            raise
        if self.stopping_at is not None:
            self.after_signal += 1
        self.count(kind, answer[0])
        return answer

    async def good(self, draw):
        connection = Connection(self.port)
        keep = draw.random() < 0.5
        while True:
            await self.pause(draw)
            index = draw.randrange(len(self.pictures))
            picture = self.pictures[index]
            content_type, body = form(picture) if draw.random() < 0.3 else ("image/png", picture)
            drawn = draw.random() < 0.15
            target = "/v1/detect?format=jpeg" if drawn else "/v1/detect"
            start = time.monotonic()
            try:
                status, headers, answer = await self.ask(
                    "good", connection, head(len(body), target, content_type), body
                )
            except Closed:
                continue
            if status == 200:
                self.latencies.append(time.monotonic() - start)
                if drawn and not answer.startswith(b"\xff\xd8"):
                    self.wrong.append("good: the drawn picture is no JPEG")
                if not drawn and not same(json.loads(answer)["detections"], self.expected[index]):
                    self.wrong.append("good: the detections are not those of the picture")
            elif status != 503 or headers.get("retry-after") != "1":
                self.wrong.append(f"good: {status} {answer[:200]}")
            if not keep:
                connection.close()

    async def broken(self, draw):
        picture = self.pictures[0]
        garbage = bytearray(picture)
        garbage[60:90] = bytes(30)
        cases = [
            (422, head(1000), picture[:1000]),
            (422, head(len(garbage)), bytes(garbage)),
            (415, head(5000), bytes(5000)),
            (413, head(len(bomb())), bomb()),
            (413, head(3 << 20), bytes(3 << 20)),
            (400, head(0), b""),
            (400, head(len(picture), "/v1/detect?score=2"), picture),
            (400, head(50, content_type="multipart/form-data; boundary=x"), bytes(50)),
            (404, head(0, "/v2/detect"), b""),
            (405, head(0, method="GET"), b""),
        ]
        connection = Connection(self.port)
        while True:
            await self.pause(draw)
            expected, *parts = draw.choice(cases)
            try:
                status, _, body = await self.ask("broken", connection, *parts)
            except Closed:
                continue
            if status not in (expected, 503):
                self.wrong.append(f"broken: {status} instead of {expected}: {body[:200]}")
            if json.loads(body)["error"]["status"] != status:
                self.wrong.append(f"broken: {body[:200]}")

    async def slow(self, draw):
        picture = self.pictures[1]
        # The server gives a body TIMEOUT seconds; the first case keeps well within them, the others do not end.
        cases = {
            "body": (head(len(picture)), picture, 4, (200, 503)),
            "body too slow": (head(len(picture)), picture, 10 * TIMEOUT, (408,)),
            "head too slow": (b"", head(len(picture)), 10 * TIMEOUT, ()),
        }
        while True:
            await self.pause(draw)
            connection = Connection(self.port)
            name = draw.choice(list(cases))
            start, rest, parts, expected = cases[name]
            await connection.open()
            trickle = asyncio.create_task(self.trickle(connection, start, rest, parts))
            try:
                status, _, _ = await connection.answer()
                self.count("slow", status)
                if status not in expected:
                    self.wrong.append(f"slow: {name}: {status}")
            except Closed:
                self.count("slow", "closed")
                # A head that was never whole is no request.
                if expected:
                    self.lost.append(f"slow: {name}")
            finally:
                trickle.cancel()
            connection.close()

    async def trickle(self, connection, start, rest, parts):
        writer, step = connection.writer, len(rest) // parts + 1
        writer.write(start)
        for at in range(0, len(rest), step):
            if writer.is_closing():
                return
            writer.write(rest[at : at + step])
            await asyncio.sleep(0.5)

    async def gone(self, draw):
        picture = self.pictures[2]
        while True:
            await self.pause(draw)
            connection = Connection(self.port)
            await connection.open()
            case = draw.choice(["in its body", "after its body", "in the answer"])
            sent = picture[: len(picture) // 2] if case == "in its body" else picture
            await connection.send(head(len(picture), "/v1/detect?format=png"), sent)
            if case == "in the answer":
                try:
                    await connection.reader.readexactly(60)
                except (OSError, asyncio.IncompleteReadError):
                    self.lost.append("gone")
            else:
                await asyncio.sleep(draw.random() / 10)
            connection.close(abort=True)
            self.count("gone", f"left {case}")

    async def client(self, kind, seed):
        try:
            await getattr(self, kind)(random.Random(seed))
        except Refused:
            if self.stopping_at is None:
                self.wrong.append(f"{kind}: connection refused")


def same(found, expected):
    """Batches of other sizes round other sums, so the last bits may differ."""
    return len(found) == len(expected) and all(
        a["label"] == b["label"]
        and abs(a["score"] - b["score"]) < 1e-4
        and all(abs(x - y) < 0.05 for x, y in zip(a["bbox"], b["bbox"]))
        for a, b in zip(found, expected)
    )


# --- the run ----------------------------------------------------------------------------------------------------------


def resident(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise ProcessLookupError(pid)


def growth_of(memory):
    """MiB by which the last third of the samples lies above the second, how much is too much, and both in words.

    The first third is left out: caches fill up. Without a sample of each third there is no number.
    """
    third = len(memory) // 3
    if third == 0:
        most = f"at most {max(memory):.0f} MiB; " if memory else ""
        return None, None, f"{most}too few samples ({len(memory)}) to tell whether it grows"
    early, late = statistics.mean(memory[third : 2 * third]), statistics.mean(memory[2 * third :])
    words = (
        f"{memory[0]:.0f} MiB after {SAMPLE} s, {early:.0f} MiB in the second third, {late:.0f} MiB in the last, "
        f"at most {max(memory):.0f} MiB"
    )
    return late - early, max(8.0, 0.05 * early), words


def times_of(latencies):
    """How long good answers took, in words."""
    if not latencies:
        return "none came"
    ordered = sorted(1000 * seconds for seconds in latencies)
    quantile = lambda q: ordered[min(len(ordered) - 1, int(q * len(ordered)))]
    parts = [f"p{percent} {quantile(percent / 100):.0f} ms" for percent in (50, 90, 99)]
    return ", ".join([*parts, f"longest {ordered[-1]:.0f} ms"])


async def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--effdet", default="target/release/effdet", help="the command")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--think", type=float, default=8, help="mean pause of a client in seconds")
    parser.add_argument("--page", type=pathlib.Path, help="page whose section is replaced")
    # argparse gives a list of positional arguments up at the first option before it
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    arguments = parser.parse_args(sys.argv[1:split])

    options = ["--listen", "127.0.0.1:0", "--timeout", str(TIMEOUT), "--max-body", "2", *sys.argv[split + 1 :]]
    server = await asyncio.create_subprocess_exec(
        arguments.effdet, "serve", *options, stderr=asyncio.subprocess.PIPE, env={**os.environ, "EFFDET_LOG": "warn"}
    )
    # Notes may come before the line that says where it listens.
    line = ""
    while " on http://" not in line:
        line = (await server.stderr.readline()).decode()
        if not line:
            sys.exit(f"the server ended with status {await server.wait()} before it listened")
        print(line.strip())
    port = int(line.rsplit(":", 1)[1])
    log = []

    async def read_log():
        async for line in server.stderr:
            log.append(line.decode().strip())

    reading = asyncio.create_task(read_log())
    load = Load(port, arguments.think)
    await load.learn()
    scale = arguments.clients / sum(KINDS.values())
    clients = []
    for kind, count in KINDS.items():
        clients += [
            asyncio.create_task(load.client(kind, f"{kind}-{i}")) for i in range(max(1, round(scale * count)))
        ]
    start, memory = time.monotonic(), []
    while time.monotonic() - start < 60 * arguments.minutes and server.returncode is None:
        await asyncio.sleep(SAMPLE)
        if server.returncode is not None:
            break
        try:
            memory.append(resident(server.pid))
        except (FileNotFoundError, ProcessLookupError):
            # It has just ended.
            await server.wait()
            break
        if len(memory) % 12 == 0:
            done = sum(sum(counts.values()) for counts in load.statuses.values())
            print(f"{time.monotonic() - start:5.0f} s  {memory[-1]:6.1f} MiB  {done} requests", flush=True)
    minutes = (time.monotonic() - start) / 60
    crashed = server.returncode is not None
    if crashed:
        load.wrong.append(f"the server ended with {server.returncode}")
    else:
        connection = Connection(port)
        await connection.open()
        await connection.send(head(0, "/metrics", method="GET"))
        _, _, metrics = await connection.answer()
        connection.close()
        # In the middle of the traffic; clients go on until they are refused.
        load.stopping_at = time.monotonic()
        server.send_signal(signal.SIGTERM)
        await server.wait()
        took = time.monotonic() - load.stopping_at
        load.stop.set()
        done, late = await asyncio.wait(clients, timeout=3 * TIMEOUT)
        for task in late:
            task.cancel()
        for task in done:
            task.result()
    await reading
    for line in log:
        print(line)
    if crashed:
        sys.exit("\n".join(load.wrong))
    accepted, answered, left = (int(word) for word in log[-1].replace(",", "").split() if word.isdigit())

    growth, allowed, memory_words = growth_of(memory)
    batches = {}
    for line in metrics.decode().splitlines():
        if line.startswith(("effdet_batch_size_sum", "effdet_batch_size_count")):
            name, value = line.split()
            batches[name.rsplit("_", 1)[1]] = float(value)
    total = sum(sum(counts.values()) for counts in load.statuses.values())
    command = " ".join(["effdet", "serve", *(pathlib.Path(o).name if "/" in o else o for o in options)])
    processor = next((l.split(":", 1)[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "")
    rows = [
        f"`{command}`, {arguments.clients} clients for {minutes:.1f} minutes on loopback; "
        f"{os.cpu_count()} cores ({processor or platform.machine()}) shared with the clients "
        f"and other work (load average at the end {os.getloadavg()[2]:.1f}).",
        "",
        "| what | measured |",
        "|---|---|",
        f"| requests | {total}, {total / (60 * minutes):.1f} a second |",
    ]
    for kind, counts in load.statuses.items():
        shown = ", ".join(f"{what}: {n}" for what, n in sorted(counts.items(), key=lambda item: str(item[0])))
        rows.append(f"| answers to clients that are {kind} | {shown} |")
    rows += [
        f"| time to a good answer | {times_of(load.latencies)} |",
        f"| pictures of a batch | {batches['sum'] / batches['count']:.2f} on average |",
        f"| memory of the server | {memory_words} |",
        f"| wrong answers | {len(load.wrong)} |",
        f"| after SIGTERM in the middle of it | exit status {server.returncode} after {took:.1f} s; "
        f"{load.after_signal} requests still answered |",
        f"| of {accepted} requests accepted | {answered} answered, {left} left by their clients, "
        f"{accepted - answered - left} lost |",
        f"| requests without an answer, as clients saw it | {len(load.lost)}; "
        f"{load.idle_closes} met the close of an idle connection |",
    ]
    text = "\n".join(rows)
    print(text)
    for wrong, count in collections.Counter(load.wrong).most_common(10):
        print(f"wrong: {count} x {wrong}")
    if arguments.page:
        page = arguments.page.read_text()
        before, rest = page.split(BEGIN)
        arguments.page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.split(END)[1]}")
    checks = {
        "wrong answers": not load.wrong,
        "exit status": server.returncode == 0,
        "accepted requests without an answer": accepted == answered + left and not load.lost,
    }
    if growth is None:
        print(f"skipped: memory: {memory_words}")
    else:
        checks["memory"] = growth < allowed
    failed = [name for name, holds in checks.items() if not holds]
    if failed:
        sys.exit(f"failed: {', '.join(failed)}" + ("" if growth is None else f" (growth {growth:.1f} MiB)"))


if __name__ == "__main__":
    asyncio.run(main())
