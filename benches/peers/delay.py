"""A TCP proxy that adds latency, on loopback only.

    python3 delay.py TARGET_PORT MILLISECONDS    prints the port that it listens on

So many milliseconds each way. Bandwidth is not limited, but at most 8 MiB a direction are under
way, so that a fast sender feels the delay as it does on a long link. A new connection costs one
round trip more, as the handshake of TCP does.
"""

import asyncio
import sys

WINDOW = 8 << 20
PIECE = 64 << 10


async def pump(reader, writer, delay):
    queue, room = asyncio.Queue(), asyncio.Semaphore(WINDOW // PIECE)
    loop = asyncio.get_running_loop()

    async def send():
        while True:
            due, data = await queue.get()
            if due > loop.time():
                await asyncio.sleep(due - loop.time())
            if not data:
                break
            writer.write(data)
            await writer.drain()
            room.release()
        if writer.can_write_eof():
            writer.write_eof()

    sender = asyncio.create_task(send())
    try:
        while True:
            await room.acquire()
            data = await reader.read(PIECE)
            queue.put_nowait((loop.time() + delay, data))
            if not data:
                break
        await sender
    except (ConnectionError, OSError):
        sender.cancel()


async def main(target, delay):
    async def serve(reader, writer):
        try:
            await asyncio.sleep(2 * delay)
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", target)
            await asyncio.gather(
                pump(reader, target_writer, delay), pump(target_reader, writer, delay)
            )
            target_writer.close()
        except OSError:
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    try:
        asyncio.run(main(int(sys.argv[1]), float(sys.argv[2]) / 1000))
    except KeyboardInterrupt:
        pass
