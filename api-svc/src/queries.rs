//! The queries: how many, whether anybody, and of a single client its session. Lists stand in
//! `lists.rs`.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;
use worker_sdk::GatewayId;

use crate::{
    call::{Answer, Call, Query, To},
    failure::{Code, Failure},
    lists,
    parameters::Parameters,
    session::Session,
    target::Kind,
};

/// All of them.
pub(crate) fn all() -> Vec<Call> {
    vec![
        Call::query::<Count>(),
        Call::query::<UidCount>(),
        Call::query::<GroupCount>(),
        Call::query::<IsOnline>(),
        Call::query::<SessionOf>(),
        Call::query::<lists::Clients>(),
        Call::query::<lists::Uids>(),
        Call::query::<lists::Groups>(),
    ]
}

pub(crate) fn ids(gateways: &[GatewayId]) -> Vec<String> {
    gateways.iter().map(ToString::to_string).collect()
}

struct Count;

/// How many there are.
#[derive(Serialize, ToSchema)]
struct Counted {
    /// Those of the gateways that answered
    count: u64,
    /// Gateways that did not answer in time; empty if the number is complete
    missing: Vec<String>,
}

impl From<worker_sdk::Count> for Counted {
    fn from(count: worker_sdk::Count) -> Self {
        Self {
            count: count.total,
            missing: ids(&count.missing),
        }
    }
}

impl Answer for Counted {
    const STATUS: u16 = 200;
    const ABOUT: &'static str = "how many there are";
}

impl Query for Count {
    const NAME: &'static str = "count";
    const ABOUT: &'static str = "How many clients there are";
    type Answer = Counted;

    fn read(_: &mut Parameters) -> Result<Self, Failure> {
        Ok(Self)
    }

    async fn run(self, to: To) -> Result<Counted, Failure> {
        Ok(to.target.count().await?.into())
    }
}

struct UidCount;

impl Query for UidCount {
    const NAME: &'static str = "uid_count";
    const ABOUT: &'static str = "How many distinct uids the clients have";
    type Answer = Counted;

    fn read(_: &mut Parameters) -> Result<Self, Failure> {
        Ok(Self)
    }

    async fn run(self, to: To) -> Result<Counted, Failure> {
        Ok(to.target.list_uids().await?.count().await?.into())
    }
}

struct GroupCount;

impl Query for GroupCount {
    const NAME: &'static str = "group_count";
    const ABOUT: &'static str = "How many distinct groups the clients are in";
    type Answer = Counted;

    fn read(_: &mut Parameters) -> Result<Self, Failure> {
        Ok(Self)
    }

    async fn run(self, to: To) -> Result<Counted, Failure> {
        Ok(to.target.list_groups().await?.count().await?.into())
    }
}

struct IsOnline;

/// Whether there is a client.
#[derive(Serialize, ToSchema)]
struct Online {
    /// Whether there is at least one
    online: bool,
}

impl Answer for Online {
    const STATUS: u16 = 200;
    const ABOUT: &'static str = "whether there is a client; always certain";
}

impl Query for IsOnline {
    const NAME: &'static str = "is_online";
    const ABOUT: &'static str = "Whether there is a client at all; an error where that is not certain because a gateway is silent";
    type Answer = Online;

    fn read(_: &mut Parameters) -> Result<Self, Failure> {
        Ok(Self)
    }

    async fn run(self, to: To) -> Result<Online, Failure> {
        let online = to.target.is_online().await?;
        Ok(Online { online })
    }
}

struct SessionOf;

/// A client's session.
#[derive(Serialize, ToSchema)]
struct SessionAnswer {
    #[schema(value_type = Session)]
    session: Map<String, Value>,
    /// Counts its changes
    version: u64,
}

impl Answer for SessionAnswer {
    const STATUS: u16 = 200;
    const ABOUT: &'static str = "the session";
}

impl Query for SessionOf {
    const NAME: &'static str = "session";
    const ABOUT: &'static str = "The session of a client, with its version";
    const KINDS: &'static [Kind] = &[Kind::Client];
    type Answer = SessionAnswer;

    fn read(_: &mut Parameters) -> Result<Self, Failure> {
        Ok(Self)
    }

    async fn run(self, to: To) -> Result<SessionAnswer, Failure> {
        let page = to.target.list().session::<Session>().page(None, 1).await?;
        if !page.missing.is_empty() {
            return Err(Code::Timeout.into());
        }
        let client = page.clients.into_iter().next().ok_or(Code::NoClient)?;
        Ok(SessionAnswer {
            session: client.session.into_json(),
            version: client.version,
        })
    }
}
