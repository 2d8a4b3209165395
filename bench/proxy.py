"""A server some way off: forwards TCP and holds each byte back for half of the round trip.

    proxy.py PORT HOST:PORT MILLISECONDS
"""

import asyncio
import sys

CHUNK = 1 << 16
# Bytes on their way; a sender that is faster waits, as it would for a window.
WINDOW = 16 << 20


async def main(port, address, millis):
    host, _, far_port = address.rpartition(":")
    delay = float(millis) / 2000

    async def accept(near_reader, near_writer):
        try:
            far_reader, far_writer = await asyncio.open_connection(host, int(far_port))
        except OSError:
            near_writer.close()
            return
        await asyncio.gather(carry(near_reader, far_writer, delay), carry(far_reader, near_writer, delay))

    server = await asyncio.start_server(accept, "127.0.0.1", int(port))
    async with server:
        await server.serve_forever()


async def carry(reader, writer, delay):
    """One direction: reads on while what it has read is on its way."""
    clock = asyncio.get_running_loop().time
    under_way = asyncio.Queue(WINDOW // CHUNK)

    async def read():
        try:
            while chunk := await reader.read(CHUNK):
                await under_way.put((clock() + delay, chunk))
        except OSError:
            pass
        await under_way.put((clock() + delay, b""))

    reading = asyncio.create_task(read())
    try:
        while True:
            due, chunk = await under_way.get()
            if delay:
                await asyncio.sleep(max(0, due - clock()))
            if not chunk:
                break
            writer.write(chunk)
            await writer.drain()
    except OSError:
        pass
    reading.cancel()
    writer.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
