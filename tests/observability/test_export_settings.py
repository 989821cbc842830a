import pytest

from observability.export_settings import ExportSettings, export_settings


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ()),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, ("otlp",)),
        ({"OTEL_TRACES_EXPORTER": " console , otlp,console "}, ("console", "otlp")),
        ({"OTEL_TRACES_EXPORTER": "console,none"}, ()),
        ({"OTEL_TRACES_EXPORTER": "jaeger,otlp"}, ("otlp",)),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"}, ("otlp",)),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4317"}, ("otlp",)),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c"}, ()),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, ()),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "false"}, ("otlp",)),
    ],
)
def test_an_exporter_runs_only_if_a_variable_asks_for_it(
    environ: dict[str, str], expected: tuple[str, ...]
) -> None:
    assert export_settings(environ).exporters == expected


@pytest.mark.parametrize(
    ("environ", "protocol", "endpoint"),
    [
        ({}, "grpc", "http://localhost:4317"),
        (
            {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
            "http/protobuf",
            "http://localhost:4318/v1/traces",
        ),
        (
            {
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                "OTEL_EXPORTER_OTLP_ENDPOINT": "https://c/otlp/",
            },
            "http/protobuf",
            "https://c/otlp/v1/traces",
        ),
        (
            {
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://d/exactly",
            },
            "http/protobuf",
            "http://d/exactly",
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"}, "grpc", "http://c:4317"),
    ],
)
def test_the_signals_own_variables_go_before_the_general_ones(
    environ: dict[str, str], protocol: str, endpoint: str
) -> None:
    settings = export_settings({"OTEL_TRACES_EXPORTER": "otlp"} | environ)
    assert (settings.protocol, settings.endpoint) == (protocol, endpoint)


def test_the_queue_holds_65536_spans_unless_told_otherwise() -> None:
    otlp = {"OTEL_TRACES_EXPORTER": "otlp"}
    assert export_settings(otlp).max_queue_size == 65_536
    small = export_settings(otlp | {"OTEL_BSP_MAX_QUEUE_SIZE": "100"})
    assert (small.max_queue_size, small.max_batch_size) == (100, 100)


def test_every_value_that_is_not_understood_is_replaced_and_told() -> None:
    settings = export_settings(
        {
            "OTEL_TRACES_EXPORTER": "otlp",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json",
            "OTEL_TRACES_SAMPLER": "jaeger_remote",
            "OTEL_TRACES_SAMPLER_ARG": "2",
            "OTEL_BSP_MAX_QUEUE_SIZE": "-1",
            "OTEL_BSP_SCHEDULE_DELAY": "soon",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "0",
            "OTEL_RESOURCE_ATTRIBUTES": "nonsense",
        }
    )
    plain = export_settings({"OTEL_TRACES_EXPORTER": "otlp"})
    told = {warning.partition(":")[0] for warning in settings.warnings}
    assert told == {
        "OTEL_EXPORTER_OTLP_PROTOCOL",
        "OTEL_TRACES_SAMPLER",
        "OTEL_TRACES_SAMPLER_ARG",
        "OTEL_BSP_MAX_QUEUE_SIZE",
        "OTEL_BSP_SCHEDULE_DELAY",
        "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
        "OTEL_RESOURCE_ATTRIBUTES",
    }
    for name in set(ExportSettings.__struct_fields__) - {"warnings"}:
        assert getattr(settings, name) == getattr(plain, name), name
