//! The HTTP API: every command and query on every target, as any back end could call them.

mod batches;
mod commands;
mod connections;
mod document;
mod doors;
mod life;
mod lists;
mod mistakes;
mod queries;
mod schemathesis;
mod sessions;
mod strangers;

use gatebus_tests::{Client, Gateway};
use serde_json::Value;

/// A client with a uid and a group of its own, and the four paths that lead to it and nobody else.
struct Somebody {
    client: Client,
    name: String,
    id: String,
    targets: [String; 4],
}

impl Somebody {
    /// Enters over a gateway that has no other client.
    async fn enter(gateway: &Gateway, name: &str) -> Self {
        let mut client = Client::connect(gateway).await;
        let id = client.id().await;
        assert_eq!(
            client.ask(format!("bind {name}")).await,
            format!("bound {name}")
        );
        assert_eq!(
            client.ask(format!("join {name}")).await,
            format!("joined {name}")
        );
        let targets = [
            format!("/v1/client/{id}"),
            format!("/v1/uid/{name}"),
            format!("/v1/group/{name}"),
            "/v1/all".to_owned(),
        ];
        Self {
            client,
            name: name.to_owned(),
            id,
            targets,
        }
    }

    /// The session, as the worker has it.
    async fn session(&mut self) -> Value {
        serde_json::from_str(&self.client.ask("session").await).expect("JSON")
    }
}
