//! The complaint about a bad option: one line, by the names of flag and variable, and no password.

use std::error::Error;

use clap::{
    CommandFactory,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::Options;

/// What clap has to say of the gateway's own options.
pub(super) fn complaint(error: &clap::Error) -> String {
    complaint_of(Options::command(), error)
}

/// What clap has to say of a command's options.
pub(crate) fn complaint_of(mut command: clap::Command, error: &clap::Error) -> String {
    let argument = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) => argument.as_str(),
        _ => "",
    };
    let text = error.to_string();
    let mut line = text
        .lines()
        .next()
        .unwrap_or_default()
        .trim_start_matches("error: ")
        .to_owned();
    match error.kind() {
        // an address may hold a password
        ErrorKind::ValueValidation if argument.starts_with("--nats ") => {
            let why = error
                .source()
                .map_or_else(String::new, |e| format!(": {e}"));
            line = format!("invalid value for '{argument}'{why}");
        }
        // so may what comes after a space between two addresses
        ErrorKind::UnknownArgument if argument.contains('@') => {
            return "an argument that is not known, and not shown because of the @ in it".into();
        }
        // the names stand in lines of their own
        ErrorKind::MissingRequiredArgument => {
            if let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg) {
                line = format!("{line} {}", missing.join(", "));
            }
        }
        ErrorKind::MissingSubcommand => {
            if let Some(ContextValue::Strings(known)) = error.get(ContextKind::ValidSubcommand) {
                line = format!("a command is needed: {}", known.join(", "));
            }
        }
        _ => {}
    }
    // whoever set a variable looks for its name, not for the flag's
    command.build();
    for arg in command.get_arguments() {
        if let Some(env) = arg.get_env() {
            line = line.replace(&format!("'{arg}'"), &format!("{arg} ({})", env.display()));
        }
    }
    match text.lines().find_map(|l| l.trim().strip_prefix("tip: ")) {
        Some(tip) => format!("{line}; {tip}"),
        None => line,
    }
}
