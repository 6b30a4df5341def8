"""Chat templates run in a process of their own, under limits: a template comes with a checkpoint, and may be a bomb.

    texts = apply_template(tokenizer, conversations)         # what the template writes; raises as the template does
    run_template(template, names, conversations, now=day)    # a text or an exception for each

Jinja's sandbox keeps a template away from Python, not from `10 ** (10 ** 9)`, nested loops or a text that doubles
itself. Nothing inside this process could stop one long operation of C. So a helper process renders, and the kernel
watches it: `CPU_SECONDS` of processor time a conversation (not wall time: a busy machine refuses nothing), `MEMORY` of
address space, and `SILENCE` of wall time as the last resort. The helper that passes a limit is killed, the conversation
is refused with the limit's name, and a new helper takes the next one. A template that does so `STRIKES` times in one
call is asked no more in that call, and after `LIMIT_STRIKES` in all it cannot be used.

The helper imports the standard library and Jinja only: it is up in a tenth of a second. Its environment is that of
transformers 5 (`chat_template_utils._cached_compile_jinja_template`), by test.

    requests    8 bytes of length, then JSON: template, names, conversations, …
    answers     for each conversation a byte (0 text, 1 refused, 2 out of memory), 8 bytes of length, then UTF-8
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from rewardsmith.types import Conversation

CPU_SECONDS = 1
"""Processor time of one conversation; the kernel counts whole seconds, so one more may pass."""
MEMORY = 1024 * 2**20
"""Address space of the helper, which Python and Jinja need some 40 MiB of."""
LONGEST = 64 * 2**20
"""Most bytes of one rendered text."""
SILENCE = 20.0
"""Wall time without an answer, for what waits instead of computing."""
STRIKES = 2
LIMIT_STRIKES = 8

_BATCH = 4 * 2**20  # characters of a request
_COMPILED = 16  # templates that the helper keeps
In = TypeVar("In")
Out = TypeVar("Out")


class TemplateRefusal(Exception):  # noqa: N818 - the template's own answer, or the limit's
    """What a template raised on a conversation. `limit`: it passed one of ours."""

    def __init__(self, said: str, *, limit: bool = False) -> None:
        super().__init__(said)
        self.limit = limit


def apply_template(
    tokenizer: Any, conversations: Sequence[Conversation], *, add_generation_prompt: bool = False
) -> list[str]:
    """The text of each conversation as the tokenizer's chat template writes it.

    Raises:
        TemplateRefusal: the template raises on one of them, or passes a limit.
    """
    names, template = dict(tokenizer.special_tokens_map), tokenizer.get_chat_template()
    texts = []
    for found in run_template(template, names, conversations, add_generation_prompt=add_generation_prompt, whole=True):
        if isinstance(found, Exception):
            raise found
        texts.append(found)
    return texts


def template_texts(
    tokenizer: Any, conversations: Sequence[Conversation], *, add_generation_prompt: bool = False
) -> list[str | Exception]:
    """As `apply_template`, with the exception in place of a text that cannot be had."""
    try:
        names, template = dict(tokenizer.special_tokens_map), tokenizer.get_chat_template()
    except Exception as error:
        return [error for _ in conversations]
    return run_template(template, names, conversations, add_generation_prompt=add_generation_prompt)


def run_template(
    template: str,
    names: Mapping[str, Any],
    conversations: Sequence[Conversation],
    *,
    add_generation_prompt: bool = False,
    now: datetime | None = None,
    whole: bool = False,
) -> list[str | Exception]:
    """Render conversations in the helper.

    Args:
        template: Jinja source as transformers understands it.
        names: `tokenizer.special_tokens_map`, which templates may name.
        conversations: each becomes a text.
        add_generation_prompt: as in `apply_chat_template`.
        now: what the template's clock says; the time of day unless given.
        whole: stop at the first refusal.

    Raises:
        RenderingError: the template passed its limits again and again, or no helper can be started.
    """
    done: list[str | Exception] = []
    strikes = 0
    head = {"names": names, "prompt": add_generation_prompt, "now": now.isoformat() if now else None}
    while len(done) < len(conversations):
        if strikes >= STRIKES:
            refused = TemplateRefusal(f"not asked: {done[-1]}, {strikes} times in this batch", limit=True)
            return [*done, *(refused for _ in conversations[len(done) :])]
        batch = _batch(conversations, len(done))
        for found in _HELPER.render(template, head, batch):
            done.append(found)
            if isinstance(found, TemplateRefusal) and found.limit:
                strikes += 1
                _strike(template, found)
                break
            if whole and isinstance(found, Exception):
                return done
    return done


def together_or_alone(function: Callable[[Sequence[In]], Sequence[Out]], values: Sequence[In]) -> list[Out | Exception]:
    """Apply a batch function; where the batch fails, each value alone, so that one bad row spoils only itself.

    Tokenizers are foreign code that may raise anything.
    """
    try:
        return list(function(values))
    except Exception:
        results: list[Out | Exception] = []
        for value in values:
            try:
                results.append(function([value])[0])
            except Exception as error:
                results.append(error)
        return results


Asked = tuple[list[dict[str, Any]], list[Any] | None]
"""Messages as templates take them, and the tools that may be called."""


def _batch(conversations: Sequence[Conversation], start: int) -> list[Asked]:
    """The next conversations of a request, one at least."""
    from rewardsmith.types import tools_of  # not above: the helper runs this file, and needs nothing of ours

    batch: list[Asked] = []
    size = 0
    for conversation in conversations[start:]:
        size += sum(len(message.text) for message in conversation)
        if batch and size > _BATCH:
            break
        tools, turns = tools_of(conversation)
        messages = [turn.as_dict() for turn in turns]
        if any(turn.reasoning_content for turn in turns):
            messages = _with_reasoning(messages)
        batch.append((messages, tools or None))
    return batch


def _with_reasoning(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Reasoning under every name by which transformers hands it to templates; older versions have one."""
    from transformers.utils import chat_template_utils

    alias = getattr(chat_template_utils, "_alias_reasoning_fields", None)
    return list(alias(messages)) if alias else messages


