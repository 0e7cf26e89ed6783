"""One YAML file to the model; every mistake in it becomes one sentence for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, ValidationError

from broker.config.whole import Config
from broker.core.errors import ConfigError
from broker.core.model import shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def load(path: Path) -> Config:
    """Read and check the file. Raises `ConfigError`: one sentence for each mistake, one a line."""
    return parse(read(path), str(path))


def read(path: Path) -> str:
    """The file's text. Raises `ConfigError`."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            public=f"{path}: there is no such file; name one with --config."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(public=f"{path}: cannot be read: {error}.") from error


def parse(text: str, source: str) -> Config:
    """Like `load`, from the text; `source` stands in the sentences for the file."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(public=f"{source}:{line}: this is no YAML: {error.problem}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(public=f"{source}: this is no YAML: {error}.") from None
    if not isinstance(data, dict):
        raise ConfigError(public=f"{source}: a file of keys is wanted, beginning with 'template:'.")
    twice = [f"{source}:{line}: {key}: this key stands here twice." for line, key in _twice(node)]
    if twice:
        raise ConfigError(public="\n".join(twice))
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        details = error.errors()
        inner = {detail["loc"][:-1] for detail in details}  # a list is not short for a wrong item
        sentences = [_sentence(d, node, source) for d in details if d["loc"] not in inner]
        raise ConfigError(public="\n".join(sentences)) from None


#: What pydantic says in words of its own, said in those of a file.
_RULES = {
    "tuple_type": "allowed is a list",
    "too_short": "allowed is a list of one at least",
    "path_type": "allowed is a path",
    "string_type": "allowed is text, in quotes where YAML means something else by it",
}


def _sentence(detail: Any, node: yaml.Node | None, source: str) -> str:
    """One mistake as `FILE:LINE: KEY: found …; allowed …`."""
    location = [part for part in detail["loc"] if isinstance(part, (str, int))]
    line, path, place = _place(node, location)
    where = f"{source}:{line}: {'.'.join(str(part) for part in path)}"
    match detail["type"]:
        case "extra_forbidden":
            allowed = ", ".join(sorted(_keys(location[:-1])))
            return f"{where}: this key is unknown; allowed are {allowed}."
        case "missing":
            return f"{source}:{line}: the key '{'.'.join(map(str, location))}' is missing."
        case "string_pattern_mismatch":
            rule = f"allowed is what matches {detail['ctx']['pattern']}"
        case "value_error":
            rule = str(detail["ctx"]["error"])
        case "model_type":
            rule = f"allowed are the keys {', '.join(sorted(_keys(location)))}"
        case kind:
            rule = _RULES.get(kind) or detail["msg"][0].lower() + detail["msg"][1:]
    found = place.value if isinstance(place, yaml.ScalarNode) else detail["input"]
    return f"{where}: found {shown(str(found))}; {rule}."


def _twice(root: yaml.Node | None) -> Iterator[tuple[int, str]]:
    """Line and name of each key that a mapping has already: YAML would let the last one win."""
    mappings, walked = [root], set()
    while mappings:
        node = mappings.pop()
        if not isinstance(node, yaml.MappingNode) or id(node) in walked:
            continue  # an alias can lead back to where it stands
        walked.add(id(node))
        seen = set()
        for key, value in node.value:
            if key.value in seen:
                yield key.start_mark.line + 1, shown(key.value)
            seen.add(key.value)
            mappings.append(value)


def _place(
    node: yaml.Node | None, location: list[str | int]
) -> tuple[int, list[str | int], yaml.Node | None]:
    """The line of the deepest part of `location` that the file has, the path to it, and it."""
    line, path = (node.start_mark.line + 1 if node else 1), []
    for part in location:
        step = _child(node, part)
        if step is None:
            break
        line, node = step
        path.append(part)
    return line, path or location[:1], node


def _child(node: yaml.Node | None, part: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(part):
                return key.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        value = node.value[part]
        return value.start_mark.line + 1, value
    return None


def _keys(location: list[str | int]) -> set[str]:
    """The keys that the model at `location` knows."""
    model: type[BaseModel] = Config
    for part in location:
        annotation = model.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            break
        model = annotation
    return set(model.model_fields)
