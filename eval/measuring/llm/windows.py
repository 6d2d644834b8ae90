"""Which tokens of a document a model reads together, and which of them count.

`truncate` reads the document's first tokens in one window. `sliding` is the perplexity of YaRN's repository (Peng et
al. 2024): windows `stride` tokens apart until one reaches the end, of which only tokens that no window before it had
are scored. `disjoint` is the rolling log-likelihood of lm-eval: each token is scored once, windows do not overlap but
for `context` tokens that are read again.
"""

from __future__ import annotations

from dataclasses import dataclass

from conf.perplexity import PerplexityProtocol


@dataclass(frozen=True)
class Window:
    """Text tokens [begin, end) of a document are read, those from `first` on are scored; with a BOS in front or not."""

    begin: int
    end: int
    first: int
    bos: bool

    @property
    def ids(self) -> int:
        """Tokens that the model reads, the BOS among them."""
        return self.end - self.begin + self.bos

    @property
    def scored(self) -> int:
        return max(0, self.end - self.first)


def windows(count: int, protocol: PerplexityProtocol, length: int) -> list[Window]:
    """The windows of a document of `count` text tokens at one length, in their order; those without any scored token,
    such as one token without a BOS, are left out."""
    size = protocol.window(length)
    if protocol.mode == "truncate":
        made = [_window(0, min(size, count), 0, protocol.bos)]
    elif protocol.mode == "sliding":
        assert protocol.stride is not None
        made = sliding(count, size, protocol.stride, protocol.bos)
    else:
        made = disjoint(count, size, protocol.context, protocol.fill, protocol.bos)
    return [window for window in made if window.scored]


def sliding(count: int, size: int, stride: int, bos: str) -> list[Window]:
    """Windows of at most `size` text tokens that begin `stride` tokens apart. A stride above the size skips tokens, as
    in YaRN's repository; `PerplexityProtocol` refuses it."""
    made: list[Window] = []
    for begin in range(0, count, stride):
        end = min(begin + size, count)
        made.append(_window(begin, end, made[-1].end if made else 0, bos))
        if end == count:
            break
    return made


def disjoint(count: int, size: int, context: int, fill: bool, bos: str) -> list[Window]:
    """Windows that score `size` text tokens each; `fill`: the last one reads as many as the others."""
    made = []
    for done in range(0, count, size):
        end = min(done + size, count)
        begin = max(0, (end - size if fill else done) - context) if done else 0
        made.append(_window(begin, end, done, bos))
    return made


def _window(begin: int, end: int, done: int, bos: str) -> Window:
    """Tokens before `done` have been scored; without a BOS nothing stands before the first token to predict it."""
    has_bos = bos == "window" or (bos == "document" and done == 0)
    return Window(begin, end, max(done, begin + (not has_bos)), has_bos)
