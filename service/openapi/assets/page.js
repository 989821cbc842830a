"use strict";
// Shows openapi.json. Text becomes text nodes only, so that nothing in the document can be markup.

const base = new URL(".", location.href);
let doc;
let key = "";

function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  return fill(element, children);
}

function fill(element, ...children) {
  element.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null));
  return element;
}

function prose(text) {
  const inline = (line) => line.split("`").map((part, at) => (at % 2 ? h("code", {}, part) : part));
  return (text || "").split("\n\n").filter(Boolean).map((paragraph) => h("p", {}, inline(paragraph)));
}

const nameOf = (reference) => reference.split("/").pop();
const find = (schema) => (schema && schema.$ref ? { ...doc.components.schemas[nameOf(schema.$ref)], ...schema, $ref: undefined } : schema || {});
const isNull = (schema) => schema.type === "null";

// What a value may be, in a few words. Null is left out where leaving the field out is as good.
function typeOf(schema, hidesNull) {
  if (schema.$ref) return nameOf(schema.$ref);
  if (schema.discriminator) return `object, by its ${schema.discriminator.propertyName}`;
  if (schema.anyOf) {
    const forms = schema.anyOf.filter((form) => !(hidesNull && isNull(form)));
    return [...new Set(forms.map((form) => typeOf(form, hidesNull)))].join(" or ");
  }
  if ("const" in schema) return JSON.stringify(schema.const);
  if (schema.enum) {
    const values = schema.enum.filter((value) => !(hidesNull && value === null));
    return values.map((value) => JSON.stringify(value)).join(" | ");
  }
  let types = [schema.type || "any JSON"].flat();
  if (hidesNull && types.length > 1) types = types.filter((type) => type !== "null");
  return types.map((type) => {
    if (type === "array" && schema.maxItems === 0) return "empty array";
    if (type === "array") return `array of ${typeOf(schema.items || {}, true)}`.replace("of object,", "of objects,");
    if (type === "object" && schema.additionalProperties?.type && !schema.properties) return `object of ${typeOf(schema.additionalProperties, true)}`;
    return type;
  }).join(" or ");
}

const POWERS = new Map([[2 ** 63, "2⁶³"], [-(2 ** 63), "−2⁶³"], [2 ** 31 - 1, "2³¹ − 1"], [1 - 2 ** 31, "1 − 2³¹"]]);
const number = (value) => POWERS.get(value) || String(value).replace("-", "−");

function range(low, high, unit) {
  if (low === undefined && high === undefined) return undefined;
  const what = unit ? ` ${unit}` : "";
  if (high === undefined && low === 1 && unit) return "not empty";
  if (high === undefined) return `at least ${number(low)}${what}`;
  return low === undefined ? `at most ${number(high)}${what}` : `${number(low)} to ${number(high)}${what}`;
}

function boundsOf(schema) {
  const found = [
    range(schema.minimum, schema.maximum),
    schema.exclusiveMinimum === undefined ? undefined : `above ${number(schema.exclusiveMinimum)}`,
    range(schema.minLength, schema.maxLength, "characters"),
    schema.maxItems === 0 ? undefined : range(schema.minItems, schema.maxItems, "items"),
    range(schema.minProperties, schema.maxProperties, "entries"),
    schema.pattern ? `pattern ${schema.pattern}` : undefined,
    schema.propertyNames?.pattern ? `keys ${schema.propertyNames.pattern}` : undefined,
    schema.default === undefined ? undefined : `default ${JSON.stringify(schema.default)}`,
  ];
  for (const form of schema.anyOf || []) if (!form.$ref) found.push(...boundsOf(form));
  return [...new Set(found.filter(Boolean))];
}

// The objects within a schema that have fields of their own, with their names.
function objectsIn(schema) {
  if (schema.$ref) return find(schema).properties ? [[nameOf(schema.$ref), schema]] : objectsIn(find(schema));
  if (schema.properties) return [["fields", schema]];
  return [...(schema.anyOf || []), schema.items].filter(Boolean).flatMap(objectsIn);
}

function fold(title, make) {
  const details = h("details", {}, h("summary", {}, title));
  details.addEventListener("toggle", () => { if (details.children.length === 1) details.append(make()); }, { once: true });
  return details;
}

// In an answer only what may be missing is worth a word, in a request what must not be.
function field(name, schema, isRequired, isAnswer) {
  const text = schema.description || (schema.$ref ? find(schema).description : "");
  const bounds = [...boundsOf(schema), ...(schema.items ? boundsOf(schema.items).map((bound) => `each ${bound}`) : [])];
  return h("div", { class: "field" },
    h("dt", {},
      h("span", { class: "name" }, name),
      h("span", { class: "type" }, [typeOf(schema, !isRequired && !isAnswer), ...bounds].join(" · ")),
      isRequired && !isAnswer ? h("span", { class: "required" }, "required") : undefined,
      isAnswer && !isRequired ? h("span", { class: "type" }, "not always") : undefined),
    h("dd", {}, prose(text),
      objectsIn(schema).map(([title, inner]) => fold(title, () => fields(inner, isAnswer)))));
}

