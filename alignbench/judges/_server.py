"""One chat request to an OpenAI-compatible server: sent, read, and if it failed, what to make of that."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import math
import os
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal, cast
from urllib.parse import urlsplit

import httpx2
import openai

from ..answers import Answer
from ..errors import InputError
from ..questions import one_message
from ..records import Message
from ._reading import Unreadable, read

LARGEST = 16 * 2**20  # bytes of one response: a server that never ends must not fill the memory
TOP = (20, 5)  # top_logprobs: what OpenAI gives at most, then what nearly all give
PARAMETERS = ("top_logprobs", "logprobs", "temperature", "seed", "max_completion_tokens", "max_tokens")

Kind = Literal["unreachable", "busy", "faulty", "question", "denied"]


class Failure(Exception):  # noqa: N818  (not an error of the program: a message from the server to the retrying loop)
    """A request without an answer.

    `kind` says what may come of trying again: the server is "unreachable" or "busy" (later, for any question), it was
    "faulty" (perhaps), it will not take this "question" (nothing) or any ("denied": nothing, for all of them).
    `reason` continues a sentence that begins with "the server", and holds nothing secret. `wait`: the seconds that the
    server asks for.
    """

    def __init__(self, kind: Kind, reason: str, wait: float | None = None, message: str = "") -> None:
        super().__init__(reason)
        self.kind, self.reason, self.wait, self.message = kind, reason, wait, message


class _TooLong(httpx2.ReadError):
    pass


class _Capped(httpx2.AsyncByteStream):
    """A response's bytes, up to `LARGEST`."""

    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self.inner = inner

    async def __aiter__(self) -> Any:
        size = 0
        async for chunk in self.inner:
            size += len(chunk)
            if size > LARGEST:
                raise _TooLong("")
            yield chunk

    async def aclose(self) -> None:
        await self.inner.aclose()


async def _cap(response: httpx2.Response) -> None:
    response.stream = _Capped(cast(httpx2.AsyncByteStream, response.stream))


def secrets() -> list[str]:
    """What the environment holds that must appear nowhere, longest first."""
    names = ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY")
    headers = os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n")
    found = [os.environ.get(name, "") for name in names] + [header.partition(":")[2] for header in headers]
    # "Bearer abc" is a header's value; "abc" is what may turn up.
    parts = [part for value in found for part in value.split() if part.casefold() not in ("bearer", "basic")]
    return sorted({part for part in parts if len(part) >= 6}, key=len, reverse=True)


def redacted(text: str) -> str:
    """`text` without the key, should a server have repeated it."""
    for secret in secrets():
        text = text.replace(secret, "[key]")
    return text


def _shown(text: str) -> str:
    """A server's message, fit to be shown: on one line, and without keys, the middle of one starred out as well."""
    return " ".join(re.sub(r"\bsk-[\w*.-]+", "[key]", redacted(text)).split())


def api_key(service: bool) -> str:
    """The key from the environment. Raises `InputError` where the service needs one, or where it cannot be sent."""
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not key and service:
        raise InputError(
            "judge openai: OPENAI_API_KEY is not set: export the key, or name a server of your own with --judge-url."
        )
    if not all("!" <= character <= "~" for character in key):
        raise InputError("judge openai: OPENAI_API_KEY holds a character that no key has: export it anew.")
    return key or "none"


