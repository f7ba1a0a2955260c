//! The README tells the truth about what can be looked up.

use std::{collections::BTreeSet, fs, path::Path};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the workspace")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands between two marks, as often as they come.
fn between<'a>(text: &'a str, from: &str, to: &str) -> Vec<&'a str> {
    text.split(from)
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(to)?.0))
        .collect()
}

/// The anchor that a heading gets on a web page.
fn anchor(heading: &str) -> String {
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.collect::<String>()
        .trim()
        .to_lowercase()
        .replace(' ', "-")
}

/// Holds a page's table of options against the source of a program.
fn check_options(sources: &[&str], page: &str, own: &str) {
    let source: String = sources.iter().map(|path| read(path)).collect();
    let page = read(page);
    let mut known = BTreeSet::new();
    for argument in between(&source, "#[arg(", ")]\n") {
        let [variable] = between(argument, "env = \"", "\"")[..] else {
            continue;
        };
        known.insert(variable.to_owned());
        let start = format!("| `{variable}` | ");
        let row = page.lines().find(|line| line.contains(&start));
        let row = row.unwrap_or_else(|| panic!("{variable} has no row in the README"));
        for default in between(argument, "default_value = \"", "\"") {
            assert!(
                row.contains(&format!("| `{default}` |")),
                "{variable} has the default {default}: {row}"
            );
        }
    }
    assert!(
        known.len() > 20,
        "the options are not found any more: {known:?}"
    );
    for row in page.lines().filter(|line| line.starts_with("| `--")) {
        let flag_and_variable: Vec<_> = row.split('`').skip(1).step_by(2).collect();
        let variable = flag_and_variable[1];
        assert!(known.contains(variable), "there is no {variable}");
        let flag = variable
            .trim_start_matches(own)
            .trim_start_matches("GATEBUS_")
            .replace("NATS_URL", "NATS")
            .replace('_', "-");
        assert_eq!(flag_and_variable[0], format!("--{}", flag.to_lowercase()));
    }
}

#[test]
fn the_tables_of_options_are_the_programs_own() {
    let gateway = [
        "gateway-svc/src/config.rs",
        "gateway-svc/src/config/nats.rs",
    ];
    check_options(&gateway, "README.md", "GATEBUS_");
    check_options(
        &["api-svc/src/config.rs"],
        "api-svc/README.md",
        "GATEBUS_API_",
    );
}

/// The metrics in the first column of a table, without what Prometheus adds to a counter's name.
fn metrics_of(section: &str) -> BTreeSet<String> {
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.filter_map(|row| Some(row.strip_prefix("| ")?.split_once(" | ")?.0));
    let names = cells.flat_map(|cell| cell.split(", "));
    let bare = |name: &str| {
        let name = name.trim_matches('`').split('{').next().unwrap_or_default();
        name.trim_end_matches("_total").to_owned()
    };
    names.map(bare).collect()
}

#[test]
fn every_metric_of_the_readme_is_one_of_the_gateways_or_the_workers() {
    let readme = read("README.md");
    let (_, section) = readme
        .split_once("\n## Metrics\n")
        .expect("a section about metrics");
    let (section, _) = section.split_once("\n## ").expect("a section behind it");
    let (gateway, worker) = section
        .split_once("gatebus_worker_")
        .expect("a part about workers");
    let (gateway, worker) = (metrics_of(gateway), metrics_of(worker));
    let source = read("gateway-svc/src/metrics.rs");
    for name in &gateway {
        let name = name.trim_end_matches("_bytes");
        assert!(
            source.contains(&format!("\"{name}\"")),
            "the gateway has no metric {name}"
        );
    }
    assert!(gateway.len() > 15, "the metrics are not found any more");
    let source = read("worker-sdk/src/metrics.rs");
    let calls = ["page.gauge(", "page.count(", "page.counts(", "page.times("];
    let has: BTreeSet<String> = calls
        .iter()
        .flat_map(|call| between(&source, call, ","))
        .map(|name| name.trim().trim_matches('"').to_owned())
        .collect();
    assert_eq!(worker, has, "README, and what workers tell");
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    for page in [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "subjects.md",
        "api-svc/README.md",
        "examples/bind/README.md",
        "docs/protocols.md",
        "docs/ctl.md",
        "docs/kubernetes.md",
        "helm/README.md",
    ] {
        for link in between(&read(page), "](", ")") {
            if link.contains("://") {
                continue;
            }
            let link = link.split_once(" \"").map_or(link, |(link, _title)| link);
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let path = match Path::new(page).parent() {
                _ if path.is_empty() => page.to_owned(),
                Some(folder) => folder.join(path).to_string_lossy().into_owned(),
                None => path.to_owned(),
            };
            assert!(root().join(&path).exists(), "{page} links to {link}");
            let found = heading.is_empty()
                || read(&path)
                    .lines()
                    .filter(|line| line.starts_with('#'))
                    .any(|line| anchor(line.trim_start_matches('#')) == heading);
            assert!(
                found,
                "{page} links to {link}, and there is no such heading"
            );
        }
    }
}

#[test]
fn the_commands_that_are_named_exist() {
    let main = read("xtask/src/main.rs");
    for page in ["README.md", "CONTRIBUTING.md"] {
        for command in between(&read(page), "cargo xtask ", "\n") {
            let name: String = command
                .chars()
                .take_while(char::is_ascii_lowercase)
                .collect();
            let mut variant = name.clone();
            variant[..1].make_ascii_uppercase();
            assert!(
                main.contains(&format!("    {variant}(")),
                "{page} names `cargo xtask {name}`"
            );
        }
    }
}
