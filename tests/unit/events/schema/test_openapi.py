"""A document made from marshmallow schemas lets nothing through that the schemas refuse."""

import re
from datetime import timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, NamedTuple

import pytest
from apispec.ext.marshmallow.field_converter import DEFAULT_FIELD_MAPPING
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator
from marshmallow import (
    EXCLUDE,
    INCLUDE,
    Schema,
    ValidationError,
    fields,
    post_load,
    pre_load,
    validate,
    validates,
    validates_schema,
)

from extension_kit.errors import ConfigurationError
from extension_kit.events.schema.fields import AnyOf, DateTime, UniqueItems
from extension_kit.events.schema.openapi import SchemaError, json_schema_components

NOTHING: list[Any] = []


class Sub(Schema):
    a = fields.Integer(required=True)


class Described(Schema):
    """With a description, apispec leaves out that unknown keys are refused."""

    a = fields.Integer()

    class Meta:
        description = "Something"


class Including(Schema):
    a = fields.Integer()

    class Meta:
        unknown = INCLUDE


class Excluding(Schema):
    a = fields.Integer()

    class Meta:
        unknown = EXCLUDE


class Tree(Schema):
    name = fields.String(required=True)
    children = fields.List(fields.Nested(lambda: Tree()))


class Other(Schema):
    b = fields.Integer(required=True)


class Color(Enum):
    red = "r"
    blue = "b"


class Level(Enum):
    none = None
    low = 1


class Even:
    """A validator as users write it, with what it says in JSON Schema."""

    json_schema = {"multipleOf": 2}  # noqa: RUF012

    def __call__(self, value: int) -> None:
        if value % 2:
            raise ValidationError("odd")


class Upper(fields.String):
    """A field as users write it."""

    def json_schema(self, ref: Any) -> dict[str, Any]:
        return {"type": "string", "pattern": "^[A-Z]*$"}

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, *args, **kwargs)
        if not re.fullmatch("[A-Z]*", text):
            raise ValidationError("lower case")
        return text


class Name(fields.String):
    """A field class that only sets options accepts what its base does."""

    def __init__(self, **options: Any) -> None:
        super().__init__(validate=validate.Length(min=1), **options)


class Case(NamedTuple):
    field: fields.Field[Any]
    accepted: list[Any]
    refused: list[Any]
    only_loaded: list[Any] = NOTHING
    """What marshmallow takes and the document does not."""


UUID = "cd2f4114-4695-46dd-bb25-f0e1566b1dee"
URLS = [
    "http://a.b.de/c?d#e",
    "https://user:pw@x.example.com:8080",
    "ftp://localhost/",
    "http://10.0.0.1/x",
    "http://[::1]/",
]
NO_URLS = [
    "http://a",
    "x",
    "",
    "foo://a.de",
    "http://",
    "http://a.de/x y",
    "http://a.de\n",
    "/relative",
    "mailto:a@b.de",
]
TIMES = ["2021-09-01T12:00:00Z", "2021-09-01T12:00:00.1234567891+02:00", "0001-01-01T00:00:00Z"]
NO_TIMES = [
    "2021-02-30T12:00:00Z",
    "2021-09-01T24:30:00Z",
    "x",
    "",
    5,
    None,
    "0000-01-01T00:00:00Z",
    "2021-09-01T12:00:00+25:00",
]

