"""Perplexity against the numbers of YaRN's own code, of lm-eval's windows, and of fresh stock models."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from conf.perplexity import PerplexityProtocol, perplexity_protocol
from eval.evidence.llm.curves import _weighted
from eval.measuring.llm.perplexity import Pass, at_lengths, bins, measure, passes
from eval.measuring.llm.texts import tokenised
from eval.measuring.llm.windows import Window, disjoint, sliding, windows
from eval.running.llm.perplexity_plan import _encoding
from eval.store.lm_kinds import AtLength
from models.lm.nll import token_nll
from models.lm.ropes import Ropes
from posgen.errors import BadValue
from tests.tiny_llama import BOS, DOCUMENTS, SLIDING, TRUNCATED, model

REL = {"float64": 3e-6, "yarn": 4e-6}
"""The golden forward passes are in float64; ours, like that of YaRN's code, in float32."""


@pytest.fixture(scope="module")
def golden() -> Any:
    return model()


@pytest.fixture(scope="module")
def ropes() -> Ropes:
    """Encodings in a model of their own."""
    return Ropes(model())


@pytest.fixture(scope="module")
def double() -> Any:
    return model().double()


def protocol(**changes: Any) -> PerplexityProtocol:
    return replace(perplexity_protocol("token"), short="keep", **changes)


def of_case(case: dict[str, Any]) -> PerplexityProtocol:
    bos = "window" if case["bos"] else "none"
    if case["truncate"]:
        return protocol(bos=bos, lengths=[case["max_length"]])
    return protocol(bos=bos, lengths=[case["max_length"]], mode="sliding", stride=case["stride"])


def losses(owner: Any, ids: np.ndarray, todo: Pass, bos: int | None = BOS) -> np.ndarray:
    nll = np.full(len(ids), np.nan, dtype=np.float64)
    measure(owner, ids, bos, todo, nll, 0, lambda done: True)
    return nll


def measured(owner: Any, chosen: PerplexityProtocol, ids: np.ndarray, length: int) -> AtLength:
    (todo,) = passes(len(ids), chosen, [length], lambda tokens: 0)
    return at_lengths(losses(owner, ids, todo), chosen, [length], len(ids))[0]


def ppl(at: list[AtLength], weighting: str) -> float:
    return math.exp(_weighted(at, weighting))


CASES = SLIDING["cases"]
NAMES = [f"{'bos' if c['bos'] else 'no_bos'}-{c['max_length']}-{c['stride']}-{c['truncate']}" for c in CASES]


def test_the_model_is_the_golden_one(double: Any) -> None:
    check = SLIDING["logits_check"]
    logits = double(torch.tensor([check["ids"]])).logits[0, -1, :8]
    assert logits.tolist() == pytest.approx(check["last_logits_first8_float64"], abs=2e-6)  # rotary in float32


@pytest.mark.parametrize("case", CASES, ids=NAMES)
def test_windows_are_those_of_yarns_code(case: dict[str, Any]) -> None:
    size = case["max_length"] - case["bos"]
    bos = "window" if case["bos"] else "none"
    for index, ids in enumerate(DOCUMENTS):
        if case["truncate"]:
            made = windows(len(ids), of_case(case), case["max_length"])
        else:
            made = sliding(len(ids), size, case["stride"], bos)
        golden = [tuple(window[1:4]) for window in case["windows"] if window[0] == index]
        assert [(w.begin, w.end, w.first) for w in made if w.scored] == [w for w in golden if w[1] > w[2]]


@pytest.mark.parametrize("case", [c for c in CASES if c["truncate"] or c["stride"] <= c["max_length"] - c["bos"]])
def test_every_weighting_of_yarns_cases(golden: Any, case: dict[str, Any]) -> None:
    at = [measured(golden, of_case(case), ids, case["max_length"]) for ids in DOCUMENTS]
    assert sum(a.scored for a in at) == case["scored_tokens"]
    for weighting in ("window", "token", "document"):
        assert ppl(at, weighting) == pytest.approx(case[f"{weighting}_weighted_ppl"], rel=REL["float64"])
    means = float(np.mean([math.exp(a.nll or 0.0) for a in at]))
    assert means == pytest.approx(case["mean_of_document_ppls"], rel=REL["float64"])
    if not math.isnan(case["yarn_repo_ppl"]):  # one window of one token, of which nothing can be scored
        assert ppl(at, "window") == pytest.approx(case["yarn_repo_ppl"], rel=REL["yarn"])


