//! Targets: whom a call is for, in paths and in batches.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{AdditionalProperties, ObjectBuilder, OneOfBuilder, Type},
    },
};
use worker_sdk::{ClientId, Gateway};

use crate::failure::{Code, Failure};

/// What a client id looks like.
pub(crate) const CLIENT_ID_PATTERN: &str = "^[0-9a-f]{20}$";
/// Longest uid or group name, in bytes.
pub(crate) const LONGEST_NAME: usize = 1024;

/// The sorts of target, by the first word of their paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Client,
    Uid,
    Group,
    All,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Client, Self::Uid, Self::Group, Self::All];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Uid => "uid",
            Self::Group => "group",
            Self::All => "all",
        }
    }

    /// The kind of this word, if it needs a name.
    pub(crate) fn named(word: &str) -> Option<Self> {
        let kind = Self::ALL.into_iter().find(|kind| kind.word() == word);
        kind.filter(|kind| *kind != Self::All)
    }
}

/// A target as a caller names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    Client(ClientId),
    Uid(String),
    Group(String),
    All,
}

impl Target {
    /// The target of a kind that has a name.
    pub(crate) fn new(kind: Kind, name: &str) -> Result<Self, Failure> {
        Ok(match kind {
            Kind::Client => Self::Client(client_id(name)?),
            Kind::Uid => Self::Uid(checked(name)?.to_owned()),
            Kind::Group => Self::Group(checked(name)?.to_owned()),
            Kind::All => Self::All,
        })
    }

    /// `{"uid": "42"}`, `{"group": "lobby"}`, `{"client": "…"}` or `{"all": true}`.
    pub(crate) fn from_json(json: Value) -> Result<Self, Failure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Named {
            Client(String),
            Uid(String),
            Group(String),
            All(bool),
        }
        let wrong = |e: String| Failure::new(Code::InvalidBody, format!("`target`: {e}"));
        match serde_json::from_value(json).map_err(|e| wrong(e.to_string()))? {
            Named::Client(id) => Self::new(Kind::Client, &id),
            Named::Uid(uid) => Self::new(Kind::Uid, &uid),
            Named::Group(group) => Self::new(Kind::Group, &group),
            Named::All(true) => Ok(Self::All),
            Named::All(false) => Err(wrong("`all` can only be true".into())),
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Client(_) => Kind::Client,
            Self::Uid(_) => Kind::Uid,
            Self::Group(_) => Kind::Group,
            Self::All => Kind::All,
        }
    }

    /// The same for the SDK.
    pub(crate) fn at(&self, gateway: &Gateway) -> worker_sdk::Target {
        match self {
            Self::Client(id) => gateway.client(id),
            Self::Uid(uid) => gateway.uid(uid),
            Self::Group(group) => gateway.group(group),
            Self::All => gateway.all(),
        }
    }
}

/// A uid or group name that a caller wrote.
pub(crate) fn checked(name: &str) -> Result<&str, Failure> {
    match name.len() {
        1..=LONGEST_NAME => Ok(name),
        _ => Err(Code::InvalidName.into()),
    }
}

/// A client id that a caller wrote.
pub(crate) fn client_id(text: &str) -> Result<ClientId, Failure> {
    text.parse().map_err(|_| Code::InvalidClientId.into())
}

/// A uid or group name.
pub(crate) fn name_schema() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .min_length(Some(1))
        .max_length(Some(LONGEST_NAME))
}

pub(crate) fn client_id_schema() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(CLIENT_ID_PATTERN))
}

impl PartialSchema for Target {
    fn schema() -> RefOr<Schema> {
        let one = |kind: Kind, named: ObjectBuilder| {
            ObjectBuilder::new()
                .property(kind.word(), named)
                .required(kind.word())
                .additional_properties(Some(AdditionalProperties::FreeForm(false)))
        };
        let all = ObjectBuilder::new()
            .schema_type(Type::Boolean)
            .enum_values(Some([true]));
        let each = OneOfBuilder::new()
            .item(one(Kind::Client, client_id_schema()))
            .item(one(Kind::Uid, name_schema()))
            .item(one(Kind::Group, name_schema()))
            .item(one(Kind::All, all))
            .description(Some("whom a call is for"));
        Schema::OneOf(each.build()).into()
    }
}

impl ToSchema for Target {
    fn name() -> Cow<'static, str> {
        "Target".into()
    }
}
