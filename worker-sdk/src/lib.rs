//! Write a Gatebus worker: business logic for long-lived connections.
//!
//! Gateways keep the connections of your clients, WebSockets for example. Workers run your code.
//! Between them is NATS and nothing else, so both can be started, stopped and multiplied on their
//! own, while clients stay connected.
//!
//! # Hello, world
//!
//! ```
//! use worker_sdk::{Client, Events, HandlerResult, Message, Worker};
//!
//! struct Echo;
//!
//! impl Events for Echo {
//!     type Session = ();
//!
//!     async fn on_message(&self, client: &mut Client<()>, message: Message) -> HandlerResult {
//!         client.send(message)?;
//!         Ok(())
//!     }
//! }
//!
//! // Your `main`, with `#[tokio::main]`.
//! async fn run() -> Result<(), worker_sdk::Error> {
//!     Worker::from_env("echo")?.run(Echo).await
//! }
//!
//! // Your test: no server is needed.
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let mut app = worker_sdk::testing::Harness::new(Echo);
//! let alice = app.connect().await;
//! app.message(alice, "hello, world").await;
//! assert_eq!(app.received(alice), ["hello, world"]);
//! # }
//! ```
//!
//! `"echo"` is the *service*: gateways send the events of a listener to the service that it names.
//! All workers of a service share its events. To have more of them, start the program again.
//!
//! # Events
//!
//! [`Events`] is what you write. A client goes through
//! [`on_connect`](Events::on_connect),
//! [`on_websocket_connect`](Events::on_websocket_connect) with its [`Handshake`], any number of
//! [`on_message`](Events::on_message) with a [`Message`], and [`on_close`](Events::on_close) with
//! what it was [`Closed`] by. Only `on_message` is required.
//!
//! - **Order.** One client's events are handled one after another, in the order in which they
//!   happened, whichever workers handle them. Different clients' events run at the same time.
//! - **Delivery.** At least once, for as long as the client's gateway lives. A worker that crashes
//!   or hangs costs time, not events: they come again, to another worker, with
//!   [`Client::attempt`] above 1. A worker does not handle an event twice that it knows to be
//!   handling or to have just handled.
//! - **Failure.** A handler that returns an error or panics has failed at that event. It is logged
//!   with the client's id and counted, what it sent before stays sent, and the next event comes.
//!   Changes of the session stay after an error and are undone after a panic. [`Retry`] asks for
//!   the event again.
//! - **Time.** A handler may take as long as it likes; the worker tells the gateway that it is at
//!   it. Do not block the thread: that holds up other clients, as in any async program.
//!
//! # Sessions
//!
//! [`Client::session`] is kept by the client's gateway and comes along with each event, so workers
//! hold no state of their own and any of them can take the next event. It is a type of yours:
//!
//! ```
//! # use worker_sdk::{testing::Harness, Client, Events, HandlerResult, Message};
//! #[derive(Default, serde::Serialize, serde::Deserialize)]
//! struct Visitor {
//!     name: Option<String>,
//! }
//!
//! struct Doorman;
//!
//! impl Events for Doorman {
//!     type Session = Visitor;
//!
//!     async fn on_message(&self, client: &mut Client<Visitor>, message: Message) -> HandlerResult {
//!         match &client.session.name {
//!             Some(name) => client.send(format!("welcome back, {name}"))?,
//!             None => client.session.name = message.as_text().map(str::to_owned),
//!         }
//!         Ok(())
//!     }
//! }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! # let mut app = Harness::new(Doorman);
//! # let ann = app.connect().await;
//! # app.message(ann, "Ann").await;
//! # app.message(ann, "it is me").await;
//! # assert_eq!(app.received(ann), ["welcome back, Ann"]);
//! # }
//! ```
//!
//! An application that keeps a client's state in its own memory instead, a game for example, has its
//! gateways' listeners say `routing=sticky`: then a client's events come to the same worker for as
//! long as that is there, and to another, in order, when it is not.
//!
//! # Commands and targets
//!
//! For its own client a handler uses [`Client`]: `send`, `close`, `join`, … For everybody else
//! there is the [`Gateway`] handle, at hand as [`Client::gateway`], and as [`Gateway::from_env`]
//! in programs that are no worker. It names a [`Target`], one client, a uid, a group or all, and
//! every command works on every target:
//!
//! ```no_run
//! # async fn f(gateway: worker_sdk::Gateway, me: worker_sdk::ClientId) -> Result<(), worker_sdk::Error> {
//! gateway.group("lobby").except([me]).send("somebody came in")?;
//! gateway.uid("42").close()?;                        // sign out everywhere
//! gateway.group("lobby").join("game-7").await?;      // move the whole room
//! gateway.groups(["lobby", "game-7"]).send("hello")?; // twice to who is in both
//! let reached = gateway.all().send_confirmed("hello").await?.clients;
//! # Ok(()) }
//! ```
//!
//! [`Target::bind_uid_with`] gives a uid to one client alone: the newest, or the first.
//!
//! - **Order.** What a handler issues reaches a client in that order, whatever the targets: `join`,
//!   then a group send, then a direct send arrive so. The same holds from one handler to whatever
//!   comes after it. It does not hold between a handler and a task that it spawned and does not
//!   wait for.
//! - **Delivery.** `Ok` means "on its way". A message is lost if NATS or the gateway goes down
//!   with it, and when the client is gone. What must not be lost wants an answer from the client.
//! - **Waiting.** `join` and `bind_uid` are awaited: when they resolve, sends to that group or uid
//!   reach the client. Without an answer they fail with [`ErrorKind::Timeout`]; where doing it twice
//!   does no harm, return [`Retry`] then, and the event comes again. The others go into a bounded outbox and never wait; if NATS is away for
//!   so long that it fills, they fail with [`ErrorKind::Full`].
//!
//! # Queries
//!
//! [`Target::count`], [`is_online`](Target::is_online), [`clients`](Target::clients),
//! [`clients_with_sessions`](Target::clients_with_sessions), [`uids`](Target::uids),
//! [`groups`](Target::groups) and [`session`](Target::session) ask the gateways. The answer lists
//! the gateways that did not give one, so you know whether it is complete.
//!
//! [`Target::list`] reads clients one after the other, with what you choose to know of each and a
//! [`Filter`]: as many as there are, a page of each gateway in memory.
//! [`list_uids`](Target::list_uids) and [`list_groups`](Target::list_groups) do the same for names.
//! [`Gateway::totals`] asks nobody: gateways say in their beats how much they have.
//!
//! # Timers
//!
//! [`timer::every`] and [`timer::after`] run what no client's event brings about, until the worker
//! stops.
//!
//! # Starting and stopping
//!
//! [`Worker::from_env`] reads the environment, [`Worker::builder`] takes what you say. While NATS
//! is not there, a worker waits for it. [`Worker::run`] stops on SIGTERM and Ctrl-C,
//! [`Worker::run_until`] when you say so: it takes nothing new, finishes what it has, and runs
//! [`on_worker_stop`](Events::on_worker_stop). So workers can be replaced at any time without a
//! client noticing.
//! With `GATEBUS_ADMIN`, or [`WorkerBuilder::admin`], it tells probes and Prometheus how it is.
//!
//! # Errors and logs
//!
//! One [`Error`] with a [`kind`](Error::kind). Handlers return [`HandlerResult`], so `?` works on
//! any error. Logs go through `tracing`; the content of messages and sessions is never logged,
//! what *your* errors and panics say is.
//!
//! # Coming from GatewayWorker
//!
//! `Events.php` is [`Events`], `$_SESSION` is [`Client::session`], `Lib\Gateway` and GatewayClient
//! are [`Gateway`]. GatewayWorker's names are there too: search for `sendToUid`.

