//! Tests without a server: drive an [`Events`](crate::Events) implementation, and read what it sent.
//!
//! A [`Harness`] is a worker and a gateway in one, in memory. Events go through the same code as in
//! a worker; commands and queries go through the same encoding, and are applied at once, as a
//! gateway would: uids, groups, sessions, closing. Nothing is timed and nothing is concurrent, so
//! a test is as deterministic as the code under test.
//!
//! ```
//! use worker_sdk::{Client, Events, HandlerResult, Message, testing::Harness};
//!
//! struct Room;
//!
//! impl Events for Room {
//!     type Session = ();
//!
//!     async fn on_connect(&self, client: &mut Client<()>) -> HandlerResult {
//!         client.join("room").await?;
//!         Ok(())
//!     }
//!
//!     async fn on_message(&self, client: &mut Client<()>, message: Message) -> HandlerResult {
//!         client.gateway().group("room").except([client.id()]).send(message)?;
//!         client.send("sent")?;
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let mut app = Harness::new(Room);
//! let alice = app.connect().await;
//! let bob = app.connect().await;
//!
//! app.message(alice, "hello").await;
//!
//! assert_eq!(app.received(alice), ["sent"]);
//! assert_eq!(app.received(bob), ["hello"]);
//! # }
//! ```

mod harness;
mod hub;

pub(crate) use self::hub::Hub;
pub use self::{
    harness::{Handled, Harness},
    hub::Received,
};

#[cfg(test)]
mod tests;
