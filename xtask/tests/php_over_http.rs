//! The HTTP API's table for those who come from PHP is complete, and true to the OpenAPI document.

mod php;

use std::fs;

use php::{METHODS, code, root};
use serde_json::Value;

/// What nobody can do over HTTP, and why is said in its row.
const NONE: [&str; 5] = [
    "sendToCurrentClient",
    "closeCurrentClient",
    "destoryCurrentClient",
    "setSocketSession",
    "setBusinessWorker",
];

/// A row: theirs, and ours.
struct Row {
    line: String,
    theirs: Vec<String>,
    ours: String,
}

fn rows() -> Vec<Row> {
    let readme = fs::read_to_string(root().join("api-svc/README.md")).expect("a README");
    let table = readme
        .lines()
        .skip_while(|line| *line != "| PHP | HTTP | note |")
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let rows = table.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").collect();
        Row {
            line: line.to_owned(),
            theirs: code(cells[0]).map(str::to_owned).collect(),
            ours: cells[1].to_owned(),
        }
    });
    rows.collect()
}

/// The frozen document, which a test holds against the service.
struct Document(Value);

impl Document {
    fn read() -> Self {
        let text = fs::read_to_string(root().join("api-svc/openapi.json"));
        Self(serde_json::from_str(&text.expect("a document")).expect("JSON"))
    }

    /// What a path can do: `POST /v1/uid/{uid}/send`.
    fn operation(&self, call: &str) -> &Value {
        let (method, path) = call.split_once(' ').expect("a method and a path");
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let words = path.split('/').map(|word| match word.starts_with('{') {
            true => "{name}",
            false => word,
        });
        let path = words.collect::<Vec<_>>().join("/");
        let operation = &self.0["paths"][&path][method.to_lowercase()];
        assert!(operation.is_object(), "there is no {method} {path}");
        for parameter in query.split('&').filter(|p| !p.is_empty()) {
            let (name, value) = parameter.split_once('=').expect("a value");
            let known = operation["parameters"].as_array().into_iter().flatten();
            let mut known = known.filter(|p| p["in"] == "query" && p["name"] == name);
            let schema = &known.next().unwrap_or_else(|| panic!("{call}: no {name}"))["schema"];
            let pattern = schema["pattern"].as_str().expect("a pattern");
            for word in value.split(',') {
                assert!(pattern.contains(word), "{call}: no {word} in {pattern}");
            }
        }
        operation
    }

    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let Some(name) = schema["$ref"].as_str() else {
            return schema;
        };
        let (_, name) = name.rsplit_once('/').expect("a path");
        &self.0["components"]["schemas"][name]
    }

    /// Whether an object has the shape of a schema: all that must be in it is, and nothing else
    /// that may not.
    fn fits(&self, schema: &Value, object: &Value) -> bool {
        let schema = self.resolve(schema);
        if let Some(each) = schema["oneOf"].as_array() {
            return each.iter().any(|schema| self.fits(schema, object));
        }
        if let Some(values) = schema["enum"].as_array() {
            return values.contains(object);
        }
        let Some(object) = object.as_object() else {
            return true;
        };
        let known = &schema["properties"];
        let mut required = schema["required"].as_array().into_iter().flatten();
        let open = schema["additionalProperties"] != Value::Bool(false);
        required.all(|name| name.as_str().is_some_and(|name| object.contains_key(name)))
            && object.iter().all(|(name, value)| match known.get(name) {
                Some(schema) => self.fits(schema, value),
                None => open,
            })
    }
}

#[test]
fn every_php_name_has_one_row_with_a_call() {
    let rows = rows();
    for method in METHODS {
        let rows: Vec<&Row> = rows
            .iter()
            .filter(|row| row.theirs.iter().any(|name| name == method))
            .collect();
        let [row] = rows[..] else {
            panic!("{method} has {} rows", rows.len())
        };
        let none = row.ours.starts_with("none: ");
        assert_eq!(none, NONE.contains(&method), "{}", row.line);
        assert_eq!(none, code(&row.ours).next().is_none(), "{}", row.line);
    }
    let strangers = rows.iter().flat_map(|row| &row.theirs);
    let strangers: Vec<_> = strangers
        .filter(|name| !METHODS.contains(&name.as_str()))
        .collect();
    assert!(strangers.is_empty(), "nobody in PHP knows {strangers:?}");
}

#[test]
fn every_call_in_the_table_is_in_the_document() {
    let document = Document::read();
    let in_batch = document.operation("POST /v1/batch");
    let in_batch =
        document.resolve(&in_batch["requestBody"]["content"]["application/json"]["schema"]);
    let in_batch = &in_batch["properties"]["calls"]["items"];
    let mut seen = 0;
    for row in rows() {
        let mut calls = code(&row.ours).peekable();
        while let Some(call) = calls.next() {
            seen += 1;
            if call.starts_with('{') {
                let call: Value = serde_json::from_str(call).expect(&row.line);
                assert!(document.fits(in_batch, &call), "{call}: {}", row.line);
                continue;
            }
            let operation = document.operation(call);
            let body = &operation["requestBody"];
            let given = calls.next_if(|next| {
                next.starts_with('{') && body.is_object() && !next.contains("\"target\"")
            });
            match given {
                Some(given) => {
                    let given: Value = serde_json::from_str(given).expect(&row.line);
                    let schema = &body["content"]["application/json"]["schema"];
                    assert!(document.fits(schema, &given), "{given}: {}", row.line);
                }
                None => assert_ne!(body["required"], true, "no body: {}", row.line),
            }
        }
    }
    assert!(seen > 30, "the calls are not found any more: {seen}");
}
