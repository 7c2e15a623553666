"""aiohttp + uvloop + orjson + a bounded asyncio.Queue: a fetcher as it is written in Python.

Usage: aiohttp_peer.py URL CONNECTIONS SECONDS
Prints requests, requests a second and CPU microseconds a request, of a closed loop.
"""

import asyncio
import sys
import time

import aiohttp
import orjson
import uvloop

QUEUE_LEN = 10_000


async def ask(session, url, queue, until, done):
    while time.perf_counter() < until:
        async with session.get(url) as response:
            body = await response.read()
            if response.status != 200:
                raise SystemExit(f"expected status 200, found {response.status}")
        await queue.put(orjson.loads(body))
        done[0] += 1


async def drain(queue):
    while True:
        record = await queue.get()
        if "lastPrice" not in record:
            raise SystemExit("expected a ticker, found none")


async def main(url, connections, seconds):
    queue = asyncio.Queue(QUEUE_LEN)
    done = [0]
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector) as session:
        sink = asyncio.create_task(drain(queue))
        start, cpu = time.perf_counter(), time.process_time()
        until = start + seconds
        await asyncio.gather(*(ask(session, url, queue, until, done) for _ in range(connections)))
        elapsed, used = time.perf_counter() - start, time.process_time() - cpu
        sink.cancel()
    print(done[0], f"{done[0] / elapsed:.1f}", f"{used * 1e6 / done[0]:.3f}")


uvloop.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
