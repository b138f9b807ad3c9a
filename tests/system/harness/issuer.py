# SPDX-License-Identifier: ISC
"""An issuer of tokens: signs JSON Web Tokens, gives them to clients that show their secret (the client credentials
grant of OAuth 2), and writes the key set that a broker checks them with."""
import base64
import http.server
import json
import os
import threading
import time
import urllib.parse

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

AUDIENCE = "kafka"


def _encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _number(value):
    return _encode(value.to_bytes((value.bit_length() + 7) // 8, "big"))


class Issuer:
    """clients: {id: secret}; a client's id becomes the subject of its tokens, so the user in Kafka."""

    def __init__(self, directory, clients, lifetime=300):
        self.clients = clients
        self.lifetime = lifetime
        self.asked = 0  # how often a token was asked for
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        numbers = self._key.public_key().public_numbers()
        os.makedirs(directory, exist_ok=True)
        self.key_set = os.path.join(directory, "jwks.json")
        with open(self.key_set, "w") as file:
            json.dump({"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "tests",
                                 "n": _number(numbers.n), "e": _number(numbers.e)}]}, file)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/token"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def token(self, subject, lifetime=None, audience=AUDIENCE):
        """One that is signed as it should be. lifetime: in seconds; negative: it has expired."""
        lifetime = lifetime or self.lifetime
        now = int(time.time()) + min(lifetime, 0) * 2
        parts = [_encode(json.dumps(part).encode()) for part in (
            {"alg": "RS256", "typ": "JWT", "kid": "tests"},
            {"iss": self.url, "sub": subject, "aud": audience, "scope": "produce", "iat": now, "exp": now + abs(lifetime)})]
        signed = ".".join(parts)
        return f"{signed}.{_encode(self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def _client(self, headers, form):
        """Who asks: by HTTP's Basic, as librdkafka does, or in the form; None if the secret is not the client's."""
        scheme, _, text = headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            name, _, secret = base64.b64decode(text).decode().partition(":")
        else:
            name, secret = form.get("client_id", [""])[0], form.get("client_secret", [""])[0]
        return name if name in self.clients and self.clients[name] == secret else None

    def _answer(self, headers, body):
        self.asked += 1
        client = self._client(headers, urllib.parse.parse_qs(body))
        if client is None:
            return 401, {"error": "invalid_client", "error_description": "unknown client or wrong secret"}
        return 200, {"access_token": self.token(client), "token_type": "Bearer", "expires_in": self.lifetime}

    def _handler(issuer):  # noqa: the handler's own self is another
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                status, answer = issuer._answer(self.headers, body)
                data = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass
        return Handler
