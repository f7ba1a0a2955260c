//! The lists: clients, uids and groups, in pages. Nothing is kept between two pages.

use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::{
    ToSchema,
    openapi::{
        path::{Parameter, ParameterBuilder, ParameterIn},
        schema::{ObjectBuilder, Type},
    },
};
use worker_sdk::{ClientId, Error, Filter, NameEntry, NameList};

use crate::{
    call::{Answer, Query, To},
    failure::{Code, Failure},
    parameters::Parameters,
    queries::ids,
    session::Session,
    target::{checked, client_id_schema, name_schema},
};

/// The most entries of a page.
const LARGEST_PAGE: u32 = 1000;
/// The entries of a page if nobody says.
const PAGE: u32 = 100;

fn parameter(name: &str, about: &str, schema: ObjectBuilder) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Query)
        .description(Some(about))
        .schema(Some(schema))
        .build()
}

fn limit_and_cursor(cursor: ObjectBuilder) -> [Parameter; 2] {
    let limit = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(1))
        .maximum(Some(LARGEST_PAGE))
        .default(Some(PAGE.into()));
    [
        parameter("limit", "The most entries of a page", limit),
        parameter("cursor", "The `next` of the page before", cursor),
    ]
}

fn limit(given: &mut Parameters) -> Result<u32, Failure> {
    let Some(text) = given.take("limit")? else {
        return Ok(PAGE);
    };
    let limit = text.parse().ok();
    let limit = limit.filter(|n| (1..=LARGEST_PAGE).contains(n));
    limit.ok_or_else(|| {
        let says = format!("`limit` is a number from 1 to {LARGEST_PAGE}");
        Failure::new(Code::BadQuery, says)
    })
}

/// Who they are.
pub(crate) struct Clients {
    limit: u32,
    after: Option<ClientId>,
    fields: Fields,
    filter: Filter,
}

/// What is shown of each client beside its id.
#[derive(Debug, Clone, Copy, Default)]
struct Fields {
    uid: bool,
    session: bool,
    groups: bool,
    remote: bool,
}

impl Fields {
    const NAMES: &'static str = "uid|session|groups|remote";

    fn parse(text: &str) -> Result<Self, Failure> {
        let mut fields = Self::default();
        for field in text.split(',').filter(|field| !field.is_empty()) {
            match field {
                "uid" => fields.uid = true,
                "session" => fields.session = true,
                "groups" => fields.groups = true,
                "remote" => fields.remote = true,
                other => {
                    let says = format!("`fields`: one of {}, not `{other}`", Self::NAMES);
                    return Err(Failure::new(Code::BadQuery, says));
                }
            }
        }
        Ok(fields)
    }
}

/// A page of clients, in the order of their ids.
#[derive(Serialize, ToSchema)]
pub(crate) struct Page {
    clients: Vec<Client>,
    /// Clients of this page that cannot be shown, because their session does not fit a message of the NATS server; empty if there is none, or if the session is not asked for
    unfit: Vec<String>,
    /// The `cursor` of the next page; null on the last. A page may have fewer clients than were
    /// asked for, or none, and not be the last
    #[schema(required)]
    next: Option<String>,
    /// Gateways that did not answer in time, whose clients are not in the list; empty if nobody is missing
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
    /// Counts the changes of its session, if that was asked for
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = u64, required = false)]
    version: Option<u64>,
    /// Its groups, if asked for
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<String>, required = false)]
    groups: Option<Vec<String>>,
    /// Its address, if asked for
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    remote: Option<String>,
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
        let names = Fields::NAMES;
        let fields = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(format!("^(?:(?:{names})(?:,(?:{names}))*)?$")));
        let bound = ObjectBuilder::new().schema_type(Type::Boolean);
        let mut all = limit_and_cursor(client_id_schema()).to_vec();
        all.extend([
            parameter(
                "fields",
                "What is shown of each client beside its id, separated by commas: `uid`, `session`, `groups`, `remote`",
                fields,
            ),
            parameter("in_group", "Only those that are in this group too", name_schema()),
            parameter("bound", "Only those that have a uid, or that have none", bound),
        ]);
        all
    }

    fn read(given: &mut Parameters) -> Result<Self, Failure> {
        let limit = limit(given)?;
        let after = given.take("cursor")?.map(|text| {
            let says = "`cursor` is the `next` of a page";
            text.parse().map_err(|_| Failure::new(Code::BadQuery, says))
        });
        let fields = Fields::parse(&given.take("fields")?.unwrap_or_default())?;
        let mut filter = Filter::new();
        if let Some(group) = given.take("in_group")? {
            filter = filter.groups([checked(&group)?]);
        }
        filter = match given.take("bound")?.as_deref() {
            None => filter,
            Some("true") => filter.with_uid(),
            Some("false") => filter.without_uid(),
            Some(_) => return Err(Failure::new(Code::BadQuery, "`bound` is true or false")),
        };
        Ok(Self {
            limit,
            after: after.transpose()?,
            fields,
            filter,
        })
    }

    async fn run(self, to: To) -> Result<Page, Failure> {
        let fields = self.fields;
        let mut list = to.target.list().filter(self.filter);
        if fields.uid {
            list = list.uid();
        }
        if fields.groups {
            list = list.groups();
        }
        if fields.remote {
            list = list.remote();
        }
        if !fields.session {
            let page = list.page(self.after, self.limit).await?;
            return Ok(shown(page, fields, |()| None));
        }
        let list = list.session::<Session>();
        let page = list.page(self.after, self.limit).await?;
        Ok(shown(page, fields, |session| Some(session.into_json())))
    }
}

