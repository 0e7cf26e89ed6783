"""Clients of a front door that come again and again until they are told to stop: what became of them, as
JSON. Runs inside, by the system's own Python.
"""

import json
import socket
import sys
import threading
import time
from collections import Counter

over = threading.Event()
found = Counter()
waits = [0.0]


def come():
    while not over.is_set():
        begun = time.monotonic()
        try:
            with socket.create_connection(("127.0.0.1", 2222), timeout=20) as client:
                told = client.recv(4)
            outcome = "served" if told == b"SSH-" else "cut off"
        except OSError as error:
            outcome = type(error).__name__
        found[outcome] += 1
        waits.append(time.monotonic() - begun)
        time.sleep(0.02)


threads = [threading.Thread(target=come) for _ in range(8)]
for thread in threads:
    thread.start()
print("they come", flush=True)
sys.stdin.readline()
over.set()
for thread in threads:
    thread.join()
print(json.dumps({"outcomes": found, "slowest": round(max(waits), 3)}), flush=True)
