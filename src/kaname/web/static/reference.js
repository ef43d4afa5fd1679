"use strict";
// Renders openapi.json. Text from the document is only ever set as text, never as markup.

const METHODS = ["get", "post", "put", "patch", "delete"];

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

// Plain text with `code` spans.
function prose(text) {
  const parts = (text || "").split("`");
  return parts.map((part, i) => (i % 2 ? el("code", null, part) : part));
}

class Page {
  constructor(spec) {
    this.spec = spec;
  }

  resolve(schema) {
    if (!schema || !schema.$ref) return schema || {};
    const path = schema.$ref.slice(2).split("/");
    return path.reduce((at, name) => at[name], this.spec);
  }

  // A short name of a schema's type: "array of integer", "string or null".
  type(schema) {
    if (!schema) return "any";
    if (schema.$ref) return schema.$ref.split("/").pop().replace(/_+$/, "");
    if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
    if ("const" in schema) return JSON.stringify(schema.const);
    const choices = schema.anyOf || schema.oneOf;
    if (choices) return choices.map((choice) => this.type(choice)).join(" or ");
    if (schema.type === "array") {
      if (schema.prefixItems) return "array of " + schema.prefixItems.length;
      return "array of " + this.type(schema.items || {});
    }
    if (schema.type === "object" && typeof schema.additionalProperties === "object") {
      return "map of " + this.type(schema.additionalProperties);
    }
    return Array.isArray(schema.type) ? schema.type.join(" or ") : schema.type || "any";
  }

  // The first object schema inside a type, to unfold it.
  objectIn(schema) {
    const candidates = [schema, schema.items, schema.additionalProperties, ...(schema.anyOf || schema.oneOf || [])];
    for (const candidate of candidates) {
      if (!candidate || typeof candidate !== "object") continue;
      const found = this.resolve(candidate);
      if (found.properties) return found;
      if (candidate !== schema && candidate.items) {
        const inner = this.resolve(candidate.items);
        if (inner.properties) return inner;
      }
    }
    return null;
  }

  limits(schema) {
    const found = [];
    if ("minimum" in schema) found.push("≥ " + schema.minimum);
    if ("exclusiveMinimum" in schema) found.push("> " + schema.exclusiveMinimum);
    if ("maximum" in schema) found.push("≤ " + schema.maximum);
    if ("maxLength" in schema) found.push("at most " + schema.maxLength + " characters");
    if ("default" in schema) found.push("default " + JSON.stringify(schema.default));
    return found.join(", ");
  }

  // `depth` below 0 is inside an answer, where "required" would tell nothing.
  row(name, schema, required, description, depth) {
    const inner = Math.abs(depth) < 5 ? this.objectIn(schema) : null;
    const limits = this.limits(schema);
    return el(
      "tr", null,
      el("td", null, el("code", null, name), required && depth > 0 ? el("span", { class: "need" }, "required") : null),
      el(
        "td", null,
        el("span", { class: "quiet" }, this.type(schema) + (limits ? " · " + limits : "")),
        description ? el("p", null, ...prose(description)) : null,
        inner
          ? el("details", null, el("summary", null, "Fields"), el("div", null, this.fields(inner, depth + Math.sign(depth))))
          : null,
      ),
    );
  }

  fields(schema, depth) {
    const required = new Set(schema.required || []);
    const rows = Object.entries(schema.properties || {}).map(([name, field]) =>
      this.row(name, field, required.has(name), field.description, depth));
    return rows.length ? el("table", null, el("tbody", null, ...rows)) : el("p", { class: "quiet" }, "No fields.");
  }

  parameters(operation) {
    const listed = operation.parameters || [];
    if (!listed.length) return [];
    const rows = listed.map((p) => this.row(p.name, p.schema, p.required, this.note(p), 1));
    return [el("h4", null, "Parameters"), el("table", null, el("tbody", null, ...rows))];
  }

  note(parameter) {
    const place = parameter.in === "header" ? "A header. " : "";
    return place + (parameter.description || "");
  }

  content(title, content, depth, description) {
    const [, found] = Object.entries(content)[0];
    const schema = found.schema ? this.resolve(found.schema) : {};
    const inner = this.objectIn(schema);
    return [
      el("h4", null, title),
      el("p", { class: "quiet" }, Object.keys(content).join(", "), found.schema && !inner ? " · " + this.type(found.schema) : ""),
      description ? el("p", null, ...prose(description)) : null,
      inner ? this.fields(inner, depth) : null,
    ];
  }

  curl(path, method, operation) {
    const known = { model: "iris", version: "1" };
    const filled = path.replace(/\{(\w+)\}/g, (_, name) => known[name] || name.toUpperCase());
    const query = (operation.parameters || [])
      .filter((p) => p.in === "query" && p.required)
      .map((p) => p.name + "=" + p.name.toUpperCase()).join("&");
    const url = location.origin + filled + (query ? "?" + query : "");
    const lines = ["curl" + (method === "get" ? "" : " -X " + method.toUpperCase()) + " '" + url + "'"];
    if (!operation.security || operation.security.length) lines.push("-H \"Authorization: Bearer $KANAME_KEY\"");
    const body = operation.requestBody;
    if (body) {
      const [media, found] = Object.entries(body.content)[0];
      lines.push("-H 'Content-Type: " + media + "'");
      if (found.schema) {
        const example = "example" in found ? found.example : this.sample(found.schema, 0);
        lines.push("-d '" + JSON.stringify(example).replaceAll("'", "'\\''") + "'");
      } else {
        lines.push("--data-binary @FILE");
      }
    }
    return lines.join(" \\\n  ");
  }

