//! The commands.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{ObjectBuilder, OneOfBuilder, Type},
    },
};

use worker_sdk::BindPolicy;

use crate::{
    call::{Answer, Call, Command, To},
    failure::{Code, Failure},
    message::Message,
    number::{whole, whole_u16},
    queries::ids,
    session::Session,
    target::{Kind, checked},
};

/// All of them.
pub(crate) fn all() -> Vec<Call> {
    vec![
        Call::command::<Send>(),
        Call::command::<SendConfirmed>(),
        Call::command::<Close>(),
        Call::command::<Destroy>(),
        Call::command::<BindUid>(),
        Call::command::<UnbindUid>(),
        Call::command::<Join>(),
        Call::command::<Leave>(),
        Call::command::<SetSession>(),
        Call::command::<UpdateSession>(),
        Call::command::<SetSessionIf>(),
        Call::command::<UpdateSessionIf>(),
    ]
}

/// The command is on its way.
#[derive(Serialize, ToSchema)]
struct Accepted {}

impl Answer for Accepted {
    const STATUS: u16 = 202;
    const ABOUT: &'static str = "it is on its way; clients that are not there are no error";
}

/// To how many clients it was done.
#[derive(Serialize, ToSchema)]
struct Reached {
    /// How many clients
    clients: u64,
}

impl Answer for Reached {
    const STATUS: u16 = 200;
    const ABOUT: &'static str = "it was done";
}

/// One client that is not there is an error; of a uid, a group or all it is a number.
fn reached(kind: Kind, clients: u64) -> Result<Reached, Failure> {
    match (kind, clients) {
        (Kind::Client, 0) => Err(Code::NoClient.into()),
        _ => Ok(Reached { clients }),
    }
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Send(Message);

impl PartialSchema for Send {
    fn schema() -> RefOr<Schema> {
        Message::schema()
    }
}

impl ToSchema for Send {
    fn name() -> Cow<'static, str> {
        "Send".into()
    }
}

impl Command for Send {
    const NAME: &'static str = "send";
    const ABOUT: &'static str = "Sends a message to them";
    type Answer = Accepted;

    async fn run(self, to: To) -> Result<Accepted, Failure> {
        to.target.send(self.0)?;
        Ok(Accepted {})
    }
}

/// Into how many mailboxes a message was put.
#[derive(Serialize, ToSchema)]
struct Delivered {
    /// How many clients
    clients: u64,
    /// Gateways that did not answer in time, whose clients may have got it; empty if nobody is missing
    missing: Vec<String>,
}

impl Answer for Delivered {
    const STATUS: u16 = 200;
    const ABOUT: &'static str = "it was put into their mailboxes";
}

#[derive(Deserialize)]
#[serde(transparent)]
struct SendConfirmed(Message);

impl PartialSchema for SendConfirmed {
    fn schema() -> RefOr<Schema> {
        Message::schema()
    }
}

impl ToSchema for SendConfirmed {
    fn name() -> Cow<'static, str> {
        "SendConfirmed".into()
    }
}

impl Command for SendConfirmed {
    const NAME: &'static str = "send_confirmed";
    const ABOUT: &'static str = "Sends a message to them, and says into how many mailboxes it was put; every gateway has to answer, so `send` is cheaper";
    type Answer = Delivered;

    async fn run(self, to: To) -> Result<Delivered, Failure> {
        let sent = to.target.send_confirmed(self.0).await?;
        if sent.missing.is_empty() {
            reached(to.whom.kind(), sent.clients)?;
        }
        Ok(Delivered {
            clients: sent.clients,
            missing: ids(&sent.missing),
        })
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Close {
    /// 1000, or 3000 to 4999
    #[serde(default = "normal", deserialize_with = "whole_u16")]
    #[schema(schema_with = close_code)]
    code: u16,
    /// At most 123 bytes
    #[serde(default)]
    #[schema(max_length = 123)]
    reason: String,
    /// Sent before the end
    #[serde(default)]
    message: Option<Message>,
}

/// Longest reason, in bytes.
const LONGEST_REASON: usize = 123;

fn normal() -> u16 {
    worker_sdk::Close::default().code
}

fn close_code() -> Schema {
    let normal = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .enum_values(Some([normal()]));
    let own = ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(3000))
        .maximum(Some(4999));
    Schema::OneOf(OneOfBuilder::new().item(normal).item(own).build())
}

impl Command for Close {
    const NAME: &'static str = "close";
    const ABOUT: &'static str =
        "Closes the connections, after everything that is pending and after the last message";
    type Answer = Accepted;