CASES = {
    "String": Case(fields.String(), ["", "x", "ü"], [1, True, None, ["x"], {}]),
    "String allow_none": Case(fields.String(allow_none=True), ["x", None], [1]),
    "String load_default None": Case(fields.String(load_default=None), ["x", None], [1]),
    "String subclass": Case(Name(), ["x"], ["", 1]),
    "Length": Case(fields.String(validate=validate.Length(1, 3)), ["a", "abc", "äöü"], ["", "abcd"]),
    "Length equal": Case(fields.String(validate=validate.Length(equal=2)), ["ab"], ["a", "abc"]),
    "Length twice": Case(
        fields.String(validate=[validate.Length(min=2), validate.Length(min=1, max=3)]), ["ab", "abc"], ["a", "abcd"]
    ),
    "And": Case(
        fields.String(validate=validate.And(validate.Length(min=2), validate.Length(max=3))), ["ab"], ["a", "abcd"]
    ),
    "OneOf": Case(fields.String(validate=validate.OneOf(["a", "b"])), ["a"], ["c", "A", "", None]),
    "OneOf allow_none": Case(fields.String(validate=validate.OneOf(["a"]), allow_none=True), ["a", None], ["c"]),
    "OneOf twice": Case(
        fields.String(validate=[validate.OneOf(["a", "b"]), validate.OneOf(["b", "c"])]), ["b"], ["a", "c"]
    ),
    "NoneOf": Case(fields.String(validate=validate.NoneOf(["x"])), ["y", ""], ["x", None]),
    "Equal": Case(fields.Integer(validate=validate.Equal(3)), [3], [4, None], ["3"]),
    "Regexp": Case(fields.String(validate=validate.Regexp("^/.*$")), ["/", "/a b"], ["", "a/"], ["/a\n"]),
    "Regexp unanchored": Case(fields.String(validate=validate.Regexp("/a")), ["/a", "/ab"], ["x/a", ""]),
    "Regexp of alternatives": Case(fields.String(validate=validate.Regexp("^a|b$")), ["ab", "b"], ["ba", "cb", "cab"]),
    "Regexp with escapes": Case(
        fields.String(validate=validate.Regexp(r"^\u00e9\x41\.\\d(?:\t)?$")), ["éA.\\d", "éA.\\d\t"], ["éA.1"]
    ),
    "Regexp twice": Case(
        fields.String(validate=[validate.Regexp("^a"), validate.Regexp("^.b")]), ["ab"], ["a", "bb", "cab"]
    ),
    "Url": Case(fields.Url(), URLS, [*NO_URLS, None, 5], ["HTTP://a.de", "http://ä.de/"]),
    "Url any host": Case(
        fields.Url(require_tld=False, schemes={"http"}), ["http://receiver:8080/x"], ["https://receiver", "http://-a"]
    ),
    "Url with Regexp": Case(
        fields.Url(validate=validate.Regexp("^https:")), ["https://a.de"], ["http://a.de", "https:a"]
    ),
    "validate.URL": Case(fields.String(validate=validate.URL()), URLS, NO_URLS, ["HTTP://a.de"]),
    "Email": Case(
        fields.Email(),
        ["a@b.de", "a.b+c@localhost", "x_y@b-c.example"],
        ["a@b", "a", "a@@b.de", "", ".a@b.de", "Joe <a@b.de>", "a@b.de\n", None],
        ['"ab"@c.de', "ä@b.de", "a@[1.2.3.4]"],
    ),
    "IP": Case(fields.IP(), ["1.2.3.4", "::1", "fe80::1"], ["x", "1.2.3", "1.2.3.256", "01.2.3.4", "", None, 5, True]),
    "IP allow_none": Case(fields.IP(allow_none=True), ["::1", None], ["x", 5]),
    "IPv4": Case(fields.IPv4(), ["1.2.3.4"], ["::1", "x"]),
    "IPv6": Case(fields.IPv6(), ["::1"], ["1.2.3.4", "x"]),
    "UUID": Case(fields.UUID(), [UUID, UUID.upper()], ["x", "", 5, None], [UUID.replace("-", ""), f"{{{UUID}}}"]),
    "Integer": Case(fields.Integer(), [1, -1, 0, 1.0, 10**30], ["x", True, None, [1]], ["1", 1.5]),
    "Float": Case(fields.Float(), [1, 1.5, -0.0, 1e308], ["x", True, None], ["1.5"]),
    "Decimal": Case(fields.Decimal(), [1, 1.5], ["x", None, [1]], ["1.5"]),
    "Range": Case(fields.Integer(validate=validate.Range(0, 10)), [0, 10], [-1, 11]),
    "Range between integers": Case(fields.Integer(validate=validate.Range(min=0.5)), [1], [0]),
    "Range exclusive": Case(
        fields.Float(validate=validate.Range(0, 10, min_inclusive=False, max_inclusive=False)), [0.1, 9.9], [0, 10]
    ),
    "Range half open": Case(fields.Integer(validate=validate.Range(0, 10, max_inclusive=False)), [0, 9], [10, -1]),
    "Range of Decimal": Case(fields.Decimal(validate=validate.Range(min=Decimal("0.1"))), [0.1, 1], [0.09]),
    "Range twice": Case(
        fields.Integer(validate=[validate.Range(min=0), validate.Range(min=5, max=9)]), [5, 9], [4, 10]
    ),
    "NoneOf numbers": Case(fields.Integer(validate=validate.NoneOf([0])), [1, -1], [0, 0.0]),
    "own validator": Case(fields.Integer(validate=Even()), [2, 0], [1, None]),
    "own validators": Case(fields.Integer(validate=[Even(), validate.Range(max=4)]), [2], [1, 6]),
    "Boolean": Case(fields.Boolean(), [True, False], ["x", None, 2, []], ["true", 1, 0, "yes"]),
    "OneOf booleans": Case(fields.Boolean(validate=validate.OneOf([True])), [True], [False], [1]),
    "DateTime": Case(
        fields.DateTime(), TIMES, NO_TIMES, ["2021-09-01T12:00:00", "2021-09-01 12:00Z", "20210901T120000Z"]
    ),
    "DateTime leap second": Case(fields.DateTime(), [], ["2016-12-31T23:59:60Z", "2021-09-01t12:00:00z"]),
    "AwareDateTime": Case(fields.AwareDateTime(), TIMES, [*NO_TIMES, "2021-09-01T12:00:00"]),
    "own DateTime": Case(
        DateTime(),
        [*TIMES, "2016-12-31T23:59:60Z", "2021-09-01t12:00:00z"],
        ["2021-02-30T12:00:00Z", "x", "", 5, None],
        ["2021-09-01T12:00:00"],
    ),
    "Date": Case(
        fields.Date(), ["2021-09-01"], ["2021-02-30", "0000-01-01", "x", None, "2021-09-01T12:00:00Z"], ["2021-W01-1"]
    ),
    "Time": Case(
        fields.Time(), ["12:00:00", "23:59:59.1"], ["x", "24:00:01", "12:60:00", None, 5], ["12:00", "12:00:00Z"]
    ),
    "TimeDelta": Case(fields.TimeDelta(), [1, 1.5, -3], ["x", None, [1], 1e300, -1e300], ["1.5", True]),
    "TimeDelta of weeks": Case(fields.TimeDelta("weeks"), [142857142], [142857143, -142857143]),
    "List": Case(fields.List(fields.Integer()), [[], [1, 2]], [[None], ["x"], 1, None, {}, "ab"]),
    "List Length": Case(fields.List(fields.Integer(), validate=validate.Length(1, 2)), [[1], [1, 2]], [[], [1, 2, 3]]),
    "List allow_none": Case(fields.List(fields.Integer(), allow_none=True), [None, [1]], [[None]]),
    "List of nullable": Case(fields.List(fields.Integer(allow_none=True)), [[None, 1]], [None]),
    "List of OneOf": Case(fields.List(fields.String(validate=validate.OneOf(["a"]))), [[], ["a", "a"]], [["b"]]),
    "UniqueItems": Case(fields.List(fields.String(), validate=UniqueItems()), [[], ["a", "b"]], [["a", "a"]]),
    "Tuple": Case(
        fields.Tuple((fields.Integer(), fields.String())), [[1, "a"]], [["a"], [1], [1, 1], [1, "a", 2], None, "ab", {}]
    ),
    "Tuple allow_none": Case(fields.Tuple((fields.Integer(),), allow_none=True), [[1], None], [[]]),
    "Dict": Case(fields.Dict(), [{}, {"a": None, "b": [1]}], [[], None, "x"]),
    "Dict values": Case(fields.Dict(values=fields.String()), [{"a": "b"}], [{"a": 1}, {"a": None}]),
    "Dict values allow_none": Case(fields.Dict(values=fields.String(allow_none=True)), [{"a": None}], [{"a": 1}]),
    "Dict keys": Case(fields.Dict(keys=fields.String(validate=validate.Length(max=1))), [{}, {"a": 1}], [{"ab": 1}]),
    "Dict keys and values": Case(
        fields.Dict(keys=fields.UUID(), values=fields.Integer()), [{UUID: 1}], [{"x": 1}, {UUID: "x"}]
    ),
    "Dict Length": Case(fields.Dict(validate=validate.Length(1, 1)), [{"a": 1}], [{}, {"a": 1, "b": 2}]),
    "Nested": Case(fields.Nested(Sub), [{"a": 1}], [{}, {"a": "x"}, {"a": 1, "b": 2}, [], None, "x"]),
    "Nested allow_none": Case(fields.Nested(Sub, allow_none=True), [None, {"a": 1}], [{}]),
    "Nested many": Case(fields.Nested(Sub, many=True), [[], [{"a": 1}]], [{"a": 1}, [{}], None]),
    "Nested instance of many": Case(fields.Nested(Sub(many=True)), [[{"a": 1}]], [{"a": 1}]),
    "Nested many Length": Case(fields.Nested(Sub, many=True, validate=validate.Length(min=1)), [[{"a": 1}]], [[]]),
    "Nested described": Case(fields.Nested(Described), [{}, {"a": 1}], [{"b": 1}]),
    "Nested including": Case(fields.Nested(Including), [{"b": 1}], [{"a": "x"}]),
    "Nested excluding": Case(fields.Nested(Excluding), [{"b": 1}], [{"a": "x"}]),
    "Nested only": Case(fields.Nested(Tree, only=("name",)), [{"name": "x"}], [{}, {"name": "x", "children": []}]),
    "Nested itself": Case(
        fields.Nested(Tree), [{"name": "x", "children": [{"name": "y"}]}], [{"name": "x", "children": [{}]}]
    ),
    "AnyOf": Case(AnyOf(Sub, Other), [{"a": 1}, {"b": 1}], [{}, {"a": 1, "b": 1}, None, 5]),
    "AnyOf allow_none": Case(AnyOf(Sub, Other, allow_none=True), [{"a": 1}, None], [{}]),
    "own field": Case(Upper(), ["ABC", ""], ["abc", None, 5]),
    "own field allow_none": Case(Upper(allow_none=True), ["ABC", None], ["abc", 5]),
    "Raw": Case(fields.Raw(), [1, "x", True, [], {}], [None]),
    "Raw allow_none": Case(fields.Raw(allow_none=True), [1, None], []),
    "Enum": Case(fields.Enum(Color), ["red"], ["r", "x", None, 1]),
    "Enum allow_none": Case(fields.Enum(Color, allow_none=True), ["red", None], ["r"]),
    "Enum by_value": Case(fields.Enum(Color, by_value=True), ["r"], ["red", None]),
    "Enum with None": Case(fields.Enum(Level, by_value=True), [1, None], [2, "low"], [True]),
    "Enum with None refused": Case(fields.Enum(Level, by_value=True, allow_none=False), [1], [None, 2]),
}


