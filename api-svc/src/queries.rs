//! The queries.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::{
    ToSchema,
    openapi::{
        path::{Parameter, ParameterBuilder, ParameterIn},
        schema::{ObjectBuilder, Type},
    },
};
use worker_sdk::{ClientEntry, ClientId, GatewayId, Listing};

use crate::{
    call::{Answer, Call, Query, To},
    failure::{Code, Failure},
    parameters::Parameters,
    session::Session,
    target::client_id_schema,
};

/// All of them.
pub(crate) fn all() -> Vec<Call> {
    vec![
        Call::query::<Count>(),
        Call::query::<IsOnline>(),
        Call::query::<Clients>(),
    ]
}

/// The most clients of a page.
const LARGEST_PAGE: usize = 1000;
/// The clients of a page if nobody says.
const PAGE: usize = 100;

fn ids(gateways: &[GatewayId]) -> Vec<String> {
    gateways.iter().map(ToString::to_string).collect()
}

struct Count;

/// How many clients there are.
#[derive(Serialize, ToSchema)]
struct Counted {
    /// Those of the gateways that answered
    count: u64,
    /// Gateways that did not answer in time; empty if the number is complete
    missing: Vec<String>,
}

impl Answer for Counted {
    const STATUS: u16 = 200;
    const ABOUT: &'static str = "how many there are";
}

impl Query for Count {
    const NAME: &'static str = "count";
    const ABOUT: &'static str = "How many clients there are";
    type Answer = Counted;

    fn parameters() -> Vec<Parameter> {
        Vec::new()
    }

    fn read(_: &mut Parameters) -> Result<Self, Failure> {
        Ok(Self)
    }

    async fn run(self, to: To) -> Result<Counted, Failure> {
        let count = to.target.count().await?;
        Ok(Counted {
            count: count.total,
            missing: ids(&count.missing),
        })
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

    fn parameters() -> Vec<Parameter> {
        Vec::new()
    }

    fn read(_: &mut Parameters) -> Result<Self, Failure> {
        Ok(Self)
    }

    async fn run(self, to: To) -> Result<Online, Failure> {
        let online = to.target.is_online().await?;
        Ok(Online { online })
    }
}

struct Clients {
    limit: usize,
    after: Option<ClientId>,
    fields: Fields,
}

/// What is shown of each client beside its id.
#[derive(Debug, Clone, Copy, Default)]
struct Fields {
    uid: bool,
    session: bool,
}

impl Fields {
    fn parse(text: &str) -> Result<Self, Failure> {
        let mut fields = Self::default();
        for field in text.split(',').filter(|field| !field.is_empty()) {
            match field {
                "uid" => fields.uid = true,
                "session" => fields.session = true,
                other => {
                    let says = format!("`fields`: there is `uid` and `session`, not `{other}`");
                    return Err(Failure::new(Code::BadQuery, says));
                }
            }
        }
        Ok(fields)
    }
}

/// A page of clients, in the order of their ids.
#[derive(Serialize, ToSchema)]
struct Page {
    clients: Vec<Client>,
    /// The `cursor` of the next page; null on the last. A page may have fewer clients than were
    /// asked for and not be the last
    #[schema(required)]
    next: Option<String>,
    /// Gateways that did not answer in time; empty if nobody is missing
    missing: Vec<String>,
}

/// One client.
#[derive(Serialize, ToSchema)]
struct Client {
    /// Its id
    client: String,
    /// Its uid, or null where none is bound, if asked for
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, required = false)]
    uid: Option<Option<String>>,
    /// Its session, if asked for
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Session, required = false)]
    session: Option<Map<String, Value>>,
}

impl Answer for Page {
    const STATUS: u16 = 200;
    const ABOUT: &'static str = "a page of them";
}

impl Query for Clients {
    const NAME: &'static str = "clients";
    const ABOUT: &'static str = "Who they are, in pages";
    type Answer = Page;

    fn parameters() -> Vec<Parameter> {
        let parameter = |name: &str, about: &str, schema: ObjectBuilder| {
            ParameterBuilder::new()
                .name(name)
                .parameter_in(ParameterIn::Query)
                .description(Some(about))
                .schema(Some(schema))
                .build()
        };
        let limit = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .minimum(Some(1))
            .maximum(Some(LARGEST_PAGE as u64))
            .default(Some(PAGE.into()));
        let fields = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^(?:(?:uid|session)(?:,(?:uid|session))*)?$"));
        vec![
            parameter("limit", "The most clients of a page", limit),
            parameter(
                "cursor",
                "The `next` of the page before",
                client_id_schema(),
            ),
            parameter(
                "fields",
                "What is shown of each client beside its id: `uid`, `session`, or both with a comma",
                fields,
            ),
        ]
    }

    fn read(given: &mut Parameters) -> Result<Self, Failure> {
        let limit = match given.take("limit")? {
            None => PAGE,
            Some(text) => text
                .parse()
                .ok()
                .filter(|n| (1..=LARGEST_PAGE).contains(n))
                .ok_or_else(|| {
                    let says = format!("`limit` is a number from 1 to {LARGEST_PAGE}");
                    Failure::new(Code::BadQuery, says)
                })?,
        };
        let after = given.take("cursor")?.map(|text| {
            let says = "`cursor` is the `next` of a page";
            text.parse().map_err(|_| Failure::new(Code::BadQuery, says))
        });
        let fields = Fields::parse(&given.take("fields")?.unwrap_or_default())?;
        Ok(Self {
            limit,
            after: after.transpose()?,
            fields,
        })
    }

    async fn run(self, to: To) -> Result<Page, Failure> {
        if self.fields.session {
            let listing = to.target.clients_with_sessions::<Session>().await?;
            Ok(self.page(listing, |session| Some(session.into_json())))
        } else {
            Ok(self.page(to.target.clients().await?, |()| None))
        }
    }
}

impl Clients {
    fn page<S>(
        &self,
        listing: Listing<S>,
        session: impl Fn(S) -> Option<Map<String, Value>>,
    ) -> Page {
        let mut rest = listing
            .clients
            .into_iter()
            .filter(|client| self.after.is_none_or(|after| client.id > after));
        let clients: Vec<_> = rest
            .by_ref()
            .take(self.limit)
            .map(
                |ClientEntry {
                     id,
                     uid,
                     session: s,
                     ..
                 }| Client {
                    client: id.to_string(),
                    uid: self.fields.uid.then_some(uid),
                    session: session(s),
                },
            )
            .collect();
        let more = rest.next().is_some();
        let next = clients.last().filter(|_| more).map(|c| c.client.clone());
        Page {
            clients,
            next,
            missing: ids(&listing.missing),
        }
    }
}