_STRUCK: Counter[str] = Counter()


def _strike(template: str, refusal: TemplateRefusal) -> None:
    from rewardsmith.errors import RenderingError

    _STRUCK[template] += 1
    if _STRUCK[template] >= LIMIT_STRIKES:
        raise RenderingError(
            f"the chat template passed its limits {_STRUCK[template]} times, at last: {refusal}",
            where="chat template",
            fix="read the template, and name another Jinja file under base_model.chat_template",
        )


class _Helper:
    """The helper process of this process, started when first asked and again after each death."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = 0
        self._read = bytearray()

    def render(self, template: str, head: Mapping[str, Any], batch: list[Asked]) -> Iterator[str | TemplateRefusal]:
        """One answer a conversation; after one that killed the helper no more come."""
        with self._lock:
            request = {**head, "template": template, "conversations": batch}
            raw = json.dumps(request, ensure_ascii=False).encode("utf-8", "surrogatepass")
            process = self._started()
            try:
                _write(process, len(raw).to_bytes(8, "little") + raw)
                for _ in batch:
                    kind, content = self._answer(process)
                    if kind == 0:
                        yield content
                    else:
                        yield TemplateRefusal(content, limit=kind == 2)
            except (OSError, EOFError) as error:
                yield TemplateRefusal(self._buried(error), limit=True)
            except BaseException:  # the caller stopped in the middle: what is still to come belongs to nobody
                self.close()
                raise

    def _answer(self, process: subprocess.Popen[bytes]) -> tuple[int, str]:
        head = self._bytes(process, 9)
        content = self._bytes(process, int.from_bytes(head[1:], "little"))
        return head[0], content.decode("utf-8", "surrogatepass")

    def _bytes(self, process: subprocess.Popen[bytes], count: int) -> bytes:
        if process.stdout is None:
            raise EOFError
        descriptor = process.stdout.fileno()
        while len(self._read) < count:
            if hasattr(select, "poll"):
                waiting = select.poll()
                waiting.register(descriptor, select.POLLIN)
                if not waiting.poll(1000 * SILENCE):
                    raise TimeoutError
            found = os.read(descriptor, 2**20)
            if not found:
                raise EOFError
            self._read += found
        taken = bytes(self._read[:count])
        del self._read[:count]
        return taken

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is not None and self._owner == os.getpid() and self._process.poll() is None:
            return self._process
        self.close()
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._process = subprocess.Popen(  # noqa: S603 - this interpreter, this file
            [sys.executable, "-P", "-B", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,  # Ctrl-C is for this process
        )
        self._owner = os.getpid()
        return self._process

    def _buried(self, error: Exception) -> str:
        """Which limit the helper died of."""
        process = self._process
        if process is None or isinstance(error, TimeoutError):
            self.close()
            return f"the template gave no answer within {SILENCE:.0f} s"
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
        status = process.returncode
        self.close()
        if status == -getattr(signal, "SIGXCPU", 24):
            return f"the template took more than {CPU_SECONDS} s of processor time"
        return f"the template broke the process that rendered it (status {status}; it may have {MEMORY >> 20} MiB)"

    def close(self) -> None:
        """Leave nothing of the process behind; one that another process started (before a fork) is left alone."""
        process, self._process, self._read = self._process, None, bytearray()
        if process is None:
            return
        if self._owner == os.getpid():
            process.kill()
            process.wait()
        else:
            process.returncode = 0  # no child of ours: nothing to wait for
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()


def _write(process: subprocess.Popen[bytes], raw: bytes) -> None:
    if process.stdin is None:
        raise EOFError
    process.stdin.write(raw)
    process.stdin.flush()


_HELPER = _Helper()
atexit.register(_HELPER.close)
if hasattr(os, "register_at_fork"):
    # A lock that another thread held at the fork would stay shut in the child.
    os.register_at_fork(after_in_child=lambda: setattr(_HELPER, "_lock", threading.Lock()))


def _environment(clock: Callable[[], datetime]) -> Any:
    """The environment of transformers 5."""
    from jinja2 import TemplateError, nodes
    from jinja2.exceptions import SecurityError
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.utils import Namespace

    class Generation(Extension):
        """`{% generation %}`, which marks what the assistant said; here it only writes it."""

        tags = {"generation"}  # noqa: RUF012 - as Jinja wants it

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.CallBlock(self.call_method("_said"), [], [], body).set_lineno(line)

        def _said(self, caller: Any) -> Any:
            return caller()

    class Names(Namespace):
        """A namespace whose attributes may not begin with an underscore."""

        def __init__(*args: Any, **kwargs: Any) -> None:
            self, args = args[0], args[1:]
            attributes = dict(*args, **kwargs)
            for name in attributes:
                public(name)
            Namespace.__init__(self, attributes)

        def __setitem__(self, name: str, value: Any) -> None:
            public(name)
            Namespace.__setitem__(self, name, value)

    def public(name: Any) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise SecurityError(f"an attribute of a namespace may not be called {name!r}")

    def refuse(message: str) -> None:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals |= {
        "raise_exception": refuse,
        "strftime_now": lambda form: clock().strftime(form),
        "dict": _Dicts(),
        "namespace": Names,
    }
    return environment


class _Dicts:
    """`dict`, without what its type would lead to."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return dict(*args, **kwargs)

    def fromkeys(self, *args: Any, **kwargs: Any) -> Any:
        return dict.fromkeys(*args, **kwargs)