function fields(schema, isAnswer) {
  const found = find(schema);
  const required = new Set(found.required || []);
  const names = Object.keys(found.properties || {}).sort((a, b) => required.has(b) - required.has(a));
  return h("dl", { class: "fields" }, names.map((name) => field(name, found.properties[name], required.has(name), isAnswer)));
}

function answer(status, response) {
  const bodies = Object.entries(response.content || {}).map(([type, content]) => {
    const event = content.schema.properties?.data?.anyOf[0].contentSchema.anyOf[0];
    const shown = event || content.schema;
    const title = `${type}${shown.$ref ? `: ${nameOf(shown.$ref)}` : ""}${event ? " events" : ""}`;
    if (shown.$ref?.endsWith("/ErrorBody")) return undefined;  // it is told once, at the top
    return objectsIn(shown).length ? fold(title, () => fields(shown, true)) : h("div", { class: "bounds" }, title);
  });
  return h("div", { class: "answer" },
    h("b", { class: status < 400 ? "ok" : "fault" }, status),
    h("div", {}, prose(response.description), bodies));
}

function urlOf(path, values) {
  return new URL(path.slice(1).replace(/{(\w+)}/g, (_, name) => values[name].split("/").map(encodeURIComponent).join("/")), base).href;
}

function shell(method, url, body) {
  const lines = [`curl ${url}`];
  if (method !== "GET") lines[0] = body ? lines[0] : `curl -X ${method} ${url}`;
  if (doc.components.securitySchemes) lines.push('-H "Authorization: Bearer $KVORUM_API_KEY"');
  if (body) lines.push("-H 'Content-Type: application/json'", `-d '${JSON.stringify(body, null, 2).replaceAll("'", "\\u0027")}'`);
  return lines.join(" \\\n  ");
}

function python(value, indent = "") {
  const deeper = `${indent}    `;
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map((item) => python(item, indent)).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${python(item, deeper)}`).join(", ")}}`;
  return JSON.stringify(value);
}

function client(call, body, values) {
  const given = body ? Object.entries(body).map(([name, value]) => `${name}=${python(value)}`) : Object.values(values).map((value) => python(value));
  const inner = body ? `\n    ${given.join(",\n    ")},\n` : given.join(", ");
  const secret = doc.components.securitySchemes ? 'os.environ["KVORUM_API_KEY"]' : '"none"';
  return [
    ...(doc.components.securitySchemes ? ["import os", ""] : []),
    "from openai import OpenAI", "",
    "client = OpenAI(", `    base_url="${new URL("v1", base).href}",`, `    api_key=${secret},`, ")",
    `answer = client.${call}(${inner})`,
    "print(answer)",
  ].join("\n");
}

function samples(method, path, operation, body, values) {
  const texts = { curl: shell(method, urlOf(path, values), body) };
  if (operation["x-openai-client"]) texts.Python = client(operation["x-openai-client"], body, values);
  const code = h("code", {}, texts.curl);
  code.style.all = "unset";
  const bar = h("fieldset", { class: "bar" }, Object.keys(texts).map((name) => h("label", {},
    h("input", { type: "radio", name: `sample-${operation.operationId}`, checked: name === "curl", onchange: () => { code.textContent = texts[name]; } }), name)));
  if (navigator.clipboard) {
    const copy = h("button", { type: "button", onclick: async () => {
      await navigator.clipboard.writeText(code.textContent);
      copy.textContent = "Copied";
      setTimeout(() => { copy.textContent = "Copy"; }, 1500);
    } }, "Copy");
    bar.append(copy);
  }
  bar.prepend(h("legend", { class: "skip" }, "Example in"));
  return [bar, h("pre", { tabindex: 0, "aria-label": "Example" }, code)];
}

async function send(request, output, status, signal) {
  const start = performance.now();
  output.textContent = "";
  status.textContent = "Waiting …";
  try {
    const response = await fetch(request.url, { ...request.init, signal });
    status.textContent = `${response.status} after ${Math.round(performance.now() - start)} ms`;
    if (response.headers.get("content-type")?.startsWith("application/json")) {
      output.textContent = JSON.stringify(await response.json(), null, 2);
      return;
    }
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) output.append(part.value);
  } catch (error) {
    status.textContent = error.name === "AbortError" ? "Stopped." : "There is no answer from the server.";
  }
}