fn shown<S>(
    page: worker_sdk::ListPage<S>,
    fields: Fields,
    session: impl Fn(S) -> Option<Map<String, Value>>,
) -> Page {
    let clients = page.clients.into_iter().map(|entry| Client {
        client: entry.id.to_string(),
        uid: fields.uid.then_some(entry.uid),
        session: session(entry.session),
        version: fields.session.then_some(entry.version),
        groups: fields.groups.then_some(entry.groups),
        remote: entry.remote,
    });
    Page {
        clients: clients.collect(),
        unfit: page.unfit.iter().map(ToString::to_string).collect(),
        next: page.next.map(|id| id.to_string()),
        missing: ids(&page.missing),
    }
}

/// How much of a list of names is wanted.
struct Part {
    limit: u32,
    after: Option<String>,
}

impl Part {
    fn read(given: &mut Parameters) -> Result<Self, Failure> {
        let limit = limit(given)?;
        let after = given.take("cursor")?;
        if let Some(name) = &after {
            checked(name)?;
        }
        Ok(Self { limit, after })
    }

    /// The names, the cursor of what comes after them, and who is missing.
    async fn of(
        &self,
        list: Result<NameList, Error>,
    ) -> Result<(Vec<NameEntry>, Option<String>, Vec<String>), Failure> {
        let mut list = list?;
        let (mut names, mut next) = (Vec::new(), None);
        while let Some(entry) = list.next().await {
            // An error is about one gateway, which is missing then.
            let Ok(entry) = entry else { continue };
            if names.len() == self.limit as usize {
                next = names.last().map(|last: &NameEntry| last.name.clone());
                break;
            }
            names.push(entry);
        }
        Ok((names, next, ids(list.missing())))
    }
}

/// The distinct uids.
pub(crate) struct Uids(Part);

/// A page of uids, in the order of their bytes.
#[derive(Serialize, ToSchema)]
pub(crate) struct UidPage {
    uids: Vec<UidEntry>,
    /// The `cursor` of the next page; null on the last
    #[schema(required)]
    next: Option<String>,
    /// Gateways that did not answer in time, whose clients are not counted; empty if nobody is missing
    missing: Vec<String>,
}

/// One uid.
#[derive(Serialize, ToSchema)]
struct UidEntry {
    uid: String,
    /// How many of the target's clients have it
    clients: u64,
}

impl Answer for UidPage {
    const STATUS: u16 = 200;
    const ABOUT: &'static str = "a page of them";
}

impl Query for Uids {
    const NAME: &'static str = "uids";
    const ABOUT: &'static str = "Which uids the clients have, and how many clients each, in pages";
    type Answer = UidPage;

    fn parameters() -> Vec<Parameter> {
        limit_and_cursor(name_schema()).to_vec()
    }

    fn read(given: &mut Parameters) -> Result<Self, Failure> {
        Part::read(given).map(Self)
    }

    async fn run(self, to: To) -> Result<UidPage, Failure> {
        let list = match &self.0.after {
            Some(uid) => to.target.list_uids_after(uid).await,
            None => to.target.list_uids().await,
        };
        let (names, next, missing) = self.0.of(list).await?;
        let uids = names
            .into_iter()
            .map(|NameEntry { name, clients, .. }| UidEntry { uid: name, clients });
        Ok(UidPage {
            uids: uids.collect(),
            next,
            missing,
        })
    }
}

/// The distinct groups.
pub(crate) struct Groups(Part);

/// A page of groups, in the order of their bytes.
#[derive(Serialize, ToSchema)]
pub(crate) struct GroupPage {
    groups: Vec<GroupEntry>,
    /// The `cursor` of the next page; null on the last
    #[schema(required)]
    next: Option<String>,
    /// Gateways that did not answer in time, whose clients are not counted; empty if nobody is missing
    missing: Vec<String>,
}

/// One group.
#[derive(Serialize, ToSchema)]
struct GroupEntry {
    group: String,
    /// How many of the target's clients are in it
    clients: u64,
}

impl Answer for GroupPage {
    const STATUS: u16 = 200;
    const ABOUT: &'static str = "a page of them";
}

impl Query for Groups {
    const NAME: &'static str = "groups";
    const ABOUT: &'static str = "Which groups the clients are in, and how many of them in each, in pages; of a single client: its groups";
    type Answer = GroupPage;

    fn parameters() -> Vec<Parameter> {
        limit_and_cursor(name_schema()).to_vec()
    }

    fn read(given: &mut Parameters) -> Result<Self, Failure> {
        Part::read(given).map(Self)
    }

    async fn run(self, to: To) -> Result<GroupPage, Failure> {
        let list = match &self.0.after {
            Some(group) => to.target.list_groups_after(group).await,
            None => to.target.list_groups().await,
        };
        let (names, next, missing) = self.0.of(list).await?;
        let groups = names
            .into_iter()
            .map(|NameEntry { name, clients, .. }| GroupEntry {
                group: name,
                clients,
            });
        Ok(GroupPage {
            groups: groups.collect(),
            next,
            missing,
        })
    }
}
