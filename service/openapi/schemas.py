"""JSON schemas of Structs: what msgspec knows of them, their fields' docstrings, and `Rules`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import msgspec.inspect as mi

from service.openapi.field_docs import field_docs, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from service.openapi.rule import Json, Rule, Rules

Struct = type[msgspec.Struct]

_REF = "#/components/schemas/{name}"


class Schemas:
    """The components of a document."""

    def __init__(
        self,
        requests: Sequence[Struct],
        answers: Sequence[Struct],
        rules: Rules,
        *,
        hidden: Sequence[Struct] = (),
        is_lenient: bool = False,
    ) -> None:
        """`hidden` are Structs that are known only to be refused, so that nobody may send them;
        `is_lenient`: unknown fields of requests are ignored."""
        shapes = {
            (struct, field): types
            for struct, rule in rules.items()
            for field, types in rule.shapes.items()
        }
        asked = structs_in([*requests, *(t for types in shapes.values() for t in types)])
        told = [struct for struct in structs_in(answers) if struct not in asked]
        structs = [*asked, *told]
        flat = [each for types in shapes.values() for each in types]
        schemas, components = msgspec.json.schema_components([*structs, *flat], ref_template=_REF)
        refs = {s: schema["$ref"] for s, schema in zip(structs, schemas, strict=False)}
        self._refs = refs
        self._hidden = frozenset(refs[struct] for struct in hidden if struct in refs)
        self.components: Json = {
            name: self._cleaned(schema)
            for name, schema in components.items()
            if _REF.format(name=name) not in self._hidden
        }
        self._describe(structs)
        for struct in told:
            self._close_answer(struct)
        for struct in asked if is_lenient else ():
            if refs[struct] not in self._hidden:
                self.of(struct).pop("additionalProperties", None)
        places = iter(schemas[len(structs) :])
        for (struct, field), types in shapes.items():
            forms = [self._cleaned(next(places)) for _ in types]
            _replace(self.of(struct), field, {"anyOf": forms})
        for struct, rule in rules.items():
            if struct in refs:
                _apply(rule, self.of(struct))

    def ref(self, struct: Struct) -> Json:
        """A reference to the schema of a Struct."""
        return {"$ref": self._refs[struct]}

    def of(self, struct: Struct) -> Json:
        """The schema itself, to be changed."""
        schema: Json = self.components[self._refs[struct].rpartition("/")[2]]
        return schema

    def _cleaned(self, schema: Any) -> Any:
        """In the words of the document: no regular expressions of Python's, no hidden Structs, and
        what may be null said in one word."""
        if isinstance(schema, list | tuple):
            return [self._cleaned(item) for item in schema]
        if not isinstance(schema, dict):
            return schema
        found = {key: self._cleaned(value) for key, value in schema.items()}
        if "pattern" in found and isinstance(found["pattern"], str):
            found["pattern"] = found["pattern"].replace(r"\Z", "$")
        if isinstance(found.get("enum"), list) and len(found["enum"]) == 1:
            found["const"] = found.pop("enum")[0]
        if isinstance(found.get("description"), str):
            found["description"] = plain(found["description"])
        if found.get("default", "") is None:
            del found["default"]
        if "anyOf" in found:
            self._unite(found)
        return found

    def _unite(self, schema: Json) -> None:
        forms = [form for form in schema["anyOf"] if form.get("$ref") not in self._hidden]
        if "discriminator" in schema:
            mapping = schema["discriminator"]["mapping"]
            kept = {tag: ref for tag, ref in mapping.items() if ref not in self._hidden}
            schema["discriminator"]["mapping"] = kept
            if len(kept) == 1:
                del schema["discriminator"]
        others = [form for form in forms if form != {"type": "null"}]
        if len(others) == 1 and len(forms) == 2 and isinstance(others[0].get("type"), str):
            forms = [{**others[0], "type": [others[0]["type"], "null"]}]
        elif len(others) == 1 and len(forms) == 2 and set(others[0]) == {"enum"}:
            forms = [{"enum": [*others[0]["enum"], None]}]
        if len(forms) == 1:
            del schema["anyOf"]
            schema.update(forms[0])
        else:
            schema["anyOf"] = forms

    def _describe(self, structs: Sequence[Struct]) -> None:
        for struct, docs in field_docs(structs).items():
            if self._refs[struct] in self._hidden:
                continue
            names = dict(
                zip(struct.__struct_fields__, struct.__struct_encode_fields__, strict=True)
            )
            properties = self.of(struct)["properties"]
            for field, text in docs.items():
                if field in names:
                    properties[names[field]].setdefault("description", text)

    def _close_answer(self, struct: Struct) -> None:
        """All fields are encoded, but those that are not set; a default is nothing to rely on."""
        schema = self.of(struct)
        fields = msgspec.structs.fields(struct)
        schema["required"] = [f.encode_name for f in fields if f.default is not msgspec.UNSET]
        for field in schema["properties"].values():
            field.pop("default", None)


def structs_in(types: Iterable[Any]) -> list[Struct]:
    """All Structs that values of these types hold, each once."""
    found: dict[Struct, None] = {}

    def add(node: mi.Type) -> None:
        if isinstance(node, mi.StructType):
            if node.cls in found:
                return
            found[node.cls] = None
        for child in _children(node):
            add(child)

    for node in mi.multi_type_info(list(types)):
        add(node)
    return list(found)


def _children(node: msgspec.Struct) -> Iterator[mi.Type]:
    for name in node.__struct_fields__:
        value = getattr(node, name)
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, mi.Type):
                yield each
            elif isinstance(each, mi.Field):
                yield each.type


def _apply(rule: Rule, schema: Json) -> None:
    for field, bounds in rule.bounds.items():
        schema["properties"][field] |= bounds
    for field, value in rule.values.items():
        _replace(schema, field, value)
    schema |= rule.whole


def _replace(schema: Json, field: str, value: Json) -> None:
    """Another schema for a field, described as before."""
    before = schema["properties"][field]
    kept = {"description": before["description"]} if "description" in before else {}
    schema["properties"][field] = kept | value
