"""A chat server of our own that fails in every way asked of it, and counts what it was asked."""

from __future__ import annotations

import contextlib
import json
import math
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal


@dataclass(frozen=True)
class Asked:
    """A request: its body, its headers by their names in small letters, and how often its question has come by now."""

    body: dict[str, Any]
    headers: dict[str, str]
    time: int

    @property
    def question(self) -> str:
        return "\n".join(message["content"] for message in self.body["messages"])

    def shown(self, name: str) -> str:
        """What stands in the fence of that name: prompt, A or B."""
        found = re.search(rf"=== ([0-9a-f]{{12}}) {name} ===\n(.*?)\n=== \1 end ===", self.question, re.DOTALL)
        assert found is not None
        return found[2]


@dataclass(frozen=True)
class Reply:
    """What is sent back. `how`: the whole; half of it, then the connection is cut; a byte now and then for ever; as
    much as goes through for ever; or nothing at all."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    how: Literal["whole", "cut", "drip", "flood", "silence"] = "whole"


def said(text: str | None, finish: str = "stop", logprobs: Any = None, **message: Any) -> Reply:
    """A chat completion that cost 50 tokens read and 2 written."""
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish}
    choice["message"] = {"role": "assistant", "content": text, **message}
    if logprobs is not None:
        choice["logprobs"] = logprobs
    usage = {"prompt_tokens": 50, "completion_tokens": 2, "total_tokens": 52}
    whole = {"id": "x", "object": "chat.completion", "created": 0, "model": "served-name", "usage": usage}
    return Reply(body=json.dumps({**whole, "choices": [choice]}).encode())


def failed(status: int, message: str = "", headers: dict[str, str] | None = None, **error: Any) -> Reply:
    return Reply(status, json.dumps({"error": {"message": message, **error}}).encode(), headers or {})


def likely(probabilities: dict[str, float], chosen: str = "A") -> dict[str, Any]:
    """The `logprobs` of an answer of one token."""
    top = [{"token": token, "logprob": math.log(p), "bytes": None} for token, p in probabilities.items()]
    return {"content": [{"token": chosen, "logprob": top[0]["logprob"], "bytes": None, "top_logprobs": top}]}


def honest(asked: Asked) -> Reply:
    """Prefers what says "good"; where both or neither do, it is a tie."""
    good = ["good" in asked.shown(name) for name in "AB"]
    return said("tie" if good[0] == good[1] else "A" if good[0] else "B")


class FaultyServer:
    """A server on loopback. `respond` is called in a thread for each request; `requests` counts by question, `answered`
    the replies that were sent whole with status 200."""

    def __init__(self, respond: Callable[[Asked], Reply] = honest, port: int = 0) -> None:
        self.respond = respond
        self.requests: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.seen: list[Asked] = []
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.at_once = self.most_at_once = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer._serve(self)

            def log_message(self, *arguments: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> FaultyServer:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self.lock:
            question = json.dumps(body["messages"])
            self.requests[question] += 1
            asked = Asked(body, {k.lower(): v for k, v in handler.headers.items()}, self.requests[question])
            self.seen.append(asked)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            reply = self.respond(asked)
            with contextlib.suppress(ConnectionError):
                self._send(handler, reply)
                if reply.status == 200 and reply.how == "whole":
                    with self.lock:
                        self.answered[question] += 1
        finally:
            with self.lock:
                self.at_once -= 1

    def _send(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        endless = reply.how in ("drip", "flood")
        handler.close_connection = reply.how != "whole"
        if reply.how == "silence":
            self.closing.wait(60)
            return
        handler.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(10**12 if endless else len(reply.body)))
        handler.end_headers()
        if reply.how == "cut":
            handler.wfile.write(reply.body[: len(reply.body) // 2])
        elif endless:
            for part in self._for_ever(reply.how):
                handler.wfile.write(part)
                handler.wfile.flush()
        else:
            handler.wfile.write(reply.body)

    def _for_ever(self, how: str) -> Iterator[bytes]:
        while not self.closing.is_set():
            yield b" " if how == "drip" else b" " * 2**20
            if how == "drip":
                self.closing.wait(0.02)
