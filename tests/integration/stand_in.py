"""A stand-in for an engine, of this process, where a test of the sidecar needs no model."""

import http.server
import json
import threading


class Engine:
    """Speaks as much of TGI as the sidecar asks for; a generation takes until `go` is set."""

    def __init__(self):
        self.go, self.lock, self.running = threading.Event(), threading.Lock(), 0
        engine = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def answer(self, body: dict):
                text = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def do_GET(self):
                self.answer({"model_id": "small", "max_concurrent_requests": 128} if self.path == "/info" else {})

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                with engine.lock:
                    engine.running += 1
                engine.go.wait(60)
                with engine.lock:
                    engine.running -= 1
                self.answer({"generated_text": "done"})

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.go.set()
        self.server.shutdown()
        self.server.server_close()