def test_a_stride_that_skips_tokens_is_refused_and_its_number_is_known(golden: Any) -> None:
    for case in (c for c in CASES if not c["truncate"] and c["stride"] > c["max_length"] - c["bos"]):
        with pytest.raises(BadValue, match=r"stride=.*longer stride skips tokens"):
            of_case(case)
    (case,) = (c for c in CASES if c["bos"] and c["stride"] == c["max_length"])
    means, scored = [], 0
    for ids in DOCUMENTS:
        made = sliding(len(ids), case["max_length"] - 1, case["stride"], "window")
        nll = losses(golden, ids, Pass((32,), tuple(made)))
        means += [float(np.mean(nll[w.first : w.end], dtype=np.float64)) for w in made]
        scored += sum(w.scored for w in made)
    assert scored == case["scored_tokens"] == 342
    assert math.exp(np.mean(means)) == pytest.approx(case["yarn_repo_ppl"], rel=REL["yarn"])


@pytest.mark.parametrize("case", SLIDING["lm_eval_rolling"], ids=lambda case: case["max_length"])
def test_the_preset_lm_eval_is_its_rolling_loglikelihood(golden: Any, case: dict[str, Any]) -> None:
    preset = perplexity_protocol("lm_eval")
    at = [measured(golden, preset, ids, case["max_length"]) for ids in DOCUMENTS]
    sums = [-a.scored * (a.nll or 0.0) for a in at]
    assert sums == pytest.approx(case["loglikelihoods"], rel=REL["float64"])
    assert [a.scored for a in at] == [len(ids) for ids in DOCUMENTS]
    assert ppl(at, "token") == pytest.approx(case["token_ppl"], rel=REL["float64"])


def test_windows_of_lm_eval_by_lm_eval() -> None:
    utils = pytest.importorskip("lm_eval.utils")
    for count in (1, 16, 17, 31, 32, 33, 64, 97):
        tokens = list(range(100, 100 + count))
        pairs = utils.get_rolling_token_windows(tokens, BOS, max_seq_len=16, context_len=1)
        wanted = [utils.make_disjoint_window(pair) for pair in pairs]
        made = disjoint(count, 16, 1, True, "document")
        ours = [
            ([BOS] * w.bos + tokens[w.begin : w.first], tokens[w.first : w.end])
            for w in made
        ]  # fmt: skip
        assert ours == wanted


def test_one_pass_serves_all_lengths_of_a_fixed_table(golden: Any) -> None:
    for ids, wanted in zip(DOCUMENTS, SLIDING["full_pass_nll_bos"], strict=True):
        whole = Pass((200,), (Window(0, len(ids), 0, True),))
        assert losses(golden, ids, whole).tolist() == pytest.approx(wanted, rel=1e-5)
        chosen = protocol(lengths=[8, 32, 100])
        (todo,) = passes(len(ids), chosen, [8, 32, 100], lambda tokens: 0)
        assert todo.lengths == (8, 32, 100)
        together = at_lengths(losses(golden, ids, todo), chosen, todo.lengths, len(ids))
        for at in together:
            assert at.nll == pytest.approx(measured(golden, chosen, ids, at.length).nll, rel=1e-6)
            assert at.nll == pytest.approx(np.mean(wanted[: at.length - 1]), rel=1e-5)


ORIGINAL = {"original_max_position_embeddings": 64}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, **ORIGINAL}
NAMED = {"default": "none", "linear": "pi", "dynamic": "dynamic_ntk", "yarn": "yarn"}


