//! The worker's events: each is reported when it is handled, whatever came of it.

use std::{collections::BTreeMap, time::Duration};

use gatebus_tests::Entry;
use serde_json::{Value, json};
use worker_sdk::{
    Client, Closed, ClosedBy, Events, Gateway, GatewayId, HandlerResult, Handshake, Message,
};

use crate::{gates::Gates, reports, turns::Turns, verb};

/// A session is any map, so that tests can put anything into it.
pub(crate) type Session = BTreeMap<String, Value>;

pub(crate) struct TestEvents {
    pub(crate) name: String,
    pub(crate) gates: Gates,
    on_connect: Option<Message>,
    delay: Duration,
    turns: Option<Turns>,
}

impl TestEvents {
    pub(crate) fn from_env(gates: Gates) -> Self {
        let var = |name| std::env::var(name).ok();
        let delay = var("WORKER_DELAY_MS").and_then(|ms| ms.parse().ok());
        Self {
            name: var("WORKER_NAME").unwrap_or_default(),
            gates,
            on_connect: var("WORKER_ON_CONNECT").map(Message::from),
            delay: Duration::from_millis(delay.unwrap_or(0)),
            turns: var("WORKER_EXCLUSIVE").map(|text| Turns::read(&text)),
        }
    }

    fn report(&self, kind: &str, details: Value) {
        reports::write(Entry {
            worker: self.name.clone(),
            kind: kind.to_owned(),
            details,
            ..Entry::default()
        });
    }
}

/// Reports a handled message also when its handler panics.
struct Handled(Option<Entry>);

impl Drop for Handled {
    fn drop(&mut self) {
        if let Some(entry) = self.0.take() {
            reports::write(entry);
        }
    }
}

impl Events for TestEvents {
    type Session = Session;

    async fn on_worker_start(&self, gateway: &Gateway) -> HandlerResult {
        if let Some(turns) = &self.turns {
            turns.begin(&self.name, gateway).await?;
        }
        self.report("start", Value::Null);
        Ok(())
    }

    async fn on_connect(&self, client: &mut Client<Session>) -> HandlerResult {
        reports::write(reports::of(&self.name, "connect", client));
        match &self.on_connect {
            Some(message) => verb::obey(self, client, message).await,
            None => Ok(()),
        }
    }

    async fn on_websocket_connect(
        &self,
        client: &mut Client<Session>,
        handshake: &Handshake,
    ) -> HandlerResult {
        let details = json!({
            "path": handshake.path,
            "query": handshake.query,
            "headers": handshake.headers,
            "cookies": handshake.cookies,
        });
        reports::write(Entry {
            details,
            ..reports::of(&self.name, "websocket", client)
        });
        Ok(())
    }

    async fn on_message(&self, client: &mut Client<Session>, message: Message) -> HandlerResult {
        let handled = Handled(Some(Entry {
            text: reports::text(&message),
            ..reports::of(&self.name, "message", client)
        }));
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        let result = verb::obey(self, client, &message).await;
        drop(handled);
        result
    }

    async fn on_close(&self, client: &mut Client<Session>, close: &Closed) -> HandlerResult {
        let by = match close.by {
            ClosedBy::Client => "client",
            ClosedBy::Gateway => "gateway",
            ClosedBy::Command => "command",
        };
        let details = json!({
            "by": by,
            "code": close.code,
            "reason": close.reason,
            "groups": close.groups,
        });
        reports::write(Entry {
            details,
            ..reports::of(&self.name, "close", client)
        });
        Ok(())
    }

    async fn on_worker_stop(&self, _: &Gateway) -> HandlerResult {
        self.report("stop", Value::Null);
        Ok(())
    }

    async fn on_gateway_lost(&self, gateway: GatewayId) -> HandlerResult {
        self.report("lost", json!(gateway.to_string()));
        Ok(())
    }
}
