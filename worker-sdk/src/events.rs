//! What a worker does: the hooks that you write.

use std::future::{Future, ready};

use serde::{Serialize, de::DeserializeOwned};

use crate::{Client, Closed, Gateway, GatewayId, HandlerResult, Handshake, Message};

/// The business logic of a service. Only [`on_message`](Self::on_message) is required.
///
/// One value of this type serves all clients, so what it holds is shared: use a mutex, a channel or
/// a database handle. What belongs to one client goes into its [`Session`](Self::Session), which
/// follows the client to whichever worker handles its next event.
///
/// Events of one client are handled one after another, in order, never two at once. Events of
/// different clients are handled at the same time, up to the worker's `concurrency`.
///
/// Delivery is at least once: after a crash, or when an ack is lost, an event comes again with
/// [`Client::attempt`] above 1. Hooks are written as plain `async fn`.
///
/// ```
/// use worker_sdk::{Client, Events, HandlerResult, Message};
///
/// #[derive(Default, serde::Serialize, serde::Deserialize)]
/// struct Seen {
///     messages: u64,
/// }
///
/// struct Counter;
///
/// impl Events for Counter {
///     type Session = Seen;
///
///     async fn on_message(&self, client: &mut Client<Seen>, _: Message) -> HandlerResult {
///         client.session.messages += 1;
///         client.send(format!("that was your message number {}", client.session.messages))?;
///         Ok(())
///     }
/// }
/// ```
pub trait Events: Send + Sync + 'static {
    /// What is kept for each client, at its gateway, for as long as it is connected.
    ///
    /// - `()` for nothing: then sessions cost nothing at all.
    /// - A struct of yours: its fields are the keys. A client that has no session yet starts with
    ///   `Default`, and so does each key that it lacks.
    /// - A map with text keys, for example `BTreeMap<String, serde_json::Value>`: any keys.
    ///
    /// At most 64 KiB encoded. Only keys that changed travel back, so two writers of different
    /// keys do not undo each other.
    type Session: Serialize + DeserializeOwned + Default + Send;

    /// Before the worker takes its first event. An error ends the worker: it could not start.
    #[doc(alias = "onWorkerStart")]
    fn on_worker_start(&self, gateway: &Gateway) -> impl Future<Output = HandlerResult> + Send {
        let _ = gateway;
        ready(Ok(()))
    }

    /// A client is there. Of a WebSocket client [`on_websocket_connect`](Self::on_websocket_connect)
    /// comes next, in the same batch: what is sent to the client here goes out after both, unless
    /// one of them awaits something.
    #[doc(alias = "onConnect")]
    fn on_connect(
        &self,
        client: &mut Client<Self::Session>,
    ) -> impl Future<Output = HandlerResult> + Send {
        let _ = client;
        ready(Ok(()))
    }

    /// A WebSocket client shook hands: path, query, headers, cookies.
    #[doc(alias = "onWebSocketConnect")]
    fn on_websocket_connect(
        &self,
        client: &mut Client<Self::Session>,
        handshake: &Handshake,
    ) -> impl Future<Output = HandlerResult> + Send {
        let _ = (client, handshake);
        ready(Ok(()))
    }

    /// A client said something.
    #[doc(alias = "onMessage")]
    fn on_message(
        &self,
        client: &mut Client<Self::Session>,
        message: Message,
    ) -> impl Future<Output = HandlerResult> + Send;

    /// A client is gone. Its last session and uid are on `client`, its groups in `close`; commands
    /// for it reach nobody any more, and changes of the session are lost.
    #[doc(alias = "onClose")]
    fn on_close(
        &self,
        client: &mut Client<Self::Session>,
        close: &Closed,
    ) -> impl Future<Output = HandlerResult> + Send {
        let _ = (client, close);
        ready(Ok(()))
    }

    /// After the worker's last event, while commands still go out.
    #[doc(alias = "onWorkerStop")]
    fn on_worker_stop(&self, gateway: &Gateway) -> impl Future<Output = HandlerResult> + Send {
        let _ = gateway;
        ready(Ok(()))
    }

    /// A gateway vanished without a goodbye: nothing was heard of it for 3 seconds.
    ///
    /// Its clients are gone, and no `on_close` comes for them. Every worker of the service is told,
    /// each once, so what you clean up here should bear being cleaned up twice. For this a worker
    /// listens to the gateways' beats, one small message a second for each gateway process.
    fn on_gateway_lost(&self, gateway: GatewayId) -> impl Future<Output = HandlerResult> + Send {
        let _ = gateway;
        ready(Ok(()))
    }
}
