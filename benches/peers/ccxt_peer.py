"""ccxt's asynchronous fetch_ticker of Binance, its limiter off.

Usage: ccxt_peer.py BASE_URL CONNECTIONS SECONDS
Prints requests, requests a second and CPU microseconds a request, of a closed loop.
"""

import asyncio
import sys
import time

import ccxt.async_support as ccxt

MARKET = {
    "id": "BTCUSDT", "symbol": "BTC/USDT", "base": "BTC", "quote": "USDT", "baseId": "BTC", "quoteId": "USDT",
    "type": "spot", "spot": True, "active": True, "precision": {"amount": 8, "price": 2}, "limits": {},
}


async def ask(exchange, until, done):
    while time.perf_counter() < until:
        ticker = await exchange.fetch_ticker("BTC/USDT")
        if not ticker["last"]:
            raise SystemExit("expected a ticker, found none")
        done[0] += 1


async def main(base, connections, seconds):
    exchange = ccxt.binance({"enableRateLimit": False})
    exchange.urls["api"]["public"] = f"{base}/api/v3"
    # What it would load from the exchange first.
    exchange.set_markets([MARKET])
    done = [0]
    try:
        start, cpu = time.perf_counter(), time.process_time()
        until = start + seconds
        await asyncio.gather(*(ask(exchange, until, done) for _ in range(connections)))
        elapsed, used = time.perf_counter() - start, time.process_time() - cpu
    finally:
        await exchange.close()
    print(done[0], f"{done[0] / elapsed:.1f}", f"{used * 1e6 / done[0]:.3f}")


asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])))