mod admin;
mod bind;
mod client;
mod close;
mod confirm;
mod connect;
mod context;
mod credentials;
mod desk;
mod error;
mod events;
mod filter;
mod gateway;
mod gatewayworker;
mod handshake;
mod health;
mod intake;
mod lease;
mod ledger;
mod link;
mod list;
mod message;
mod metrics;
mod name_list;
mod outbox;
mod pages;
mod presence;
mod query;
mod replies;
mod roster;
mod session;
mod settings;
mod signal;
mod tally;
mod target;
pub mod testing;
pub mod timer;
mod totals;
mod weather;
mod worker;

pub use wire::{ClientId, ConnId, GatewayId, IdError, WorkerId};

pub use self::{
    bind::{BindPolicy, Bound},
    client::Client,
    close::{Close, Closed, ClosedBy},
    confirm::Reached,
    error::{BoxError, Error, ErrorKind, HandlerResult, Retry},
    events::Events,
    filter::Filter,
    gateway::{Gateway, GatewayBuilder},
    gatewayworker::ByName,
    handshake::Handshake,
    list::{ClientEntry, ClientList, List, ListPage, Listing},
    message::Message,
    name_list::{NameEntry, NameList, NameListing},
    query::Count,
    target::Target,
    totals::{GatewayTotals, Totals},
    worker::{Worker, WorkerBuilder},
};
