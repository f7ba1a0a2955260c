//! The worker of the bind example: it greets each connection, and that is all.
//!
//! Everything else comes from the application's own back end, past the worker.

mod visit;

use std::io::IsTerminal;

use serde_json::json;
use tracing_subscriber::EnvFilter;
use worker_sdk::{Client, Events, HandlerResult, Message, Worker};

use crate::visit::Visit;

struct Door;

impl Events for Door {
    type Session = Visit;

    /// Tells the page who it is, and a secret by which the back end knows that it is this page.
    async fn on_connect(&self, client: &mut Client<Visit>) -> HandlerResult {
        // The event may come twice, and the page may have heard the first already.
        let id = client.id().to_string();
        let secret = client.session.secret.get_or_insert_with(visit::secret);
        let init = json!({"type": "init", "client_id": id, "secret": secret});
        client.send(Message::json_of(&init)?)?;
        Ok(())
    }

    /// The page has nothing to say here: what it wants it asks of its own back end.
    async fn on_message(&self, _: &mut Client<Visit>, _: Message) -> HandlerResult {
        Ok(())
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_env("GATEBUS_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    Worker::from_env("bind")?.run(Door).await?;
    Ok(())
}
