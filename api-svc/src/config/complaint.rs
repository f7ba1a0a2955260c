//! The complaint about a bad option: one line, by the names of flag and variable, and no password.
//!
//! The addresses of NATS may hold one, so clap takes whatever stands there and never quotes it.

use clap::{
    CommandFactory,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::Options;

/// What clap has to say.
pub(super) fn complaint(error: &clap::Error) -> String {
    // it may be the second of two addresses, with a space before it
    if error.kind() == ErrorKind::UnknownArgument
        && let Some(ContextValue::String(argument)) = error.get(ContextKind::InvalidArg)
        && argument.contains('@')
    {
        return "an argument that is not known, and not shown because of the @ in it".into();
    }
    let text = error.to_string();
    let mut lines = text.lines();
    let mut line = lines.next().unwrap_or_default().replace("error: ", "");
    // whoever set a variable looks for its name, not for the flag's
    let mut command = Options::command();
    command.build();
    for arg in command.get_arguments() {
        if let Some(env) = arg.get_env() {
            line = line.replace(&format!("'{arg}'"), &format!("{arg} ({})", env.display()));
        }
    }
    match lines.find_map(|line| line.trim().strip_prefix("tip: ")) {
        Some(tip) => format!("{line}; {tip}"),
        None => line,
    }
}
