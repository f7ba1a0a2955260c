//! The effective configuration: what counts, from wherever it was said.

use std::fmt;

use clap::{Arg, ArgMatches, Command, parser::ValueSource};

use crate::nats_auth::ServerUrl;

/// Every option that has a variable, with what counts.
///
/// It is shown as a file of variables, with where each is from; what holds a password does not show it.
#[derive(Debug, Clone, Default)]
pub struct Effective(Vec<Line>);

#[derive(Debug, Clone)]
struct Line {
    variable: String,
    value: Option<String>,
    from: String,
}

impl Effective {
    pub(super) fn new(command: &Command, matches: &ArgMatches) -> Self {
        let lines = command.get_arguments().filter_map(|arg| {
            let variable = arg.get_env()?.to_string_lossy().into_owned();
            let id = arg.get_id().as_str();
            let from = match matches.value_source(id) {
                Some(ValueSource::CommandLine) => format!("--{}", arg.get_long().unwrap_or(id)),
                Some(ValueSource::EnvVariable) => "environment".to_owned(),
                _ => "default".to_owned(),
            };
            Some(Line {
                variable,
                value: value(arg, matches),
                from,
            })
        });
        Self(lines.collect())
    }

    /// What came out for an option that was not set.
    pub(super) fn computed(&mut self, variable: &str, value: impl fmt::Display, from: &str) {
        let unset = |line: &&mut Line| line.variable == variable && line.value.is_none();
        if let Some(line) = self.0.iter_mut().find(unset) {
            line.value = Some(value.to_string());
            line.from = from.to_owned();
        }
    }
}

fn value(arg: &Arg, matches: &ArgMatches) -> Option<String> {
    let raw = matches.get_raw(arg.get_id().as_str())?;
    let is_address = arg.get_long() == Some("nats");
    let shown = raw.map(|value| {
        let text = value.to_string_lossy();
        match text.parse::<ServerUrl>() {
            // a user and a password, or a token
            Ok(url) if is_address && text.contains('@') => url.masked(),
            _ => text.escape_debug().to_string(),
        }
    });
    Some(shown.collect::<Vec<_>>().join(","))
}

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.0 {
            let Line {
                variable,
                value,
                from,
            } = line;
            match value {
                Some(value) => writeln!(f, "{variable}={value}  # {from}")?,
                None => writeln!(f, "# {variable} is not set")?,
            }
        }
        Ok(())
    }
}
