"""QEMU's own Python client, measured by itself: one line of figures for each line on standard input."""

import asyncio
import contextlib
import importlib.metadata
import os
import sys
import tempfile
import time

from qemu.qmp import QMPClient


def questions():
    print("qemu.qmp", importlib.metadata.version("qemu.qmp"), flush=True)
    return iter(sys.stdin.readline, "")


async def round_trips(path):
    """Round trips per second, for as many as the line says."""
    client = QMPClient("bench")
    await client.connect(path)
    for line in questions():
        count = int(line)
        began = time.perf_counter()
        for _ in range(count):
            await client.execute("query-status")
        print(count / (time.perf_counter() - began), flush=True)
    await client.disconnect()


async def launch(program):
    """Seconds from nothing to a monitor that takes commands, and from there to the end of the process."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "monitor")
        for _ in questions():
            began = time.perf_counter()
            client = QMPClient("bench")
            await client.start_server(path)
            process = await asyncio.create_subprocess_exec(
                program,
                *["-chardev", f"socket,id=monitor,path={path}", "-qmp", "chardev:monitor"],
                *["-display", "none", "-vga", "none", "-machine", "none"],
                stdin=asyncio.subprocess.DEVNULL,
            )
            await client.accept()
            ready = time.perf_counter()
            await client.execute("quit")
            await process.wait()
            gone = time.perf_counter()
            # QEMU closed the connection, which the client takes for a failure.
            with contextlib.suppress(EOFError):
                await client.disconnect()
            print(ready - began, gone - ready, flush=True)


asyncio.run({"launch": launch, "round-trips": round_trips}[sys.argv[1]](sys.argv[2]))
