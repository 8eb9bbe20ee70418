"""A web server for pods in tests: says who answers; readiness is taken away and given back over HTTP.

GET / : this pod's name, and with ?seconds=N only after so long    GET /ready : 200 or 503
POST /ready, POST /unready : changes that    POST /exit : ends the process with code 3
"""

from __future__ import annotations

import os
import signal
import socket
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

ready = True


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/ready":
            self._answer(200 if ready else 503, "ready" if ready else "not ready")
        else:
            time.sleep(float(parse_qs(url.query).get("seconds", ["0"])[0]))
            self._answer(200, socket.gethostname())

    def do_POST(self) -> None:
        global ready
        if self.path == "/exit":
            os._exit(3)
        ready = self.path == "/ready"
        self._answer(200, "ready" if ready else "not ready")

    def _answer(self, status: int, text: str) -> None:
        body = f"{text}\n".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        print(format % arguments, flush=True)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("", int(os.environ.get("PORT", "8080"))), Handler)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    print("listening", flush=True)
    server.serve_forever()
