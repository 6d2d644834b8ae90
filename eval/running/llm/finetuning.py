"""Fine-tune a language model under an encoding: one process or, by `accelerate launch`, many.

Weights, gradients and moments are float32, products bf16 by autocast. Saved are weights, optimiser, random numbers and
the step, which gives the data's place: a tuning that was killed goes on bit for bit. (yarn's finetune.py, by which the
authors tuned, keeps bf16 weights where it does not run under DeepSpeed; conf/llm/finetune/paper.yaml lists where it
parts from the text.)
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from conf.schema import TrackerSpec
from eval.measuring.llm.sequences import Sequences, read_texts, sequences
from eval.running.job import check_device, set_threads, tracker_of
from eval.running.llm.adaptation import Tuned, Tuning, finish
from eval.running.llm.parallel import Loop
from eval.running.llm.states import States
from eval.running.llm.tuned import claim_folder, claimed, refuse_foreign
from eval.running.progress import Bar
from eval.running.stopping import Stopping, stop_on_signal
from eval.running.tracker import TrackedMember, Tracker
from eval.store.lm_kinds import language_model_run_id
from models.lm.adapting import MeanLoss, install, trainable, with_lora
from models.lm.costs import tuning_memory
from models.lm.loading import LanguageModel, load
from models.lm.ropes import title
from models.lm.sizes import Sizes
from models.memory import free_bytes
from posgen.errors import BadValue, UserError
from posgen.plain import digest, plain
from posgen.resources import size


def finetune(tuning: Tuning, tell: Callable[[str], None] = print) -> Tuned:
    """Tune the model, write it to `out` and append its record. Raises BadValue or UserError, one line, for what the
    user can mend; nothing is lost by calling again."""
    check_device(tuning.device)
    set_threads(tuning.threads)
    refuse_foreign(tuning.out)
    loop = Loop(tuning.recipe, tuning.device)
    try:
        if not loop.main:
            return _finetune(tuning, loop, tell)
        with claimed(tuning.out):
            return _finetune(tuning, loop, tell)
    finally:
        loop.close()


def check_memory(model: Any, tuning: Tuning, free: int | None) -> None:
    """UserError when by arithmetic the tuning takes more than the `free` bytes of the device."""
    recipe = tuning.recipe
    sizes = Sizes.of(model.config.get_text_config(decoder=True))
    need = tuning_memory(
        sizes, recipe.length, recipe.micro_batch, lora_rank=recipe.lora_rank if tuning.lora else None,
        base_bytes=2 if tuning.lora and recipe.base_precision == "bf16" else 4, checkpointing=recipe.checkpointing,
        product_bytes=2 if recipe.precision == "bf16" else 4,
    )  # fmt: skip
    if free is not None and need.total > free:
        less = "" if tuning.lora else "--lora, "
        raise UserError(
            f"tuning takes about {size(need.total)}, {size(need.states)} of them weights, gradients and moments, and "
            f"{tuning.device} has {size(free)} free: use {less}a smaller length or micro_batch, or posgen llm plan"
        )


def _finetune(tuning: Tuning, loop: Loop, tell: Callable[[str], None]) -> Tuned:
    recipe = tuning.recipe
    if tuning.lora or recipe.base_precision == "fp32":
        base = load(tuning.model, recipe.base_precision if tuning.lora else "fp32")
    else:
        raise BadValue("base_precision", recipe.base_precision, "weights that are trained stay fp32; add --lora")
    if not loop.sharded:
        check_memory(base.model, tuning, _free(tuning.device, base.model))
    installed, train_length = install(base.model, tuning.rope, tuning.factor, tuning.params)
    data = _data(tuning, base, loop)
    asked = {
        "model": base.identity, "rope": installed.rope, "encoding": tuning.rope, "factor": tuning.factor,
        "recipe": plain(recipe), "recipe_digest": recipe.digest, "lora": tuning.lora, "batches": data.digest,
        "documents": data.documents, "processes": loop.processes,
    }  # fmt: skip
    if loop.main and claim_folder(tuning.out, asked):
        return Tuned("there", (), 0.0)
    loop.wait()
    if loop.main:
        tell(
            f"{base.name}, {title(tuning.rope)}, s = {tuning.factor:g}, {'LoRA' if tuning.lora else 'full'}: "
            f"{recipe.label}; {recipe.steps:,} steps of {recipe.batch:,} x {recipe.length:,} tokens from "
            f"{len(data.documents):,} texts, batches {data.digest}"
        )
    if tuning.lora:
        lora = (recipe.lora_rank, recipe.lora_alpha, recipe.lora_dropout, recipe.seed)
        model = with_lora(base.model, *lora, recipe.checkpointing)
    else:
        model = trainable(base.model, recipe.checkpointing)
    torch.manual_seed(recipe.seed + loop.rank)
    loop.prepare(MeanLoss(model))
    run_id = language_model_run_id(digest(base.identity), installed.rope)
    tracker = tracker_of(tuning.tracker) if loop.main else tracker_of(TrackerSpec())
    try:
        tracker.start([_tracked(tuning, base, run_id, asked)])
        with stop_on_signal() as stopping:
            ended = _steps(tuning, loop, data, tracker, run_id, stopping)
        if ended.status == "interrupted":
            return ended
        weights = loop.weights()
        if not loop.main:
            return ended
        record = finish(tuning, weights, base, model, asked, installed.rope, train_length, ended)
        tracker.finish(run_id, {}, "finished")
        return Tuned("finished", ended.losses, ended.seconds, ended.resumed, record=record)
    finally:
        tracker.close()


def _data(tuning: Tuning, base: LanguageModel, loop: Loop) -> Sequences:
    texts = list(read_texts(tuning.texts, tuning.leave_out, tuning.text_field))
    with Bar("reading texts", len(texts), enabled=loop.main, after=1.0) as bar:
        vocabulary = base.owner.get_input_embeddings().weight.shape[0]
        return sequences(texts, base.tokenizer, tuning.recipe, vocabulary, lambda name: bar.advance())


def _free(device: str, model: Any) -> int | None:
    free = free_bytes(torch.device(device))
    if torch.device(device).type == "cuda":
        return free  # the model is still in the host's memory
    held = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    return None if free is None else free + held  # loaded already


def _steps(tuning: Tuning, loop: Loop, data: Sequences, tracker: Tracker, run_id: str, stopping: Stopping) -> Tuned:
    recipe, states = tuning.recipe, States(tuning.out)
    losses: list[float] = []
    seconds, start = 0.0, 0
    state = states.latest()
    if state is not None:
        loop.load(state.folder)
        losses, seconds, start = list(state.losses), state.seconds, state.step
    saved = time.monotonic()

    def save(step: int) -> None:
        states.save(step, losses, seconds, loop.save, loop.main, loop.wait)

    with Bar("tuning", recipe.steps, start, enabled=loop.main) as bar:
        for step in range(start, recipe.steps):
            began = time.monotonic()
            batch = torch.from_numpy(data.batch(step)).long()
            loss = loop.step(batch, recipe.learning_rate(step), partial(_show, bar, step, losses))
            if not math.isfinite(loss):
                raise UserError(
                    f"the loss of step {step + 1} is not finite ({loss}): use a smaller lr, or precision=fp32"
                )
            losses.append(loss)
            seconds += time.monotonic() - began
            _show(bar, step, losses, 1.0)
            row = {"epoch": step + 1, "step": step + 1, "train_loss": loss, "lr": recipe.learning_rate(step)}
            tracker.log(run_id, {**row, "validation": {}})
            due = time.monotonic() - saved >= tuning.save_seconds
            asked, due = loop.agreed(stopping.asked, due)
            if asked and step + 1 < recipe.steps:
                save(step + 1)
                return Tuned("interrupted", tuple(losses), seconds, start, signal=stopping.signal)
            if due or step + 1 == recipe.steps:
                save(step + 1)
                saved = time.monotonic()
    return Tuned("finished", tuple(losses), seconds, start)


def _show(bar: Bar, step: int, losses: list[float], part: float) -> None:
    bar.at(step + part, f"loss {losses[-1]:.4f}" if losses else "")


def _tracked(tuning: Tuning, base: LanguageModel, run_id: str, asked: dict[str, Any]) -> TrackedMember:
    recipe = tuning.recipe
    name = f"{tuning.rope} s={tuning.factor:g} {recipe.name}"
    tags = ("llm", recipe.name, tuning.rope)
    identity = digest([run_id, recipe.digest, tuning.lora, asked["batches"]])
    return TrackedMember(run_id, name, f"{base.name} {identity}", "finetune", tags, asked, "finetune", None)
