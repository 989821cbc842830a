"""Tool calls out of generated text, as it streams.

The seams:

- ``base``            ToolParser, and the deltas it gives
- ``tool_format``     ToolFormat: a format's name, its parser, and how a chat template shows it
- ``call_shape``      CallShape: how calls are written, as plain data
- ``select``          the table of formats: which one fits a model, and which has a name

What formats share:

- ``answer_deltas``   what goes out: content and calls in their order
- ``call_parser``     content, an opening mark, a call, closing marks, and so on
- ``marked_calls``    the same with one and the same mark before each call
- ``json_scanner``    where a JSON value ends, and whether it is one
- ``call_object``     `{"name": ..., "arguments": {...}}`
- ``headed``          a head with the name, then `{...}`
- ``tagged``          tags around each argument, values as bare text
- ``argument_types``  such values as JSON, by the schemas of the tools
- ``leading_calls``   calls only where a message begins with one
- ``call_shapes``     the shapes of all formats

The formats:

- ``hermes``          `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`
- ``llama``           `{"name": ..., "parameters": {...}}`
- ``mistral``         `[TOOL_CALLS][{...}]` and `[TOOL_CALLS]f[ARGS]{...}`
- ``qwen3_coder``     `<tool_call><function=f><parameter=a>1</parameter></function></tool_call>`
- ``glm45``           `<tool_call>f<arg_key>a</arg_key><arg_value>1</arg_value></tool_call>`
- ``deepseek``        `<｜tool▁call▁begin｜>f<｜tool▁sep｜>{...}<｜tool▁call▁end｜>`
- ``harmony``         `<|channel|>commentary to=functions.f<|message|>{...}<|call|>`
"""
