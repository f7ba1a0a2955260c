//! README's "Coming from GatewayWorker" is complete and true.

mod php;

use std::{collections::BTreeMap, fs, path::Path};

use php::{METHODS, code, root};

/// Callbacks, properties and variables.
const OTHERS: [&str; 53] = [
    "onWorkerStart",
    "onWorkerStop",
    "onConnect",
    "onWebSocketConnect",
    "onMessage",
    "onClose",
    "onBusinessWorkerConnected",
    "onBusinessWorkerClose",
    "onWorkerReload",
    "eventHandler",
    "$_SESSION",
    "$_SERVER",
    "REMOTE_ADDR",
    "REMOTE_PORT",
    "GATEWAY_ADDR",
    "GATEWAY_PORT",
    "GATEWAY_CLIENT_ID",
    "$client_id",
    "Timer::add",
    "Timer::del",
    "start.php status",
    "start.php connections",
    "start.php stop",
    "start.php reload",
    "registerAddress",
    "secretKey",
    "lanIp",
    "lanPort",
    "innerTcpWorkerListen",
    "startPort",
    "pingInterval",
    "pingNotResponseLimit",
    "pingData",
    "router",
    "selectLoadBalancingMode",
    "sendToWorkerBufferSize",
    "sendToClientBufferSize",
    "sendToGatewayBufferSize",
    "protocolAccelerate",
    "name",
    "count",
    "user",
    "group",
    "reusePort",
    "transport",
    "local_cert",
    "local_pk",
    "Protocols\\YourProtocol",
    "getAllGatewayAddresses",
    "Gateway::$connectTimeout",
    "Gateway::$persistentConnection",
    "Gateway::$addressesCacheDisable",
    "Gateway::$registerAddress",
];

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A row of a table: theirs, ours, the tests, the difference.
struct Row {
    line: String,
    cells: Vec<String>,
}

fn rows() -> Vec<Row> {
    let readme = read("README.md");
    let (_, section) = readme
        .split_once("\n## Coming from GatewayWorker\n")
        .expect("a section for those who come from GatewayWorker");
    let (section, _) = section.split_once("\n## ").expect("a section behind it");
    let rows = section
        .lines()
        .filter(|line| line.starts_with("| "))
        .filter(|line| !line.starts_with("| ---") && !line.starts_with("| GatewayWorker |"))
        .map(|line| {
            let inner = line.trim_start_matches('|').trim_end_matches('|');
            Row {
                line: line.to_owned(),
                cells: inner
                    .split('|')
                    .map(|cell| cell.trim().to_owned())
                    .collect(),
            }
        });
    let rows: Vec<Row> = rows.collect();
    for row in &rows {
        assert_eq!(row.cells.len(), 4, "four cells: {}", row.line);
    }
    rows
}

/// The identifiers in a piece of code, each with what follows it.
fn words(code: &str) -> Vec<(&str, &str)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut words = Vec::new();
    let mut rest = code;
    while let Some(start) = rest.find(is_part) {
        rest = &rest[start..];
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        words.push((&rest[..end], &rest[end..]));
        rest = &rest[end..];
    }
    words
}

/// The sources of the SDK.
fn sdk() -> Vec<String> {
    fn collect(folder: &Path, sources: &mut Vec<String>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                collect(&path, sources);
            } else {
                sources.push(read(path));
            }
        }
    }
    let mut sources = Vec::new();
    collect(&root().join("worker-sdk/src"), &mut sources);
    sources
}

fn function(line: &str) -> Option<&str> {
    let (before, rest) = line.split_once("fn ")?;
    let is_public = before.trim_start().starts_with("pub") || before.trim().is_empty();
    let name = rest.split(['(', '<']).next()?;
    is_public.then_some(name)
}

/// Which functions are found by a PHP name.
fn aliases() -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for source in sdk() {
        let mut waiting = Vec::new();
        for line in source.lines() {
            if let Some((_, rest)) = line.split_once("#[doc(alias = \"") {
                waiting.extend(rest.split('"').next());
            } else if let Some(name) = function(line) {
                for alias in waiting.drain(..) {
                    found
                        .entry(alias.to_owned())
                        .or_default()
                        .push(name.to_owned());
                }
            }
        }
    }
    found
}

#[test]
fn every_name_of_gatewayworker_has_a_row() {
    let rows = rows();
    let known: Vec<&str> = rows.iter().flat_map(|row| code(&row.cells[0])).collect();
    let missing: Vec<_> = METHODS
        .iter()
        .chain(&OTHERS)
        .filter(|name| !known.contains(name))
        .collect();
    assert!(missing.is_empty(), "no row for {missing:?}");
}

#[test]
fn every_method_is_found_by_its_php_name() {
    let (rows, aliases) = (rows(), aliases());
    for method in METHODS {
        let rows = rows
            .iter()
            .filter(|row| code(&row.cells[0]).any(|c| c == method));
        let [row] = rows.collect::<Vec<_>>()[..] else {
            panic!("{method} has one row")
        };
        if row.cells[1].starts_with("none") {
            continue;
        }
        let ours: Vec<&str> = code(&row.cells[1]).flat_map(words).map(|w| w.0).collect();
        let found = aliases.get(method);
        let named = found.is_some_and(|names| names.iter().any(|name| ours.contains(&&**name)));
        // a name that is the same in both needs no alias
        let same = ours.contains(&method);
        assert!(
            named || same,
            "searching the SDK's documentation for {method} finds {found:?}: {}",
            row.line
        );
    }
}

#[test]
fn whatever_is_named_beside_it_exists() {
    let sources = sdk();
    let readme = read("README.md");
    let functions: Vec<&str> = sources
        .iter()
        .flat_map(|source| source.lines().filter_map(function))
        .collect();
    let mut seen = 0;
    for row in rows() {
        for code in code(&row.cells[1]) {
            if code.starts_with("--") {
                let flag = code.split_whitespace().next().unwrap_or_default();
                assert!(
                    readme.contains(&format!("| `{flag}` |")),
                    "no {flag}: {}",
                    row.line
                );
                seen += 1;
                continue;
            }
            for (word, rest) in words(code) {
                let alone = word == code && word.contains('_') && word == word.to_lowercase();
                if alone || rest.starts_with('(') || rest.starts_with("::<") {
                    assert!(functions.contains(&word), "no fn {word}: {}", row.line);
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 80, "the names are not found any more: {seen}");
}

#[test]
fn every_row_names_a_test_that_exists() {
    for row in rows() {
        let tests: Vec<&str> = row.cells[2].split("](").skip(1).collect();
        let stands_for_nothing = ["none", "the service manager's"];
        let needs_one = !stands_for_nothing
            .iter()
            .any(|s| row.cells[1].starts_with(s));
        assert!(!(needs_one && tests.is_empty()), "no test: {}", row.line);
        for test in tests {
            let (path, rest) = test.split_once(" \"").expect("a file and a name");
            let (name, _) = rest.split_once('"').expect("the end of the name");
            let source = read(path);
            assert!(
                source.contains(&format!("fn {name}(")),
                "no test {name} in {path}"
            );
        }
    }
}