function tryIt(method, path, operation, body, values) {
  const inputs = Object.entries(values).map(([name, value]) => [name, h("input", { type: "text", value, spellcheck: "false" })]);
  const area = operation.requestBody ? h("textarea", { spellcheck: "false" }, JSON.stringify(body || {}, null, 2)) : undefined;
  const output = h("pre", { class: "answer-text", tabindex: 0, "aria-label": "Answer", hidden: true });
  const status = h("span", { role: "status" });
  const go = h("button", { type: "submit", class: "send" }, "Send");
  const stop = h("button", { type: "button", disabled: true }, "Stop");
  let running;
  stop.addEventListener("click", () => running.abort());
  const form = h("form", {},
    inputs.map(([name, input]) => h("label", {}, name, input)),
    area ? h("label", {}, "Body", area) : undefined,
    h("div", { class: "bar" }, go, status, stop), output);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const headers = { ...(area ? { "content-type": "application/json" } : {}), ...(key ? { authorization: `Bearer ${key}` } : {}) };
    const given = Object.fromEntries(inputs.map(([name, input]) => [name, input.value]));
    running = new AbortController();
    go.disabled = true;
    stop.disabled = false;
    output.hidden = false;
    await send({ url: urlOf(path, given), init: { method, headers, body: area?.value } }, output, status, running.signal);
    go.disabled = false;
    stop.disabled = true;
  });
  return h("details", { class: "try" }, h("summary", {}, "Try it"), form);
}

function section(method, path, operation) {
  const content = operation.requestBody?.content["application/json"];
  const body = content?.example;
  const parameters = (operation.parameters || []).filter((parameter) => parameter.in === "path");
  const values = Object.fromEntries(parameters.map((parameter) => [parameter.name, parameter.example]));
  const request = content ? [h("h4", {}, "Body"), prose(find(content.schema).description), fields(content.schema)] : [];
  const id = operation.operationId;
  return h("section", { class: "operation", id, "aria-labelledby": `${id}-title` },
    h("h3", { id: `${id}-title` }, operation.summary),
    h("div", { class: "route" }, h("span", { class: `method ${method}` }, method), " ", path,
      doc.security && operation.security === undefined ? h("span", { class: "dim" }, "  · needs the key") : undefined),
    h("div", { class: "columns" },
      h("div", {}, prose(operation.description),
        parameters.length ? h("h4", {}, "Path") : undefined,
        parameters.length ? h("dl", { class: "fields" }, parameters.map((each) => field(each.name, { ...each.schema, description: each.description }, true))) : undefined,
        request,
        h("h4", {}, "Answers"),
        Object.entries(operation.responses).map(([status, response]) => answer(status, response))),
      h("div", { class: "samples" }, samples(method, path, operation, body, values), tryIt(method, path, operation, body, values))));
}

function show() {
  const operations = Object.entries(doc.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ method: method.toUpperCase(), path, operation })));
  const tagged = doc.tags.map((tag) => [tag, operations.filter(({ operation }) => operation.tags.includes(tag.name))]);
  fill(document.getElementById("contents"),
    h("p", { class: "title" }, doc.info.title), h("div", { class: "dim" }, `version ${doc.info.version}`),
    doc.components.securitySchemes ? h("label", {}, "API key, for “Try it”",
      h("input", { type: "password", autocomplete: "off", oninput: (event) => { key = event.target.value; } })) : undefined,
    tagged.map(([tag, found]) => [h("h2", {}, tag.name), h("ul", {}, found.map(({ operation }) =>
      h("li", {}, h("a", { href: `#${operation.operationId}` }, operation.summary))))]));
  const main = document.getElementById("content");
  main.replaceChildren();
  fill(main,
    h("h1", {}, `${doc.info.title} API `, h("small", {}, doc.info.version)),
    prose(doc.info.description),
    fold("ErrorBody", () => fields({ $ref: "#/components/schemas/ErrorBody" }, true)),
    h("p", {}, "For programs: ", h("a", { href: "openapi.json" }, "openapi.json"), " (OpenAPI 3.1)."),
    tagged.map(([tag, found]) => [
      h("h2", { class: "tag" }, tag.name), prose(tag.description),
      found.map(({ method, path, operation }) => section(method, path, operation))]));
  main.removeAttribute("aria-busy");
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView({ behavior: "instant" });
}

fetch(new URL("openapi.json", base))
  .then((response) => { if (!response.ok) throw new Error(String(response.status)); return response.json(); })
  .then((found) => { doc = found; show(); })
  .catch((error) => { document.getElementById("content").textContent = `openapi.json cannot be shown: ${error.message}`; });
