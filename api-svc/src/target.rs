//! Targets: whom a call is for, in paths and in batches.

use serde::Deserialize;
use serde_json::Value;
use utoipa::openapi::{
    RefOr, Schema,
    schema::{AdditionalProperties, ArrayBuilder, ObjectBuilder, OneOfBuilder, Type},
};
use worker_sdk::{ClientId, Gateway};

use crate::failure::{Code, Failure};

/// What a client id looks like.
pub(crate) const CLIENT_ID_PATTERN: &str = "^[0-9a-f]{20}$";
/// Longest uid or group name, in bytes.
pub(crate) const LONGEST_NAME: usize = 1024;

/// The sorts of target, by the first word of their paths. Several of a sort have no path, but can be
/// named in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Client,
    Uid,
    Group,
    All,
    Clients,
    Uids,
    Groups,
}

impl Kind {
    /// Those that have paths.
    pub(crate) const ONE: [Self; 4] = [Self::Client, Self::Uid, Self::Group, Self::All];
    pub(crate) const ALL: [Self; 7] = [
        Self::Client,
        Self::Uid,
        Self::Group,
        Self::All,
        Self::Clients,
        Self::Uids,
        Self::Groups,
    ];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Uid => "uid",
            Self::Group => "group",
            Self::All => "all",
            Self::Clients => "clients",
            Self::Uids => "uids",
            Self::Groups => "groups",
        }
    }

    /// The kind of this word, if it needs a name.
    pub(crate) fn named(word: &str) -> Option<Self> {
        let kind = Self::ONE.into_iter().find(|kind| kind.word() == word);
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
    Clients(Vec<ClientId>),
    Uids(Vec<String>),
    Groups(Vec<String>),
}

impl Target {
    /// The target of a path; the name of all is nothing.
    pub(crate) fn new(kind: Kind, name: &str) -> Result<Self, Failure> {
        Ok(match kind {
            Kind::Client => Self::Client(client_id(name)?),
            Kind::Uid => Self::Uid(checked(name)?.to_owned()),
            Kind::Group => Self::Group(checked(name)?.to_owned()),
            Kind::All => Self::All,
            Kind::Clients | Kind::Uids | Kind::Groups => return Err(Code::NotFound.into()),
        })
    }

    /// `{"uid": "42"}`, `{"group": "lobby"}`, `{"client": "…"}` or `{"all": true}`; or several, as in
    /// `{"uids": ["42", "43"]}`.
    pub(crate) fn from_json(json: Value) -> Result<Self, Failure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum Named {
            Client(String),
            Uid(String),
            Group(String),
            All(bool),
            Clients(Vec<String>),
            Uids(Vec<String>),
            Groups(Vec<String>),
        }
        let wrong = |e: String| Failure::new(Code::InvalidBody, format!("`target`: {e}"));
        let too_many = |what| wrong(format!("at most {MOST_NAMES} {what}"));
        match serde_json::from_value(json).map_err(|e| wrong(e.to_string()))? {
            Named::Client(id) => Self::new(Kind::Client, &id),
            Named::Uid(uid) => Self::new(Kind::Uid, &uid),
            Named::Group(group) => Self::new(Kind::Group, &group),
            Named::All(true) => Ok(Self::All),
            Named::All(false) => Err(wrong("`all` can only be true".into())),
            Named::Clients(ids) if ids.len() > MOST_NAMES => Err(too_many("clients")),
            Named::Uids(uids) if uids.len() > MOST_NAMES => Err(too_many("uids")),
            Named::Groups(groups) if groups.len() > MOST_NAMES => Err(too_many("groups")),
            Named::Clients(ids) => {
                let ids = ids.iter().map(|id| client_id(id));
                Ok(Self::Clients(ids.collect::<Result<_, _>>()?))
            }
            Named::Uids(uids) => {
                uids.iter().try_for_each(|uid| checked(uid).map(drop))?;
                Ok(Self::Uids(uids))
            }
            Named::Groups(groups) => {
                groups
                    .iter()
                    .try_for_each(|group| checked(group).map(drop))?;
                Ok(Self::Groups(groups))
            }
        }
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Client(_) => Kind::Client,
            Self::Uid(_) => Kind::Uid,
            Self::Group(_) => Kind::Group,
            Self::All => Kind::All,
            Self::Clients(_) => Kind::Clients,
            Self::Uids(_) => Kind::Uids,
            Self::Groups(_) => Kind::Groups,
        }
    }

    /// The same for the SDK.
    pub(crate) fn at(&self, gateway: &Gateway) -> worker_sdk::Target {
        match self {
            Self::Client(id) => gateway.client(id),
            Self::Uid(uid) => gateway.uid(uid),
            Self::Group(group) => gateway.group(group),
            Self::All => gateway.all(),
            Self::Clients(ids) => gateway.clients(ids),
            Self::Uids(uids) => gateway.uids(uids),
            Self::Groups(groups) => gateway.groups(groups),
        }
    }
}

/// Most clients, uids or groups that one call names. Each uid and group is a message of its own.
pub(crate) const MOST_NAMES: usize = 1000;

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

/// A target in a batch, if it may be of these kinds.
pub(crate) fn schema(kinds: &[Kind]) -> RefOr<Schema> {
    let mut each = OneOfBuilder::new().description(Some("whom a call is for"));
    for kind in kinds {
        let several = |one: ObjectBuilder| {
            let list = ArrayBuilder::new().items(one);
            list.max_items(Some(MOST_NAMES)).into()
        };
        let named: RefOr<Schema> = match kind {
            Kind::Client => client_id_schema().into(),
            Kind::Uid | Kind::Group => name_schema().into(),
            Kind::All => ObjectBuilder::new()
                .schema_type(Type::Boolean)
                .enum_values(Some([true]))
                .into(),
            Kind::Clients => several(client_id_schema()),
            Kind::Uids | Kind::Groups => several(name_schema()),
        };
        let target = ObjectBuilder::new()
            .property(kind.word(), named)
            .required(kind.word())
            .additional_properties(Some(AdditionalProperties::FreeForm(false)));
        each = each.item(target);
    }
    Schema::OneOf(each.build()).into()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_call_names_at_most_so_many() {
        let names = |many: usize| vec!["a"; many];
        assert!(Target::from_json(json!({"uids": names(MOST_NAMES)})).is_ok());
        let refused = Target::from_json(json!({"groups": names(MOST_NAMES + 1)}));
        assert_eq!(refused.unwrap_err().code, Code::InvalidBody);
    }
}
