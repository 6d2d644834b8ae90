"""Which rope parameters an architecture reads by itself, beside what the rope types read: found in its source.

Multi-head latent attention takes its softmax scale from `mscale_all_dim` and `factor`, Ministral 3 an attention
temperature from `llama_4_scaling_beta`, Qwen-VL its axes from `mrope_section`. Such keys must outlive a new rope type.
"""

from __future__ import annotations

import ast
import functools
import inspect
from pathlib import Path
from typing import Any

SOURCES = ("rope_parameters", "rope_scaling", "rope_params")
"""Names under which a config's rope parameters go about in transformers' modeling files."""


def keys_read(config: Any) -> frozenset[str]:
    """Keys of rope parameters that occur in the modeling files beside this config's class, such as `mrope_section`."""
    try:
        folder = Path(inspect.getfile(type(config))).parent
    except (OSError, TypeError):  # a class without a file: typed into a session
        return frozenset()
    return _keys_in(folder)


@functools.cache
def _keys_in(folder: Path) -> frozenset[str]:
    keys: set[str] = set()
    for path in sorted(folder.glob("modeling_*.py")):
        reader = _Reader()
        reader.visit(ast.parse(path.read_text(encoding="utf-8")))
        keys |= reader.keys
    return frozenset(keys)


class _Reader(ast.NodeVisitor):
    """Collects string keys of subscripts, `.get`, `.pop`, `.setdefault` and `in` on rope parameters, whatever local
    name they have been given."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.names = set(SOURCES)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Local names hold within their function."""
        before = set(self.names)
        self.generic_visit(node)
        self.names = before

    def visit_Assign(self, node: ast.Assign) -> None:
        """`scaling = config.rope_parameters` makes `scaling` another name of them."""
        if self._is_rope(node.value):
            self.names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
            self.names |= {target.attr for target in node.targets if isinstance(target, ast.Attribute)}
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        """`rope_parameters["factor"]`"""
        if self._is_rope(node.value):
            self._take(node.slice)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        """`rope_parameters.get("factor", 1.0)`"""
        called = node.func
        getter = isinstance(called, ast.Attribute) and called.attr in ("get", "pop", "setdefault")
        if isinstance(called, ast.Attribute) and getter and node.args and self._is_rope(called.value):
            self._take(node.args[0])
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        """`"alpha" in rope_parameters`"""
        if any(isinstance(op, (ast.In, ast.NotIn)) for op in node.ops) and self._is_rope(node.comparators[0]):
            self._take(node.left)
        self.generic_visit(node)

    def _take(self, key: ast.expr) -> None:
        if isinstance(key, ast.Constant) and isinstance(key.value, str):
            self.keys.add(key.value)

    def _is_rope(self, node: ast.expr) -> bool:
        if isinstance(node, ast.BoolOp):  # rope_parameters or {}
            return any(map(self._is_rope, node.values))
        if isinstance(node, ast.Subscript):  # rope_parameters[layer_type]
            return self._is_rope(node.value) and not isinstance(node.slice, ast.Constant)
        name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else None
        return name in self.names
