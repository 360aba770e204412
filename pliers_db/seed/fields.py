"""Documents that conform to a definition which stands in another row: a form and its answers, a type and its values.

The definition is a list of fields, each an object with a key, a type and whatever the type needs. ``[fields]`` of
``seeds/seed.toml`` says how the list is spelled and which generator answers which type.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pliers_db.seed.generators import Chance, generate, generator, is_generator, whole_range

_DEFAULTS = {"key": "key", "type": "type", "required": "required"}


@generator("fields", "answers", "optional", "first")
def _fields(argument: Any, options: Mapping[str, Any], chance: Chance) -> dict[str, Any]:
    """An object with an answer to each field of a list.

    ``argument`` is the path of the list. Options: ``optional``, the chance that a field that isn't required is
    answered (default 0.7); ``first``, how many fields are answered before the person left (a partial answer);
    ``answers``, a generator or value for single fields by key.
    """
    if not isinstance(argument, str):
        raise ValueError('fields needs the path of a list of fields: {fields = "form_id.definition.fields"}')
    fields = chance.path(argument)
    if not isinstance(fields, list) or not all(isinstance(field, Mapping) for field in fields):
        raise ValueError(f"{argument} is not a list of fields")
    spelling = {**_DEFAULTS, **{k: v for k, v in chance.values.spec.fields.items() if isinstance(v, str)}}
    types = chance.values.spec.fields.get("types", {})
    answers = options.get("answers", {})
    if not isinstance(answers, Mapping):
        raise ValueError("answers needs a table: a generator or value for single fields, by their key")
    left = [field for field in fields if types.get(field.get(spelling["type"])) != {"skip": True}]
    unknown = set(answers) - {field.get(spelling["key"]) for field in left}
    if unknown:
        raise ValueError(f"answers: the definition has no field {sorted(unknown)[0]!r}")
    if "first" in options:
        low, high = whole_range(options["first"], "first")
        left = left[: chance.sub("first").draw.between(low, high)]
    document: dict[str, Any] = {}
    for field in left:
        key, kind = field.get(spelling["key"]), field.get(spelling["type"])
        here = chance.sub(key)
        if not field.get(spelling["required"]) and not here.sub("answered").draw.chance(options.get("optional", 0.7)):
            continue
        if key in answers:
            rule = answers[key]
        elif kind in types:
            rule = types[kind]
        else:
            raise ValueError(
                f"field {key!r} is of type {kind!r}: say how to answer it under [fields.types] in seed.toml"
            )
        rule = _filled(rule, field)
        document[key] = generate(rule, here) if is_generator(rule) else here.literal(rule)
    return document


def _filled(rule: Any, field: Mapping[str, Any]) -> Any:
    """Put the field's own attributes into a rule: ``$max`` is its ``max``, ``$max|10`` is 10 where it has none."""
    if isinstance(rule, Mapping):
        return {key: _filled(value, field) for key, value in rule.items()}
    if isinstance(rule, list):
        return [_filled(value, field) for value in rule]
    if isinstance(rule, str) and rule.startswith("$"):
        name, bar, fallback = rule[1:].partition("|")
        if name in field:
            return field[name]
        if bar:
            return int(fallback) if fallback.lstrip("-").isdigit() else fallback
        raise ValueError(f"a field of this type needs {name!r}")
    return rule
