"""http_requests.py N: N requests over one kept connection each ten, to a server thread here."""

import http.client
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = b"x" * 512
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
left = int(sys.argv[1])
while left > 0:
    client = http.client.HTTPConnection(*server.server_address)
    for _ in range(min(left, 10)):
        client.request("GET", "/")
        answer = client.getresponse()
        assert answer.status == 200 and len(answer.read()) == 512
        left -= 1
    client.close()
server.shutdown()
server.server_close()
