"""The release of transformers that language models are measured and tuned with."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

from posgen.errors import MissingPackage


def check_transformers() -> None:
    """MissingPackage unless transformers 5 is installed. `models.hf` alone works with 4.51 and later."""
    try:
        there = version("transformers")
    except PackageNotFoundError:
        return  # models.hf says what to install
    if int(there.partition(".")[0]) < 5:
        raise MissingPackage(
            f"language models are measured and tuned with transformers 5, and {there} is installed: "
            "pip install --upgrade 'transformers>=5,<6'",
            name="transformers",
        )
