"""What a run of `posgen llm perplexity` is asked, and what it finds: the model, documents and encodings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conf.perplexity import PerplexityProtocol
from eval.measuring.llm import cost
from eval.measuring.llm.perplexity import Pass, Table, passes
from eval.measuring.llm.texts import Document, choose, corpus_digest, read
from eval.store.provenance import device_name
from models.hf.ropes import layer_types, rotary_of
from models.lm.loading import LanguageModel, check_source, load, refuse_other_rope
from models.lm.names import check_names, plain_of
from models.lm.ropes import Installed, Ropes
from posgen.errors import BadValue, UserError
from posgen.places import PERPLEXITY
from posgen.plain import digest, plain


@dataclass(frozen=True)
class Asked:
    """Encodings at a factor s under a protocol. `params`: settings of encodings by name; those of `yarn` hold for
    `resonance_yarn` too. `names`: of the documents; None: all that there are."""

    protocol: PerplexityProtocol
    ropes: tuple[str, ...]
    factor: float
    params: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Request:
    """A run. `records`: the file that records are added to; `runs`: the folder of working files."""

    model: str
    texts: tuple[Path, ...]
    asked: tuple[Asked, ...]
    profile: str
    dtype: str = "bf16"
    device: str = "cpu"
    adapter: str | None = None
    text_field: str | None = None
    ids_field: str | None = None
    records: Path = Path("results") / PERPLEXITY
    runs: Path = Path("results/runs")
    other_rope: bool = False
    """Whether a tuned model may have other encodings than its own."""


@dataclass(frozen=True, eq=False)
class Encoding:
    """An encoding as it was installed; `table` identifies its rotary table by the number of tokens read."""

    name: str
    params: Mapping[str, Any]
    rope: dict[str, Any]
    table: Table


@dataclass(frozen=True, eq=False)
class Part:
    """What is measured under one protocol. `told`: the protocol as records hold it, with the corpus in it."""

    protocol: PerplexityProtocol
    lengths: tuple[int, ...]
    factor: float
    documents: tuple[Document, ...]
    encodings: tuple[Encoding, ...]
    corpus: dict[str, Any]
    told: dict[str, Any]
    attention: str
    bos_id: int | None
    left_out: int

    @property
    def told_key(self) -> str:
        """The protocol's digest, as in records."""
        return digest(self.told)

    def passes(self, document: Document, encoding: Encoding) -> list[Pass]:
        """Those of a document under an encoding."""
        return passes(document.tokens, self.protocol, self.lengths, encoding.table)


def prepare(request: Request) -> tuple[LanguageModel, Ropes, list[Part]]:
    """The model, and each part with its documents and encodings, all looked at. UserError in one line for what cannot
    be measured, memory above all."""
    for asked in request.asked:
        check_names(asked.ropes)
        _check_params(asked)
    if not request.texts:
        raise BadValue("texts", "", "name a file or a folder of texts")
    check_source(request.model)
    _check_weights(request)
    model = load(request.model, request.dtype, request.device, request.adapter)
    for asked in request.asked:
        refuse_other_rope(model, asked.ropes, request.other_rope)
    ropes = Ropes(model.model)
    parts = [_part(request, asked, model, ropes) for asked in request.asked]
    return model, ropes, parts


def _part(request: Request, asked: Asked, model: LanguageModel, ropes: Ropes) -> Part:
    protocol = asked.protocol.at(asked.protocol.lengths or [ropes.train_length])
    lengths = tuple(protocol.lengths or ())
    bos_id = _bos(model, protocol)
    attention = str(getattr(model.owner.config, "_attn_implementation", None) or "unknown")
    need = cost.pass_bytes(model.config, request.dtype, lengths[-1], attention)
    cost.check_memory(need, f"a pass of {lengths[-1]:,} tokens", request.device, "use shorter lengths=[...]")
    documents, left_out = _documents(request, asked, protocol, model)
    encodings = tuple(
        _encoding(ropes, name, asked.factor, _params_of(name, asked.params)) for name in check_names(asked.ropes)
    )
    corpus = {
        "documents": len(documents), "sha256": corpus_digest(documents),
        "text_field": request.text_field, "ids_field": request.ids_field,
    }  # fmt: skip
    told = {
        **plain(protocol), "corpus": corpus, "add_special_tokens": False, "attention": attention,
        "logits": "fp32", "sums": "fp64",
    }  # fmt: skip
    return Part(protocol, lengths, asked.factor, tuple(documents), encodings, corpus, told, attention, bos_id, left_out)