@pytest.mark.parametrize(
    "case", TRUNCATED["cases"], ids=lambda c: f"{c['rope']}-{c['rope_parameters'].get('factor')}-{c['length']}"
)
def test_truncation_curves_are_those_of_fresh_stock_models(ropes: Ropes, case: dict[str, Any]) -> None:
    given = case["rope_parameters"]
    name = NAMED[given["rope_type"]]
    factor = given.get("factor", 1.0)
    if given["rope_theta"] != 1e4:  # NTK-aware for s = 4: base * 4^(8/6)
        name, factor = "ntk", 4.0
    encoding = _encoding(ropes, name, factor, {"beta_fast": 32.0, "beta_slow": 1.0} if name == "yarn" else {})
    chosen = protocol(lengths=[16, 32, 64, 96, 128, 160])
    at = []
    for ids in DOCUMENTS[2:]:
        todo = passes(len(ids), chosen, chosen.lengths or [], encoding.table)
        (serving,) = [each for each in todo if case["length"] in each.lengths]
        results = at_lengths(losses(ropes.owner, ids, serving), chosen, serving.lengths, len(ids))
        at += [result for result in results if result.length == case["length"]]
    assert [a.nll for a in at] == pytest.approx(case["mean_nll_per_document"], rel=3e-6)
    assert ppl(at, "token") == pytest.approx(case["token_weighted_ppl"], rel=5e-6)


def test_a_table_that_follows_the_length_takes_a_pass_where_it_changes(ropes: Ropes) -> None:
    """Up to L dynamic NTK is plain RoPE; a prefix of a longer pass would be another number."""
    encoding = _encoding(ropes, "dynamic_ntk", 4.0, {})
    chosen = protocol(lengths=[16, 32, 64, 96, 128])
    todo = passes(160, chosen, chosen.lengths or [], encoding.table)
    assert [each.lengths for each in todo] == [(16, 32, 64), (96,), (128,)]
    ids = DOCUMENTS[3]
    long = losses(ropes.owner, ids, todo[2])
    own = measured(ropes.owner, chosen, ids, 96).nll
    assert own is not None
    assert abs(float(np.mean(long[:95])) - own) > 1e-3


@pytest.mark.parametrize(
    ("name", "factor", "params", "stock"),
    [
        ("yarn", 4.0, {}, {"rope_type": "yarn", "factor": 4.0, **ORIGINAL}),
        ("yarn", 4.0, {"beta_fast": 2.0}, {"rope_type": "yarn", "factor": 4.0, "beta_fast": 2.0, **ORIGINAL}),
        ("llama3", 8.0, {}, LLAMA3),
        ("pi", 2.0, {}, {"rope_type": "linear", "factor": 2.0}),
        ("dynamic_ntk", 2.0, {}, {"rope_type": "dynamic", "factor": 2.0}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_model_under_another_encoding_is_the_stock_model_built_with_it(
    ropes: Ropes, name: str, factor: float, params: dict[str, Any], stock: dict[str, Any]
) -> None:
    ropes.install("resonance_yarn", 3.0)  # whatever was there before
    ropes.install(name, factor, params)
    ids = torch.tensor([BOS, *DOCUMENTS[3][:127]])
    wanted = token_nll(model({"rope_theta": 1e4, **stock}), ids)
    assert token_nll(ropes.owner, ids).tolist() == pytest.approx(
        wanted.tolist(), rel=1e-6, abs=1e-6 * float(wanted.mean())
    )


def test_scored_positions_and_bins() -> None:
    nll = np.arange(300, dtype=np.float32)
    chosen = protocol(lengths=[128, 257], score_from=100, score_to=200)
    first, second = at_lengths(nll, chosen, [128, 257], 300)
    assert (first.scored, first.nll) == (27, pytest.approx(113.0))  # text tokens 100 to 126
    assert (second.scored, second.nll) == (100, pytest.approx(149.5))
    means, scored = bins(nll, 1)
    assert scored == (127, 128, 45)
    assert means == (63.0, 190.5, 277.0)


def test_a_run_goes_on_with_the_window_at_which_it_was_stopped(golden: Any) -> None:
    ids = DOCUMENTS[3]
    chosen = protocol(lengths=[32], mode="sliding", stride=8)
    (todo,) = passes(len(ids), chosen, [32], lambda tokens: 0)
    nll = np.full(len(ids), np.nan)
    measure(golden, ids, BOS, todo, nll, 0, lambda done: done < 5)
    assert np.isnan(nll).any()
    measure(golden, ids, BOS, todo, nll, 5, lambda done: True)
    assert np.array_equal(nll, losses(golden, ids, todo))


def test_documents_are_their_ids() -> None:
    assert tokenised("a", [1, 2]).sha == tokenised("b", np.array([1, 2], dtype=np.int32)).sha
    assert tokenised("a", [1, 2]).sha != tokenised("a", [2, 1]).sha
