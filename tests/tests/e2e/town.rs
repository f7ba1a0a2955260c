//! A town: two gateways of two shards each, and the same clients on both.

use gatebus_tests::{Client, Gateway, Journal, Nats, Worker};
use serde_json::Value;
use worker_sdk::{ClientId, Target};

/// Two gateways; on each one client that is meant by every target but `client`, and one that is in
/// no group and has no uid.
pub(crate) struct Town {
    pub(crate) nats: Nats,
    pub(crate) gateways: [Gateway; 2],
    pub(crate) journal: Journal,
    _worker: Worker,
    pub(crate) handle: worker_sdk::Gateway,
    /// Bound to `u`, in `g`: one on each gateway.
    pub(crate) meant: Vec<Client>,
    pub(crate) ids: Vec<ClientId>,
    /// Meant by `all` only.
    pub(crate) others: Vec<Client>,
}

/// The targets that mean both of `meant`.
pub(crate) const SHARED: [&str; 3] = ["uid", "group", "all"];

impl Town {
    pub(crate) async fn new() -> Self {
        let nats = Nats::start().await;
        let gateways = [Gateway::start(&nats).await, Gateway::start(&nats).await];
        let journal = Journal::new();
        let worker = Worker::start(&nats, &journal).await;
        let handle = nats.handle().await;
        let mut town = Self {
            nats,
            gateways,
            journal,
            _worker: worker,
            handle,
            meant: vec![],
            ids: vec![],
            others: vec![],
        };
        for n in 0..2 {
            let (client, id) = town.newcomer(n).await;
            town.meant.push(client);
            town.ids.push(id);
            let mut other = Client::connect(&town.gateways[n]).await;
            other.id().await;
            town.others.push(other);
        }
        town
    }

    /// A client on one of the gateways, bound to `u` and in `g`.
    pub(crate) async fn newcomer(&self, gateway: usize) -> (Client, ClientId) {
        let mut client = Client::connect(&self.gateways[gateway]).await;
        assert_eq!(client.ask("bind u").await, "bound u");
        assert_eq!(client.ask("join g").await, "joined g");
        let id = client.id().await.parse().expect("a client id");
        (client, id)
    }

    pub(crate) fn target(&self, name: &str) -> Target {
        match name {
            "uid" => self.handle.uid("u"),
            "group" => self.handle.group("g"),
            _ => self.handle.all(),
        }
    }

    /// Everybody who is meant by `client` and the shared targets, by turns: applies a command to
    /// the first alone, then to both by each of the other targets.
    pub(crate) fn each(&self) -> Vec<(Target, Vec<usize>)> {
        let one = self.handle.client(self.ids[0]);
        let mut each = vec![(one, vec![0])];
        each.extend(SHARED.map(|name| (self.target(name), vec![0, 1])));
        each
    }

    /// What all commands that were issued so far have come to is there when this is.
    pub(crate) async fn fence(&mut self) {
        for n in 0..2 {
            let ids = [self.ids[n]];
            self.handle.client(ids[0]).send("fence").expect("sent");
            self.meant[n].expect("fence").await;
        }
    }

    pub(crate) async fn session(&mut self, n: usize) -> Value {
        let text = self.meant[n].ask("session").await;
        serde_json::from_str(&text).expect("JSON")
    }
}