def _tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """JSON as it is, not escaped for HTML as Jinja's own filter does."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _limit_memory() -> None:
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    except (ImportError, ValueError, OSError):
        return  # Windows has none, and macOS takes no limit of the address space


def _limit_time() -> None:
    """So many seconds of processor time from now on."""
    try:
        import resource
        import time

        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        resource.setrlimit(resource.RLIMIT_CPU, (int(time.process_time()) + 1 + CPU_SECONDS, hard))
    except (ImportError, ValueError, OSError):
        return


def _serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """The helper's life: until there are no more requests."""
    now: list[datetime | None] = [None]
    environment = _environment(lambda: now[0] or datetime.now())  # noqa: DTZ005 - as transformers' clock
    compiled: dict[str, Any] = {}
    while head := requests.read(8):
        asked = json.loads(requests.read(int.from_bytes(head, "little")).decode("utf-8", "surrogatepass"))
        now[0] = datetime.fromisoformat(asked["now"]) if asked["now"] else None
        source = asked["template"]
        for messages, tools in asked["conversations"]:
            _limit_time()
            try:
                if source not in compiled:
                    if len(compiled) >= _COMPILED:
                        compiled.clear()
                    compiled[source] = environment.from_string(source)
                values = {"messages": messages, "tools": tools, "documents": None}
                text = compiled[source].render(**{**values, "add_generation_prompt": asked["prompt"], **asked["names"]})
                kind, raw = 0, text.encode("utf-8", "surrogatepass")
                if len(raw) > LONGEST:
                    kind, raw = 2, f"the template wrote {len(raw):,} bytes, the limit is {LONGEST:,}".encode()
            except MemoryError:
                kind, raw = 2, f"the template took more than {MEMORY >> 20} MiB of memory".encode()
            except Exception as error:
                said = str(error).strip() or type(error).__name__
                kind, raw = 1, said[:2000].encode("utf-8", "surrogatepass")
            answers.write(bytes([kind]) + len(raw).to_bytes(8, "little") + raw)
            answers.flush()  # each by itself: the conversation that kills the helper is the one without an answer


if __name__ == "__main__":
    _limit_memory()
    _serve(sys.stdin.buffer, sys.stdout.buffer)
