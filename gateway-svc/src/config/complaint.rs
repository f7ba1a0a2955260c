//! The complaints about bad options: a line for each, by the names of flag and variable, and no password.

use std::{error::Error, ffi::OsString};

use clap::{
    Command, CommandFactory,
    builder::ValueParser,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::{Options, Problems};

/// What clap has to say of the gateway's own options: `first`, and what else it finds when that one
/// is let through.
pub(super) fn complaints(mut command: Command, args: &[OsString], first: clap::Error) -> Problems {
    let mut found = Vec::new();
    let mut error = first;
    let mut let_through = Vec::new();
    loop {
        found.push(complaint_of(Options::command(), &error));
        let Some(id) = unreadable(&command, &error) else {
            break;
        };
        command = command.mut_arg(&id, |arg| arg.value_parser(ValueParser::os_string()));
        let_through.push(id);
        match command.clone().try_get_matches_from(args) {
            Err(e) if !unreadable(&command, &e).is_some_and(|id| let_through.contains(&id)) => {
                error = e;
            }
            _ => break,
        }
    }
    found.into_iter().collect()
}

/// The option of which a value was given that is none.
fn unreadable(command: &Command, error: &clap::Error) -> Option<String> {
    let (ErrorKind::ValueValidation | ErrorKind::InvalidValue) = error.kind() else {
        return None;
    };
    let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let mut command = command.clone();
    command.build();
    let mut arguments = command.get_arguments();
    let found = arguments.find(|arg| arg.to_string() == *argument);
    found.map(|arg| arg.get_id().to_string())
}

/// What clap has to say of a command's options.
pub(crate) fn complaint_of(mut command: Command, error: &clap::Error) -> String {
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
        ErrorKind::ValueValidation
            if ["--nats ", "--url "]
                .iter()
                .any(|a| argument.starts_with(a)) =>
        {
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
