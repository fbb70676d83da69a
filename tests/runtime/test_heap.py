"""The heap of all threads."""

import os
import platform
import subprocess
import sys

import pytest

CODE = """
import ctypes, os, sys, tempfile, threading
from colora.runtime.heap import share_heap
if sys.argv[1] == "shared":
    share_heap()
libc = ctypes.CDLL("libc.so.6")
libc.malloc.restype = libc.fdopen.restype = ctypes.c_void_p
libc.fclose.argtypes, libc.malloc_info.argtypes = [ctypes.c_void_p], [ctypes.c_int, ctypes.c_void_p]
at_once = threading.Barrier(6)
def work():
    libc.malloc(5000)
    at_once.wait()
threads = [threading.Thread(target=work) for _ in range(6)]
for thread in threads: thread.start()
for thread in threads: thread.join()
with tempfile.TemporaryFile() as told:
    file = libc.fdopen(os.dup(told.fileno()), b"w")
    libc.malloc_info(0, file)
    libc.fclose(file)
    told.seek(0)
    print(told.read().count(b"<heap nr="))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc alone")
def test_threads_share_the_first_heap() -> None:
    def heaps(how: str, **more: str) -> int:
        env = {k: v for k, v in os.environ.items() if k != "MALLOC_ARENA_MAX"} | more
        done = subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, env=env)
        assert done.returncode == 0, done.stderr
        return int(done.stdout)

    assert heaps("shared") == 1
    assert heaps("apart") > 1  # else this test says nothing
    assert heaps("shared", MALLOC_ARENA_MAX="4") > 1
