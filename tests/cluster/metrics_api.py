#!/usr/bin/env python3
"""external.metrics.k8s.io for a HorizontalPodAutoscaler in tests: metric M of namespace N is the text of FOLDER/N/M.

    metrics_api.py PORT CERTIFICATE KEY FOLDER

A file holds a Kubernetes quantity ("7", "1500m"); a metric without a file is 404, as from a real adapter. Loopback
only.
"""

import datetime
import http.server
import json
import pathlib
import re
import ssl
import sys

GROUP = "external.metrics.k8s.io"


def answer(path: str, folder: pathlib.Path) -> dict | None:
    path = path.split("?")[0].rstrip("/")
    if path == "/apis":
        version = {"groupVersion": f"{GROUP}/v1beta1", "version": "v1beta1"}
        return {
            "kind": "APIGroupList",
            "apiVersion": "v1",
            "groups": [{"name": GROUP, "versions": [version], "preferredVersion": version}],
        }
    if path == f"/apis/{GROUP}/v1beta1":
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": f"{GROUP}/v1beta1",
            "resources": [
                {
                    "name": "externalmetrics",
                    "singularName": "",
                    "namespaced": True,
                    "kind": "ExternalMetricValueList",
                    "verbs": ["get"],
                }
            ],
        }
    match = re.fullmatch(rf"/apis/{GROUP}/v1beta1/namespaces/([a-z0-9-]+)/([A-Za-z0-9_.-]+)", path)
    if match and (file := folder / match[1] / match[2]).is_file():
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "kind": "ExternalMetricValueList",
            "apiVersion": f"{GROUP}/v1beta1",
            "metadata": {},
            "items": [
                {"metricName": match[2], "metricLabels": {}, "timestamp": now, "value": file.read_text().strip()}
            ],
        }
    return None


def main() -> None:
    port, certificate, key, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3], pathlib.Path(sys.argv[4])

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            found = answer(self.path, folder)
            body = json.dumps(
                found or {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
            ).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
