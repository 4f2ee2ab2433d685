"""llama.cpp's own server (PyPI xllamacpp) on a loopback port: prints `listening on URL`, serves until SIGTERM.

llamacpp_server.py MODEL PORT [SLOTS]
"""

import signal
import sys

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.hostnames = ["127.0.0.1"]
params.port = int(sys.argv[2])
slots = int(sys.argv[3]) if len(sys.argv) > 3 else 16
params.n_parallel = slots
params.n_ctx = slots * 512
params.cpuparams.n_threads = 2
params.cpuparams_batch.n_threads = 2
params.model_alias = ["smollm2"] if isinstance(params.model_alias, list) else {"smollm2"}
server = xllamacpp.Server(params)
print("listening on", server.listening_address, flush=True)
signal.sigwait([signal.SIGTERM, signal.SIGINT])
sys.stdout.flush()
import os  # noqa: E402

os._exit(0)  # the wheel's destructor may hang while requests are in flight
