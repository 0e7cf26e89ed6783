"""The file of keys as a JSON Schema, for editors: made from the models that read the file."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from broker.config.kinds import DURATION, PERIOD, SIZE, Listen
from broker.config.whole import Config
from broker.core import words
from broker.core.pools import Pool

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import core_schema


def schema() -> dict[str, Any]:
    """Draft 2020-12. What only the whole file shows, as that one duration is longer than another,
    is left to `check-config`.
    """
    made = Config.model_json_schema(schema_generator=_Written)
    head = {"$schema": _Written.schema_dialect, "title": "Desk's configuration"}
    return head | made | {"title": head["title"]}


def document() -> str:
    """`schema` as the text of a file."""
    return json.dumps(schema(), indent=2) + "\n"


class _Written(GenerateJsonSchema):
    """Its defaults are what one would write in the file."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - pydantic's signature
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        inner = self.generate_inner(schema["schema"])
        # The keys of a section have defaults of their own, and None is a key that is not there.
        if "default" not in schema or (written := _written(schema["default"], inner)) is None:
            return inner
        return {**inner, "default": written}


def _written(value: Any, inner: JsonSchemaValue) -> Any:
    match value:
        case _ if (pattern := inner.get("pattern")) in {DURATION, PERIOD}:
            return words.written(value)
        case _ if pattern == SIZE:
            return words.written_size(value)
        case Pool(first, last):
            return f"{first}-{last}"
        case Listen() | Path():
            return str(value)
        case BaseModel():
            return None
        case StrEnum():
            return value.value
        case frozenset():
            return sorted(map(str, value))
        case tuple():
            return list(value)
        case _:
            return value
