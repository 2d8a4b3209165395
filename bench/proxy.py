"""A server some way off: forwards TCP and holds each byte back for half of the round trip.

    proxy.py PORT HOST:PORT MILLISECONDS
"""

import contextlib
import queue
import socket
import sys
import threading
import time

# Large, because each costs the machine that is measured.
CHUNK = 1 << 18
# Chunks on their way; a sender that is faster waits, as it would for a window.
WINDOW = 64


def main(port, address, millis):
    host, _, far_port = address.rpartition(":")
    delay = float(millis) / 2000
    server = socket.create_server(("127.0.0.1", int(port)))
    while True:
        near, _ = server.accept()
        try:
            far = socket.create_connection((host, int(far_port)))
        except OSError:
            near.close()
            continue
        for end in (near, far):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for source, sink in ((near, far), (far, near)):
            under_way = queue.Queue(WINDOW)
            threading.Thread(target=read, args=(source, under_way, delay), daemon=True).start()
            threading.Thread(target=write, args=(sink, under_way), daemon=True).start()


def read(source, under_way, delay):
    """Reads on while what it has read is on its way; nothing stands for the end."""
    chunk = None
    while chunk != b"":
        try:
            chunk = source.recv(CHUNK)
        except OSError:
            chunk = b""
        under_way.put((time.monotonic() + delay, chunk))


def write(sink, under_way):
    """Writes what is due; when it cannot any more, the reader's queue fills up and it waits for good."""
    with contextlib.suppress(OSError):
        while True:
            due, chunk = under_way.get()
            time.sleep(max(0, due - time.monotonic()))
            if not chunk:
                sink.shutdown(socket.SHUT_WR)
                return
            sink.sendall(chunk)


if __name__ == "__main__":
    main(*sys.argv[1:])