def _encoding(ropes: Ropes, name: str, factor: float, params: Mapping[str, Any]) -> Encoding:
    installed = ropes.install(name, factor, params)
    return Encoding(name, params, installed.rope, _table(ropes, installed))


def _table(ropes: Ropes, installed: Installed) -> Table:
    if installed.fixed:
        return lambda tokens: 0
    rotary = [rotary_of(ropes.config, layer) for layer in layer_types(ropes.config)]

    def identify(tokens: int) -> tuple[Any, ...]:
        tables = [encoding.frequencies(tokens) for encoding in rotary]
        return tuple((tuple(inv_freq.tolist()), factor) for inv_freq, factor in tables)

    return identify


def _documents(
    request: Request, asked: Asked, protocol: PerplexityProtocol, model: LanguageModel
) -> tuple[list[Document], int]:
    """(the chosen documents, how many were read and left out for being too short)."""
    longest = protocol.window((protocol.lengths or [0])[-1])
    least = max(protocol.min_tokens, longest) if protocol.short == "drop" else protocol.min_tokens
    vocabulary = int(model.config.vocab_size)
    short: list[Document] = []

    def counted(documents: Iterator[Document]) -> Iterator[Document]:
        for document in documents:
            if document.tokens < least:
                short.append(document)
            yield document

    documents = choose(
        counted(read(request.texts, model.tokenizer, vocabulary, request.text_field, request.ids_field, asked.names)),
        least, protocol.samples, protocol.select, protocol.seed,
    )  # fmt: skip
    if protocol.short == "error":
        for document in documents:
            if document.tokens < longest:
                raise UserError(f"{document.name} has {document.tokens:,} tokens, fewer than {longest:,}: use "
                                "short=drop or short=keep, or shorter lengths=[...]")  # fmt: skip
    if not documents:
        most = max((document.tokens for document in short), default=0)
        raise UserError(f"no document has {least:,} tokens, the longest of {len(short)} has {most:,}: use short=keep, "
                        "a smaller min_tokens, or shorter lengths=[...]")  # fmt: skip
    return documents, len(short)


def _bos(model: LanguageModel, protocol: PerplexityProtocol) -> int | None:
    if protocol.bos == "none":
        return None
    bos = model.tokenizer.bos_token_id
    if bos is None:
        raise BadValue("bos", protocol.bos, "the tokenizer has no BOS; use bos=none")
    return int(bos)


def _check_params(asked: Asked) -> None:
    for key, params in asked.params.items():
        if not any(key in (name, plain_of(name)) for name in asked.ropes):
            raise BadValue(f"{key}.{next(iter(params))}", next(iter(params.values())),
                           f"--rope does not name {key}")  # fmt: skip


def _params_of(name: str, params: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {**params.get(plain_of(name), {}), **params.get(name, {})}


def _check_weights(request: Request) -> None:
    folder = Path(request.model)
    stored = cost.stored_weights(folder) if folder.is_dir() else None
    if stored is not None and request.dtype in cost.BYTES:
        cost.check_memory(stored * cost.BYTES[request.dtype], f"{folder.name} in {request.dtype}", "cpu",
                          "use a smaller model, or dtype=bf16")  # fmt: skip


def lines(model: LanguageModel, request: Request, parts: Sequence[Part]) -> Iterator[str]:
    """What a run says before it begins: the model, and of each part the protocol, documents and lengths."""
    yield f"{model.name}, {request.dtype} on {device_name(request.device)}"
    for part in parts:
        settings = " ".join(f"{key}={value}" for key, value in plain(part.protocol).items() if key != "lengths")
        yield f"protocol {part.told_key}: {settings}"
        chosen = f"{len(part.documents)} documents" if len(part.documents) > 1 else "1 document"
        left = f", {part.left_out} too short" if part.left_out else ""
        yield f"{chosen} (sha256 {part.corpus['sha256']}){left}, s = {part.factor:g}"
        windows = [(length, part.protocol.window(length)) for length in part.lengths]
        counts = [sum(document.tokens >= window for document in part.documents) for _, window in windows]
        if len(set(counts)) == 1:
            yield f"all of them reach {', '.join(f'{length:,}' for length, _ in windows)} tokens"
        else:
            told = ", ".join(f"{length:,}: {n}" for (length, _), n in zip(windows, counts, strict=True))
            yield f"documents that reach a length: {told}"