  // A value that has the shape of a schema: its required fields only.
  sample(schema, depth) {
    const found = this.resolve(schema);
    if ("default" in found) return found.default;
    if (found.enum) return found.enum[0];
    const choices = found.anyOf || found.oneOf;
    if (choices) return this.sample(choices[0], depth);
    if (found.properties && depth < 5) {
      const names = found.required || [];
      return Object.fromEntries(names.map((name) => [name, this.sample(found.properties[name], depth + 1)]));
    }
    return { string: "text", integer: 1, number: 1.5, boolean: true, array: [], object: {} }[found.type] ?? null;
  }

  tryIt(path, method, operation) {
    const text = this.curl(path, method, operation);
    const button = el("button", { type: "button" }, "Copy");
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    return [el("h4", null, "Try it"), el("div", { class: "curl" }, el("pre", { tabindex: "0" }, text), button)];
  }

  operation(path, method, operation) {
    const parts = [
      el("h3", { id: operation.operationId + "-title" }, operation.summary),
      el("p", { class: "route" }, el("span", { class: "method " + method }, method.toUpperCase()), el("span", null, path)),
      operation.description ? el("p", null, ...prose(operation.description)) : null,
      ...this.parameters(operation),
    ];
    if (operation.requestBody) {
      parts.push(...this.content("Body", operation.requestBody.content, 1, operation.requestBody.description));
    }
    for (const [status, declared] of Object.entries(operation.responses)) {
      const response = this.resolve(declared);
      if (status === "default") continue;
      if (response.content) parts.push(...this.content("Answer " + status, response.content, -1));
      else parts.push(el("h4", null, "Answer " + status), el("p", null, response.description));
    }
    parts.push(...this.tryIt(path, method, operation));
    return el("article", { id: operation.operationId, "aria-labelledby": operation.operationId + "-title" }, ...parts);
  }

  operations() {
    const found = [];
    for (const [path, item] of Object.entries(this.spec.paths)) {
      for (const method of METHODS) {
        if (item[method]) found.push({ path, method, operation: item[method], tag: (item[method].tags || ["other"])[0] });
      }
    }
    return found;
  }

  errors() {
    const schema = this.spec.components.schemas.Problem;
    return el("article", { id: "errors" }, el("h3", null, "When a request is not answered"),
      el("p", null, "Every error is a problem document (", el("code", null, "application/problem+json"),
        ", RFC 9457). Branch on ", el("code", null, "code"), "; show ", el("code", null, "detail"), " to people."),
      this.fields(schema, -1));
  }
}

function render(page) {
  const { info } = page.spec;
  document.title = info.title + " · API reference";
  document.getElementById("title").textContent = info.title;
  document.getElementById("version").textContent = "API reference · version " + info.version;
  document.getElementById("intro").append(
    el("p", null, ...prose(info.description)),
    el("p", { class: "quiet" }, "The same as a document: ", el("a", { href: "openapi.json" }, "openapi.json"),
      ". The lines to try expect your API key in ", el("code", null, "KANAME_KEY"), "."));
  const operations = page.operations();
  const groups = Map.groupBy ? Map.groupBy(operations, (o) => o.tag) : grouped(operations);
  const nav = document.getElementById("nav");
  const list = document.getElementById("operations");
  list.replaceChildren();
  for (const [tag, members] of groups) {
    const links = members.map(({ path, method, operation }) => el("li", { "data-of": operation.operationId },
      el("a", { href: "#" + operation.operationId, title: path },
        el("span", { class: "method " + method }, method.toUpperCase()), el("span", null, operation.summary))));
    nav.append(el("section", null, el("h2", null, tag), el("ul", null, ...links)));
    list.append(el("section", null, el("h2", null, tag),
      ...members.map(({ path, method, operation }) => page.operation(path, method, operation))));
  }
  list.append(el("section", null, el("h2", null, "Errors"), page.errors()));
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

function grouped(operations) {
  const groups = new Map();
  for (const operation of operations) {
    if (!groups.has(operation.tag)) groups.set(operation.tag, []);
    groups.get(operation.tag).push(operation);
  }
  return groups;
}

function filter(words) {
  const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
  for (const article of document.querySelectorAll("main article")) {
    const head = article.textContent.toLowerCase();
    article.hidden = !wanted.every((word) => head.includes(word));
    const link = document.querySelector(`[data-of="${article.id}"]`);
    if (link) link.hidden = article.hidden;
  }
  for (const section of document.querySelectorAll("#operations > section, nav > section")) {
    const members = [...section.querySelectorAll("article, li")];
    section.hidden = members.length > 0 && members.every((member) => member.hidden);
  }
}

async function main() {
  const response = await fetch("openapi.json");
  if (!response.ok) throw new Error("openapi.json: " + response.status);
  render(new Page(await response.json()));
  document.getElementById("filter").addEventListener("input", (event) => filter(event.target.value));
}

main().catch((error) => {
  document.getElementById("operations").replaceChildren(el("p", { role: "alert" }, "The description cannot be shown: " + error.message));
});
