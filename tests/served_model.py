"""`transformers serve` with a model of our own making, started by a test on loopback."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import transformers as hf

from . import small_tokenizers

LOADING = 120.0  # seconds: more than any machine takes


def answering(folder: Path, answer: str = "A") -> None:
    """Save a chat model that says `answer`, one token, to everything, and ends its turn."""
    tokenizer = small_tokenizers.pieces(True, small_tokenizers.CHAT)
    size = len(tokenizer)
    # Attention and feed-forward layers add nothing, so that the next token depends on the last one alone.
    config = hf.LlamaConfig(
        vocab_size=size, hidden_size=size, intermediate_size=8, num_hidden_layers=1, num_attention_heads=size // 4,
        max_position_embeddings=8192, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=False,
    )  # fmt: skip
    model = hf.LlamaForCausalLM(config)
    end, says = tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids(answer)
    with torch.no_grad():
        model.model.layers[0].self_attn.o_proj.weight.zero_()
        model.model.layers[0].mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(size))
        model.lm_head.weight.zero_()
        model.lm_head.weight[says] = 1.0  # after every token
        model.lm_head.weight[end, says] = 2.0  # but after the answer
    model.generation_config = hf.GenerationConfig(eos_token_id=end, pad_token_id=end)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


class Served:
    """A server process on a port of its own; what it logs is kept in a file."""

    def __init__(self, model: Path, log: Path) -> None:
        self.program = Path(sys.executable).with_name("transformers")
        if not self.program.exists():
            pytest.skip(f"no real server: {self.program} is not installed")
        self.model, self.log, self.port = str(model), log, free_port()
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        where = ["--device", "cpu", "--host", "127.0.0.1", "--port", str(self.port)]
        with self.log.open("ab") as file:
            return subprocess.Popen(
                [str(self.program), "serve", self.model, *where], stdout=file, stderr=file, env=environment
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """Kill it in the middle of whatever it does, and start it again, which takes seconds."""
        self.kill()
        self.process = self._start()

    def wait(self) -> None:
        """Until it answers. Skips where the packages that it needs are missing."""
        until = time.monotonic() + LOADING
        while time.monotonic() < until:
            if self.process.poll() is not None:
                said = self.log.read_text(errors="replace")
                if "Missing dependencies" in said:
                    pytest.skip("no real server: `transformers serve` lacks packages, see transformers[serving]")
                raise AssertionError(f"the server ended: {said[-2000:]}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5):
                return  # it listens when the model is loaded
            time.sleep(0.1)
        raise AssertionError(f"no server after {LOADING:g} s")

    def answered(self) -> int:
        """How many requests it has answered so far, as it says itself."""
        return self.log.read_text(errors="replace").count('"POST /v1/chat/completions HTTP/1.1" 200')


@contextlib.contextmanager
def served(folder: Path) -> Iterator[Served]:
    """A server with the model of `answering`."""
    answering(folder / "model")
    server = Served(folder / "model", folder / "log")
    try:
        server.wait()
        yield server
    finally:
        server.kill()
