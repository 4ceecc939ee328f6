"""Protobuf's text format, read and changed, against protobuf's own reader."""

from typing import Any

import pytest

import perceiver_runtime as pr
from perceiver_runtime.serving.repositories.existing import at_version, bundles_of, parameters_of, with_parameters
from perceiver_runtime.serving.repositories.pbtxt import find, parse, replaced, set_value, texts

pytest.importorskip("tritonclient.grpc", reason="tritonclient is not here")

TEXT = """# written by hand; keep
name: 'digits' platform: "onnx" "runtime" ;
max_batch_size: 8
input [ { name: "x", data_type: TYPE_FP32, dims: [ -1, 3 ] }, { name: "y" data_type: TYPE_INT64 dims: 4 dims: 5 } ]
output < name: "z" data_type: TYPE_FP32 dims: 10 >
instance_group { kind: KIND_CPU count: 2 # as many as cores
}
parameters { key: "perceiver_bundle_1" value { string_value: "aa" } }
parameters [ { key: "perceiver_bundle_2" value { string_value: "bb" } }, { key: "own" value: { string_value: "it\\"s" } } ]
dynamic_batching { }
"""
STEPS = """ensemble_scheduling { step { model_name: "a" model_version: 1 } step [ { model_name: "b" model_version: -1 } ] }
version_policy { latest { num_versions: 2 } }
"""


def protobuf(text: str) -> Any:
    """By the library; what it does not understand is an error."""
    from google.protobuf import text_format
    from tritonclient.grpc import model_config_pb2

    return text_format.Parse(text, model_config_pb2.ModelConfig())


def test_read_as_protobuf_reads_it() -> None:
    expected, fields = protobuf(TEXT), parse(TEXT)
    assert texts(fields, "name") == [expected.name]
    assert texts(fields, "platform") == [expected.platform] == ["onnxruntime"]
    assert texts(fields, "input", "name") == [each.name for each in expected.input]
    assert [int(size) for size in texts(fields, "input", "dims")] == [size for each in expected.input for size in each.dims]
    assert texts(fields, "output", "name") == ["z"]
    assert parameters_of(fields) == {key: value.string_value for key, value in expected.parameters.items()}
    assert bundles_of(fields) == {1: "aa", 2: "bb"}


def test_one_value_changes_and_nothing_else() -> None:
    changed = set_value(TEXT, ["instance_group", "count"], "5")
    assert changed == TEXT.replace("count: 2", "count: 5")
    expected = protobuf(TEXT)
    expected.instance_group[0].count = 5
    assert protobuf(changed) == expected


@pytest.mark.parametrize(
    ("path", "value", "read"),
    [
        (["max_batch_size"], "3", lambda config: config.max_batch_size),
        (["instance_group", "passive"], "true", lambda config: config.instance_group[0].passive + 2),
        (["dynamic_batching", "max_queue_delay_microseconds"], "3", lambda c: c.dynamic_batching.max_queue_delay_microseconds),
        (
            ["dynamic_batching", "default_queue_policy", "max_queue_size"],
            "3",
            lambda config: config.dynamic_batching.default_queue_policy.max_queue_size,
        ),
        (["optimization", "cuda", "graphs"], "true", lambda config: config.optimization.cuda.graphs + 2),
    ],
)
def test_values_that_are_not_there_are_added(path: list[str], value: str, read: Any) -> None:
    changed = set_value(TEXT, path, value)
    assert read(protobuf(changed)) == 3
    assert "# as many as cores" in changed
    assert changed.startswith("# written by hand; keep\n")
    assert read(protobuf(TEXT)) != 3


def test_parameters() -> None:
    changed = with_parameters(TEXT, {"perceiver_bundle_1": None, "perceiver_bundle_2": None, "new": 'a"b'})
    assert {key: each.string_value for key, each in protobuf(changed).parameters.items()} == {"own": 'it"s', "new": 'a"b'}
    assert with_parameters(TEXT, {}) == TEXT


def test_steps_of_an_ensemble() -> None:
    config = protobuf(at_version(STEPS, ["a", "b"], 7))
    assert [step.model_version for step in config.ensemble_scheduling.step] == [7, 7]
    assert list(config.version_policy.specific.versions) == [7]
    only_a = protobuf(at_version(STEPS, ["a"], 7))
    assert [step.model_version for step in only_a.ensemble_scheduling.step] == [7, -1]


def test_a_field_is_taken_out_with_its_line() -> None:
    changed = replaced(TEXT, find(parse(TEXT), "input"), "")
    assert changed == "".join(line for line in TEXT.splitlines(keepends=True) if not line.startswith("input"))


@pytest.mark.parametrize("text", ["a {", "a: }", "a b", "a: [1", "}", 'a: "x', "a { b: [ }", "a: 1 ]", "a: [1 2]", "\x00: 1"])
def test_what_is_no_text_format(text: str) -> None:
    with pytest.raises(pr.InputError, match=r"line 3 is not in protobuf's text format: repair the file"):
        parse(f"a: 1\n\n{text}")


def test_nested_without_end() -> None:
    with pytest.raises(pr.InputError, match="line 1 is not"):
        parse("a {" * 5000)