class Server:
    """A chat model behind a URL, as far as one request goes.

    What it will not take (`temperature`, say, or a system message) is left out of all further requests, once it has
    said so and before it has answered anything: later such words are about one question. Redirects are not followed,
    which might lead the questions, or the key, elsewhere; a proxy is used as the environment says, but never to this
    machine itself.
    """

    def __init__(self, model: str, url: str, service: bool, timeout: float) -> None:
        self.model, self.url, self.service, self.timeout = model, url, service, timeout
        self.settled = False
        self.system = True
        self.top: tuple[int, ...] = TOP
        # Servers other than the service have long known max_tokens, and not all know its new name.
        self.limits = ["max_completion_tokens", "max_tokens"] if service else ["max_tokens", "max_completion_tokens"]
        self.left_out: set[str] = set()
        self._client: openai.AsyncOpenAI | None = None

    async def __aenter__(self) -> Server:
        """Connect within the running event loop."""
        http = openai.DefaultAsyncHttpxClient(
            follow_redirects=False,
            trust_env=not _is_here(self.url),
            event_hooks={"response": [_cap]},
            headers={"Accept-Encoding": "identity"},  # a few bytes could unpack into gigabytes
        )
        self._client = openai.AsyncOpenAI(
            api_key=api_key(self.service), base_url=self.url, timeout=self.timeout, max_retries=0, http_client=http
        )
        return self

    async def __aexit__(self, *exception: object) -> None:
        assert self._client is not None
        await self._client.close()

    async def send(self, messages: Sequence[Message], max_tokens: int) -> Answer:
        """The server's answer to one request, within `timeout` seconds altogether. Raises `Failure`."""
        assert self._client is not None
        asked = list(messages) if self.system else one_message(messages)
        create = self._client.chat.completions.with_raw_response.create
        try:
            # The client's own time-out is one of silence: a server that drips bytes would never run into it.
            async with asyncio.timeout(self.timeout):
                response = await create(model=self.model, messages=cast(Any, asked), **self._settings(max_tokens))
            answer = read(json.loads(response.http_response.content), now())
        except (TimeoutError, openai.APITimeoutError):
            raise Failure("faulty", f"gave no whole answer within {self.timeout:g} s") from None
        except openai.APIStatusError as error:
            raise _of_status(error.status_code, error.response.headers, error.body) from None
        except openai.APIConnectionError as error:
            raise _of_connection(error.__cause__) from None
        except Unreadable as error:
            raise _of_status(error.status, {}, error.body) if error.status else Failure("faulty", str(error)) from None
        except (ValueError, RecursionError):  # no JSON, or no Unicode, or a million brackets
            raise Failure("faulty", "answered with something that is not JSON") from None
        self.settled = True
        texts = {name: redacted(getattr(answer, name)) for name in ("text", "finish", "served")}
        return Answer(**{**vars(answer), **texts})

    def adapt(self, failure: Failure) -> bool:
        """Leave out what the server has said it does not take; whether there was such a thing."""
        if self.settled or failure.kind not in ("question", "denied", "faulty") or not failure.message:
            return False
        text = failure.message.casefold()
        if self.system and re.search(r"\bsystem\b.{0,20}\b(role|message|prompt)|\brole.{0,20}\bsystem\b", text):
            self.system = False
            return True
        if failure.kind == "faulty" or re.search(r"context (length|window|size)|too (long|large)", text):
            return False
        sent = self._settings(1)
        named = [name for name in PARAMETERS if name in sent and re.search(rf"\b{name}\b", text)]
        if not named:
            return False
        # The name that is wrong comes before the one to use in its stead.
        name = min(named, key=text.index)
        if "logprobs" in name:
            self.top = self.top[1:]
        elif name in self.limits:
            self.limits.remove(name)
        else:
            self.left_out.add(name)
        return True

    def _settings(self, max_tokens: int) -> dict[str, Any]:
        settings: dict[str, Any] = {"temperature": 0, "seed": 0}
        if self.top:
            settings |= {"logprobs": True, "top_logprobs": self.top[0]}
        settings |= dict.fromkeys(self.limits[:1], max_tokens)
        return {name: value for name, value in settings.items() if name not in self.left_out}


def _of_status(status: int, headers: Any, body: object) -> Failure:
    """What a status other than success means."""
    found = body.get("error", body) if isinstance(body, dict) else body
    code = found.get("code") or found.get("type") if isinstance(found, dict) else None
    text = found.get("message") or found.get("detail") if isinstance(found, dict) else found
    parameter = found.get("param") if isinstance(found, dict) else None
    plain = text if isinstance(text, str) else json.dumps(text, default=str)
    plain = _shown(plain)[:2000]
    # The parameter's name first, so that it is the first name found.
    message = " ".join(filter(None, (parameter if isinstance(parameter, str) else "", plain)))
    wait = retry_after(headers)
    said = f" ({plain[:200].rstrip('. ')})" if plain and not plain.lstrip().startswith("<") else ""
    if status == 429 and code == "insufficient_quota":
        return Failure("denied", "says that the account has no quota left (429)")
    if status in (429, 502, 503, 504, 529):
        return Failure("busy", f"was too busy or not ready ({status})", wait)
    if status in (401, 403):
        # Its words may repeat the key in part: they are searched for a parameter's name, never shown.
        key = "refuses the key in" if os.environ.get("OPENAI_API_KEY") else "wants a key, and there is none in"
        return Failure("denied", f"{key} OPENAI_API_KEY ({status})", message=message)
    if status == 404:
        return Failure("denied", f"knows no such model or address (404){said}", message=message)
    if 300 <= status < 400:
        return Failure("denied", f"sends us to another address ({status}), which is not followed")
    if status in (408, 409) or status >= 500:
        return Failure("faulty", f"failed ({status})", wait, message=message)
    if code in ("content_filter", "content_policy_violation"):
        return Failure("question", "filters the question", message="content_filter")
    return Failure("question", f"refuses the question ({status}){said}", message=message)


def _of_connection(cause: BaseException | None) -> Failure:
    if isinstance(cause, _TooLong):
        return Failure("faulty", f"sent more than {LARGEST // 2**20} MiB for one answer")
    if isinstance(cause, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError):
        why = _shown(str(cause))[:120]
        return Failure("unreachable", "cannot be reached" + (f" ({why})" if why else ""))
    return Failure("faulty", "broke off the connection")


def retry_after(headers: Any) -> float | None:
    """The seconds that a server asks to wait, from retry-after-ms or Retry-After (RFC 9110, 10.2.3), or None."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * unit
        except ValueError:
            try:
                seconds = parsedate_to_datetime(value).timestamp() - time.time()
            except (ValueError, OverflowError):
                continue
        if math.isfinite(seconds) and seconds >= 0:
            return seconds
    return None


def _is_here(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        found = ipaddress.ip_address(host)
        return found.is_loopback or found.is_unspecified
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
