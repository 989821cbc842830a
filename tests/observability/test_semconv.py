from observability import semconv

EXPECTED = {
    "error.type",
    "gen_ai.operation.name",
    "gen_ai.provider.name",
    "gen_ai.request.choice.count",
    "gen_ai.request.max_tokens",
    "gen_ai.request.model",
    "gen_ai.request.seed",
    "gen_ai.request.stop_sequences",
    "gen_ai.request.stream",
    "gen_ai.request.temperature",
    "gen_ai.request.top_k",
    "gen_ai.request.top_p",
    "gen_ai.response.finish_reasons",
    "gen_ai.response.id",
    "gen_ai.response.model",
    "gen_ai.response.time_to_first_chunk",
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.input_tokens",
    "gen_ai.usage.output_tokens",
    "http.request.method",
    "http.request.method_original",
    "http.response.status_code",
    "http.route",
    "kvorum.client.left",
    "kvorum.decode.steps",
    "kvorum.preemptions",
    "kvorum.prefill.chunks",
    "kvorum.prefill.tokens",
    "kvorum.queue.index",
    "kvorum.request.id",
    "network.protocol.version",
    "server.address",
    "server.port",
    "url.path",
    "url.scheme",
}


def test_the_attribute_names_are_those_of_the_dated_schema() -> None:
    declared = {
        value
        for name, value in vars(semconv).items()
        if name.isupper() and isinstance(value, str) and "." in value and "://" not in value
    }
    assert declared == EXPECTED