def document_of(schema):
    name = schema.__name__.removesuffix("Schema")
    components = {"schemas": json_schema_components(schema)}
    return Draft202012Validator(
        {"$ref": f"#/components/schemas/{name}", "components": components}, validate_formats=True
    )


def schema_of(field):
    return Schema.from_dict({"value": field}, name="CaseSchema")


def loads(schema, value):
    return not schema().validate({"value": value})


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_documents_accept_and_refuse_as_schemas_do(case):
    schema = schema_of(case.field)
    document = document_of(schema)
    expected = {(True, True): case.accepted, (False, False): case.refused, (False, True): case.only_loaded}
    for verdicts, values in expected.items():
        for value in values:
            assert (document.is_valid({"value": value}), loads(schema, value)) == verdicts, value


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
DOCUMENTS = {name: (schema_of(case.field), document_of(schema_of(case.field))) for name, case in CASES.items()}


@settings(max_examples=15, deadline=None)
@given(value=JSON)
@pytest.mark.parametrize("name", CASES)
def test_no_value_passes_the_document_alone(name, value):
    schema, document = DOCUMENTS[name]
    assert not document.is_valid({"value": value}) or loads(schema, value)


def patterns_of(name):
    keywords = json_schema_components(schema_of(CASES[name].field))["Case"]["properties"]["value"]
    return [part["pattern"] for part in (keywords, *keywords.get("allOf", [])) if "pattern" in part]


