# SPDX-License-Identifier: Apache-2.0
"""
Reads docstrings in the style of transformers and TRL, for Griffe, which knows Google's.

    Parameters:
        > Parameters that control the loss

        epsilon (`float`, *optional*, defaults to `0.5`):
            Clipping range of the ratio, see [`~trl.GRPOConfig`].

Types and defaults come from the code, where there are any; shapes of tensors, which it does not know, stay. Groups of
parameters become tables of their own. Links lead to what they name, if it is on the site.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import griffe


PARAMETER = re.compile(r"^(?P<indent> +)(?P<name>\*{0,2}\w+(?:, \w+)*) \((?P<type>.+)\):$")
SECTIONS = ("Args:", "Parameters:")
LINK = re.compile(r"\[`(~?)([\w.]+)`\](?![\[(])")


class TransformersDocstrings(griffe.Extension):
    """Rewrites docstrings when they have been collected."""

    def on_package(self, *, pkg: griffe.Module, loader: griffe.GriffeLoader, **kwargs) -> None:
        self._package = pkg
        self._public = set(_public(pkg))
        self._visit(pkg, set())

    def _visit(self, what: griffe.Object, seen: set[int]) -> None:
        if id(what) in seen:
            return
        seen.add(id(what))
        if what.docstring:
            text = what.docstring.value
            if what.is_class or what.is_function:
                text = self._sections(text, what)
            what.docstring.value = LINK.sub(lambda match: self._link(match, what), text)
        for member in what.members.values():
            if not member.is_alias:
                self._visit(member, seen)

    def _sections(self, text: str, what: griffe.Object) -> str:
        known = _parameters(what)
        lines, section = [], None
        for line in text.splitlines():
            if line and not line.startswith(" "):
                section = line if line in (*SECTIONS, "Returns:", "Raises:") else None
            if section in SECTIONS and line.startswith("    > "):
                while lines and not lines[-1].strip():
                    lines.pop()
                if lines[-1] == section:
                    lines.pop()
                lines += ["", f"Parameters: {line[6:].strip()}"]
            elif section in SECTIONS and (match := PARAMETER.match(line)):
                lines.append(_parameter(match, what, known))
            elif section == "Raises:":
                lines.append(re.sub(r"^(    )`(\w+)`:", r"\1\2:", line))
            elif section == "Returns:" and line.startswith("    ") and not line.startswith("     "):
                # The code has the type. A colon would end the name of one.
                line = re.sub(r"^    \[?`[^`]+`\]?: ", "    ", line) if _returns(what) else line
                lines.append(re.sub(r"^    (.+?): ", r"    \1 — ", line))
            elif not (section in SECTIONS and not line.strip() and lines[-1].startswith("Parameters: ")):
                lines.append(line)
        return "\n".join(lines)

    def _link(self, match: re.Match, what: griffe.Object) -> str:
        short, name = match[1], match[2]
        text = name.rpartition(".")[2] if short else name
        if name.startswith(("trl.", "transformers.", "peft.", "torch.", "datasets.", "accelerate.")):
            return f"`{text}`"
        # As the docstring says it, then as the modules around it and the package would.
        for scope in _scopes(what):
            path = name if name.startswith("trl_diffusion.") else f"{scope}.{name}"
            try:
                found = self._package[path.removeprefix("trl_diffusion.")]
            except (KeyError, ValueError, griffe.AliasResolutionError, griffe.CyclicAliasError):
                continue
            if found.is_module and (homonym := found.members.get(found.name)):  # `generate` in `generate.py`
                found = homonym
            target = found.canonical_path
            if any(target == public or target.startswith(f"{public}.") for public in self._public):
                return f"[`{text}`][{target}]"
            break
        return f"`{text}`"


def _public(module: griffe.Module) -> Iterator[str]:
    """Where the names are defined that the package and its parts export: what is on the site."""
    for name in map(str, module.exports or ()):
        yield module.imports.get(name, f"{module.path}.{name}")
    for member in module.members.values():
        if not member.is_alias and member.is_module:
            yield from _public(member)


def _scopes(what: griffe.Object) -> list[str]:
    parts = what.path.split(".")
    return [".".join(parts[:end]) for end in range(len(parts), 0, -1)]


def _parameters(what: griffe.Object) -> set[str]:
    """Names of the parameters whose types the code has."""
    parameters = getattr(what, "parameters", None) or ()
    known = {parameter.name for parameter in parameters if parameter.annotation is not None}
    if _is_dataclass(what):
        known |= {name for name, member in what.members.items() if member.is_attribute and member.annotation}
    return known


def _returns(what: griffe.Object) -> bool:
    return what.is_function and what.returns is not None


def _is_dataclass(what: griffe.Object) -> bool:
    return what.is_class and any("dataclass" in str(decorator.value) for decorator in what.decorators)


def _parameter(match: re.Match, what: griffe.Object, known: set[str]) -> str:
    name, described = match["name"], match["type"]
    if "of shape" in described:
        shape = described.removeprefix("`torch.Tensor` of shape ").removesuffix(", *optional*")
        return f"{match['indent']}{name}: *Shape {shape}.*"
    if name.lstrip("*") in known:
        return f"{match['indent']}{name}:"
    kind, _, default = described.replace("`", "").partition(", *optional*")
    if _is_dataclass(what) and default:  # a field of TRL's, which Griffe does not see
        value = default.removeprefix(", defaults to ")
        what.set_member(name, griffe.Attribute(name, annotation=kind, value=value, lineno=what.lineno))
        return f"{match['indent']}{name}:"
    return f"{match['indent']}{name} ({kind}):"