    fn check(&self) -> Result<(), Failure> {
        let allowed = self.code == normal() || (3000..=4999).contains(&self.code);
        match allowed && self.reason.len() <= LONGEST_REASON {
            true => Ok(()),
            false => Err(Code::InvalidClose.into()),
        }
    }

    async fn run(self, to: To) -> Result<Accepted, Failure> {
        let mut close = worker_sdk::Close::new(self.code, self.reason);
        close.message = self.message.map(Into::into);
        to.target.close_with(close)?;
        Ok(Accepted {})
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Destroy {}

impl Command for Destroy {
    const NAME: &'static str = "destroy";
    const ABOUT: &'static str = "Drops the connections at once, with everything that is pending";
    type Answer = Accepted;

    async fn run(self, to: To) -> Result<Accepted, Failure> {
        to.target.destroy()?;
        Ok(Accepted {})
    }
}

/// What becomes of clients that have the uid already.
#[derive(Clone, Copy, PartialEq, Eq, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Policy {
    /// They keep it.
    #[default]
    Multi,
    /// They are closed with code 4009: the newest stays.
    KickOld,
    /// They keep it, and this one does not get it: the first stays.
    RejectNew,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct BindUid {
    /// The uid
    #[schema(min_length = 1, max_length = 1024)]
    uid: String,
    /// What becomes of clients that have the uid already; all but `multi` are for one client only
    #[serde(default)]
    #[schema(inline)]
    policy: Policy,
}

/// Which clients have the uid.
#[derive(Serialize, ToSchema)]
struct Bound {
    /// How many clients were bound
    clients: u64,
    /// How many others had to give way
    kicked: u64,
}

impl Answer for Bound {
    const STATUS: u16 = 200;
    const ABOUT: &'static str = "they have the uid";
}

impl Command for BindUid {
    const NAME: &'static str = "bind_uid";
    const ABOUT: &'static str = "Makes them clients of this uid, and of no other; after the answer, what is sent to the uid reaches them";
    type Answer = Bound;

    fn check(&self) -> Result<(), Failure> {
        checked(&self.uid).map(drop)
    }

    async fn run(self, to: To) -> Result<Bound, Failure> {
        let policy = match self.policy {
            Policy::Multi => {
                let Reached { clients } =
                    reached(to.whom.kind(), to.target.bind_uid(self.uid).await?)?;
                return Ok(Bound { clients, kicked: 0 });
            }
            Policy::KickOld => BindPolicy::KickOld,
            Policy::RejectNew => BindPolicy::RejectNew,
        };
        match to.target.bind_uid_with(self.uid, policy).await? {
            worker_sdk::Bound::Yes { kicked } => Ok(Bound { clients: 1, kicked }),
            worker_sdk::Bound::Gone => Err(Code::NoClient.into()),
            worker_sdk::Bound::Rejected | worker_sdk::Bound::Overtaken => {
                Err(Code::UidTaken.into())
            }
        }
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UnbindUid {}

impl Command for UnbindUid {
    const NAME: &'static str = "unbind_uid";
    const ABOUT: &'static str = "Makes them clients of no uid";
    type Answer = Accepted;

    async fn run(self, to: To) -> Result<Accepted, Failure> {
        to.target.unbind_uid()?;
        Ok(Accepted {})
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Join {
    /// The group
    #[schema(min_length = 1, max_length = 1024)]
    group: String,
}

impl Command for Join {
    const NAME: &'static str = "join";
    const ABOUT: &'static str =
        "Puts them into a group; after the answer, what is sent to the group reaches them";
    type Answer = Reached;

    fn check(&self) -> Result<(), Failure> {
        checked(&self.group).map(drop)
    }

    async fn run(self, to: To) -> Result<Reached, Failure> {
        reached(to.whom.kind(), to.target.join(self.group).await?)
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct Leave {
    /// The group
    #[schema(min_length = 1, max_length = 1024)]
    group: String,
}

impl Command for Leave {
    const NAME: &'static str = "leave";
    const ABOUT: &'static str = "Takes them out of a group";
    type Answer = Accepted;

    fn check(&self) -> Result<(), Failure> {
        checked(&self.group).map(drop)
    }

    async fn run(self, to: To) -> Result<Accepted, Failure> {
        to.target.leave(self.group)?;
        Ok(Accepted {})
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SetSession {
    session: Session,
}

impl Command for SetSession {
    const NAME: &'static str = "set_session";
    const ABOUT: &'static str = "Puts this session in the place of theirs";
    type Answer = Accepted;

    fn check(&self) -> Result<(), Failure> {
        self.session.check()
    }

    async fn run(self, to: To) -> Result<Accepted, Failure> {
        to.target.set_session(&self.session)?;
        Ok(Accepted {})
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UpdateSession {
    session: Session,
}

impl Command for UpdateSession {
    const NAME: &'static str = "update_session";
    const ABOUT: &'static str =
        "Merges this into their sessions, object by object; other keys stay as they are";
    type Answer = Accepted;

    fn check(&self) -> Result<(), Failure> {
        self.session.check()
    }

    async fn run(self, to: To) -> Result<Accepted, Failure> {
        to.target.update_session(&self.session)?;
        Ok(Accepted {})
    }
}

/// The version that a session has now.
#[derive(Serialize, ToSchema)]
struct Changed {
    /// Goes up by one with every change
    version: u64,
}

impl Answer for Changed {
    const STATUS: u16 = 200;
    const ABOUT: &'static str = "the session was changed";
}

/// A gone client is an error.
fn changed(version: Option<u64>) -> Result<Changed, Failure> {
    let version = version.ok_or(Code::NoClient)?;
    Ok(Changed { version })
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SetSessionIf {
    /// The version that the session must have, or nothing is done
    #[serde(deserialize_with = "whole")]
    #[schema(maximum = 9_007_199_254_740_991_u64)]
    version: u64,
    session: Session,
}

impl Command for SetSessionIf {
    const NAME: &'static str = "set_session_if";
    const ABOUT: &'static str =
        "Puts this session in the place of the client's, if that still has this version";
    const KINDS: &'static [Kind] = &[Kind::Client];
    type Answer = Changed;

    fn check(&self) -> Result<(), Failure> {
        self.session.check()
    }

    async fn run(self, to: To) -> Result<Changed, Failure> {
        changed(
            to.target
                .set_session_if(self.version, &self.session)
                .await?,
        )
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UpdateSessionIf {
    /// The version that the session must have, or nothing is done
    #[serde(deserialize_with = "whole")]
    #[schema(maximum = 9_007_199_254_740_991_u64)]
    version: u64,
    session: Session,
}

impl Command for UpdateSessionIf {
    const NAME: &'static str = "update_session_if";
    const ABOUT: &'static str =
        "Merges this into the client's session, object by object, if that still has this version";
    const KINDS: &'static [Kind] = &[Kind::Client];
    type Answer = Changed;

    fn check(&self) -> Result<(), Failure> {
        self.session.check()
    }

    async fn run(self, to: To) -> Result<Changed, Failure> {
        changed(
            to.target
                .update_session_if(self.version, &self.session)
                .await?,
        )
    }
}