@pytest.mark.parametrize(
    "name", [name for name in CASES if patterns_of(name) and not re.search("twice|own|with", name)]
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_no_text_made_from_a_pattern_passes_the_document_alone(name, data):
    schema, document = DOCUMENTS[name]
    value = data.draw(st.from_regex(patterns_of(name)[0]))
    assert not document.is_valid({"value": value}) or loads(schema, value)


class WithValidates(Schema):
    a = fields.Integer()

    @validates("a")
    def even(self, value, **_):
        raise ValidationError("no")


class WithValidatesSchema(Schema):
    @validates_schema
    def whole(self, data, **_):
        raise ValidationError("no")


class WithPreLoad(Schema):
    @pre_load
    def first(self, data, **_):
        return data


class WithMany(Schema):
    class Meta:
        many = True


class WithFormat(Schema):
    at = fields.DateTime()

    class Meta:
        datetimeformat = "timestamp"


class Clash(Schema):
    one = fields.Nested(Tree)
    two = fields.Nested(Tree(only=("name",)))


def always(value):
    return None


def text(**options):
    return schema_of(fields.String(**options))


REFUSED = {
    "custom validator": (text(validate=always), "CaseSchema.value", "the validator always"),
    "lambda": (text(validate=lambda value: None), "CaseSchema.value", "json_schema"),
    "subclass of a validator": (
        text(validate=type("Mine", (validate.Length,), {})(min=1)),
        "the validator Mine",
        "json_schema",
    ),
    "Predicate": (text(validate=validate.Predicate("isupper")), "the validator Predicate", "fits fields.String"),
    "inside And": (text(validate=validate.And(always)), "CaseSchema.value", "the validator always"),
    "ContainsOnly": (
        schema_of(fields.List(fields.String(), validate=validate.ContainsOnly(["a"]))),
        "ContainsOnly",
        "OneOf on the field inside",
    ),
    "ContainsNoneOf": (
        schema_of(fields.List(fields.String(), validate=validate.ContainsNoneOf(["a"]))),
        "ContainsNoneOf",
        "NoneOf on the field inside",
    ),
    "Range of dates": (schema_of(fields.Date(validate=validate.Range(min=1))), "the validator Range", "fields.Date"),
    "Range of TimeDelta": (schema_of(fields.TimeDelta(validate=validate.Range(max=1))), "Range", "fields.TimeDelta"),
    "Length of Nested": (schema_of(fields.Nested(Sub, validate=validate.Length(min=1))), "Length", "fields.Nested"),
    "Regexp of a number": (schema_of(fields.Integer(validate=validate.Regexp("^1$"))), "Regexp", "fields.Integer"),
    "Regexp with flags": (text(validate=validate.Regexp("^a$", re.IGNORECASE)), "flags", "[Aa]"),
    "Regexp with Z": (text(validate=validate.Regexp(r"^a\Z")), r"\Z in a pattern", "write [0-9] for"),
    "Regexp with shorthand": (text(validate=validate.Regexp(r"^\d\W$")), r"\W \d in a pattern", "write [0-9] for"),
    "Regexp with group name": (text(validate=validate.Regexp("^(?P<n>a)$")), "(? in a pattern", "named group"),
    "Regexp with lookahead": (text(validate=validate.Regexp("^(?!a$)")), "(? in a pattern", "lookaround"),
    "Regexp with possessive": (text(validate=validate.Regexp("^a++$")), "++ in a pattern", "ECMAScript"),
    "Regexp with half a range": (text(validate=validate.Regexp("^a{,3}$")), "{, in a pattern", "ECMAScript"),
    "relative Url": (schema_of(fields.Url(relative=True)), "the validator URL", "fields.Url"),
    "OneOf of other types": (text(validate=validate.OneOf([1])), "equal [1]", "list of strings"),
    "OneOf of a string": (text(validate=validate.OneOf("abc")), "equal 'abc'", "list of strings"),
    "NoneOf of booleans among numbers": (
        schema_of(fields.Integer(validate=validate.NoneOf([True]))),
        "equal [True]",
        "of numbers to an Integer",
    ),
    "Equal of a date": (schema_of(fields.Date(validate=validate.Equal(1))), "fields.Date", "list of strings"),
    "strict Integer": (schema_of(fields.Integer(strict=True)), "strict", "42.0"),
    "own truth": (schema_of(fields.Boolean(truthy={"ja"}, falsy={"nein"})), "truthy", "leave them out"),
    "any truth": (schema_of(fields.Boolean(truthy=set())), "truthy", "leave them out"),
    "DateTime rfc": (schema_of(fields.DateTime("rfc")), "the format rfc", "ISO 8601"),
    "DateTime timestamp": (schema_of(fields.DateTime("timestamp")), "the format timestamp", "ISO 8601"),
    "Meta.datetimeformat": (WithFormat, "WithFormat.at", "ISO 8601"),
    "Date format": (schema_of(fields.Date("%d.%m.%Y")), "the format %d.%m.%Y", "ISO 8601"),
    "Time format": (schema_of(fields.Time("%H")), "the format %H", "ISO 8601"),
    "NaiveDateTime": (schema_of(fields.NaiveDateTime()), "fields.NaiveDateTime", "fields.AwareDateTime"),
    "Pluck": (schema_of(fields.Pluck(Sub, "a")), "fields.Pluck", "the plucked field itself"),
    "Constant": (schema_of(fields.Constant(1)), "fields.Constant", "validate.Equal"),
    "Method": (schema_of(fields.Method(deserialize="validate")), "fields.Method", "json_schema"),
    "Function": (schema_of(fields.Function(deserialize=always)), "fields.Function", "json_schema"),
    "IPInterface": (schema_of(fields.IPInterface()), "fields.IPInterface", "json_schema"),
    "field class of one's own": (
        schema_of(type("Mine", (fields.String,), {"_deserialize": always})()),
        "fields.Mine",
        "json_schema",
    ),
    "pre_load of a field": (text(pre_load=str.strip), "pre_load", "as it comes in"),
    "dump_only": (text(dump_only=True), "dump_only", "what goes out"),
    "metadata type": (text(metadata={"type": ["string", "null"]}), "type of metadata", "write a validator"),
    "metadata bounds": (text(metadata={"minLength": 0, "format": "x"}), "format, minLength of metadata", "validator"),
    "keys of numbers": (
        schema_of(fields.Dict(keys=fields.Integer())),
        "keys that are not strings",
        "keys=fields.String",
    ),
    "Enum by a field": (schema_of(fields.Enum(Color, by_value=fields.String)), "by_value", "by_value=True"),
    "Nested unknown": (schema_of(fields.Nested(Sub, unknown=INCLUDE)), "unknown of fields.Nested", "Meta"),
    "Nested partial": (schema_of(fields.Nested(Sub(partial=True))), "partial", "not required"),
    "inside of a list": (schema_of(fields.List(fields.String(validate=always))), "CaseSchema.value", "always"),
    "inside of a tuple": (schema_of(fields.Tuple((fields.String(validate=always),))), "CaseSchema.value", "always"),
    "inside of a dict": (schema_of(fields.Dict(values=fields.String(validate=always))), "CaseSchema.value", "always"),
    "keys of a dict": (schema_of(fields.Dict(keys=fields.String(validate=always))), "CaseSchema.value", "always"),
    "inside of a nested schema": (schema_of(fields.Nested(text(validate=always))), "CaseSchema.value", "always"),
    "@validates": (WithValidates, "WithValidates.even", "@validates; write a validator of a field"),
    "@validates_schema": (WithValidatesSchema, "WithValidatesSchema.whole", "@validates_schema"),
    "@pre_load": (WithPreLoad, "WithPreLoad.first", "@pre_load"),
    "@validates in a nested schema": (schema_of(fields.Nested(WithValidates)), "WithValidates.even", "@validates"),
    "Meta.many": (WithMany, "WithMany", "fields.List(fields.Nested(...))"),
    "two schemas of one name": (Clash, "Tree", "a name of its own"),
}


@pytest.mark.parametrize(("schema", "what", "instead"), REFUSED.values(), ids=REFUSED)
def test_what_a_document_cannot_say_is_refused_with_a_way_out(schema, what, instead):
    with pytest.raises(SchemaError) as refusal:
        json_schema_components(schema)
    assert what in str(refusal.value)
    assert instead in str(refusal.value)
    assert isinstance(refusal.value, ConfigurationError), "the command line prints these as one line"
    assert "\n" not in str(refusal.value)


def test_what_only_builds_objects_is_allowed():
    class Built(Schema):
        seconds = fields.Integer(load_default=1, post_load=lambda value: timedelta(seconds=value))
        password = fields.String(load_only=True)

        @post_load
        def build(self, data, **_):
            return data

    assert json_schema_components(Built)["Built"]["properties"] == {
        "seconds": {"type": "integer", "default": 1},
        "password": {"type": "string", "writeOnly": True},
    }


def test_annotations_reach_the_document():
    metadata = {"description": "What", "deprecated": True, "examples": ["a"], "x-own": 1, "unrelated": 2}
    assert json_schema_components(text(metadata=metadata))["Case"]["properties"]["value"] == {
        "type": "string",
        "description": "What",
        "deprecated": True,
        "examples": ["a"],
        "x-own": 1,
    }


def test_components_of_schemas_that_share_a_part_hold_it_once():
    first = Schema.from_dict({"sub": fields.Nested(Sub)}, name="First")
    second = Schema.from_dict({"subs": fields.List(fields.Nested(Sub, required=True))}, name="SecondSchema")
    assert set(json_schema_components(first, second, Sub)) == {"First", "Second", "Sub"}


def test_apispec_itself_is_left_alone():
    json_schema_components(schema_of(fields.Url()))
    assert DEFAULT_FIELD_MAPPING[fields.Url] == ("string", "url")
    assert fields.Tuple not in DEFAULT_FIELD_MAPPING
