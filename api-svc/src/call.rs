//! Calls: every command and query, each in one entry.
//!
//! An entry is a type that implements [`Command`] or [`Query`]. Routes, batches, metrics and the
//! OpenAPI document are made from the list of entries and know of no single one.

use std::pin::Pin;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use utoipa::{
    ToSchema,
    openapi::{RefOr, Schema, path::Parameter},
};
use worker_sdk::Gateway;

use crate::{
    commands,
    failure::{Code, Failure},
    parameters::Parameters,
    queries, several,
    target::{Kind, MOST_NAMES, Target, client_id},
};

/// Whom it goes to, at work.
pub(crate) struct To {
    /// As the caller named it.
    pub(crate) whom: Target,
    /// The same for the SDK.
    pub(crate) target: worker_sdk::Target,
    pub(crate) gateway: Gateway,
}

/// What a call answers.
pub(crate) trait Answer: Serialize + ToSchema {
    /// The status of a call that went well.
    const STATUS: u16;
    /// What that means.
    const ABOUT: &'static str;
}

/// A command: its fields are the body.
pub(crate) trait Command: DeserializeOwned + ToSchema + Send + 'static {
    const NAME: &'static str;
    const ABOUT: &'static str;
    /// The kinds of target that it can be done to.
    const KINDS: &'static [Kind] = &Kind::ALL;
    type Answer: Answer;

    /// What is wrong with it that can be told without asking anybody.
    fn check(&self) -> Result<(), Failure> {
        Ok(())
    }

    fn run(self, to: To) -> impl Future<Output = Result<Self::Answer, Failure>> + Send;
}

/// A query: its fields are the query string.
pub(crate) trait Query: Sized + Send + 'static {
    const NAME: &'static str;
    const ABOUT: &'static str;
    /// The kinds of target that can be asked.
    const KINDS: &'static [Kind] = &Kind::ONE;
    type Answer: Answer;

    /// What may stand in the query string; nothing, if nobody says.
    fn parameters() -> Vec<Parameter> {
        Vec::new()
    }

    fn read(given: &mut Parameters) -> Result<Self, Failure>;

    fn run(self, to: To) -> impl Future<Output = Result<Self::Answer, Failure>> + Send;
}

/// An entry, whatever its type.
pub(crate) struct Call {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) kinds: &'static [Kind],
    pub(crate) input: Input,
    pub(crate) output: Output,
}

/// What a call takes.
pub(crate) enum Input {
    Body {
        schema: fn() -> RefOr<Schema>,
        /// The schemas that it refers to.
        schemas: fn(&mut Vec<(String, RefOr<Schema>)>),
        /// Nothing in it has to be said.
        optional: bool,
        read: fn(Map<String, Value>) -> Result<Run, Failure>,
    },
    Query {
        parameters: fn() -> Vec<Parameter>,
        read: fn(&mut Parameters) -> Result<Run, Failure>,
    },
}

/// What a call answers if it goes well.
pub(crate) struct Output {
    pub(crate) status: u16,
    pub(crate) about: &'static str,
    pub(crate) name: fn() -> std::borrow::Cow<'static, str>,
    pub(crate) schema: fn() -> RefOr<Schema>,
    pub(crate) schemas: fn(&mut Vec<(String, RefOr<Schema>)>),
}

type Running = Pin<Box<dyn Future<Output = Result<Done, Failure>> + Send>>;
type Run = Box<dyn FnOnce(To) -> Running + Send>;

/// A call that was read and found right.
pub(crate) struct Ready {
    pub(crate) call: &'static Call,
    target: Target,
    except: Vec<worker_sdk::ClientId>,
    run: Run,
}

/// How a call went well.
pub(crate) struct Done {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

impl Done {
    pub(crate) fn new<A: Answer>(answer: &A) -> Result<Self, Failure> {
        let body = serde_json::to_value(answer).map_err(|error| {
            tracing::error!(%error, "an answer has no JSON form");
            Failure::from(Code::Internal)
        })?;
        Ok(Self {
            status: A::STATUS,
            body,
        })
    }
}

impl Call {
    pub(crate) fn command<C: Command>() -> Self {
        Self {
            name: C::NAME,
            about: C::ABOUT,
            kinds: C::KINDS,
            input: Input::Body {
                schema: C::schema,
                schemas: C::schemas,
                optional: serde_json::from_value::<C>(Value::Object(Map::new())).is_ok(),
                read: |body| {
                    let command: C = serde_json::from_value(Value::Object(body))
                        .map_err(|e| Failure::new(Code::InvalidBody, e.to_string()))?;
                    command.check()?;
                    Ok(Box::new(move |to| {
                        Box::pin(async move { Done::new(&command.run(to).await?) })
                    }))
                },
            },
            output: Output::of::<C::Answer>(),
        }
    }

    pub(crate) fn query<Q: Query>() -> Self {
        Self {
            name: Q::NAME,
            about: Q::ABOUT,
            kinds: Q::KINDS,
            input: Input::Query {
                parameters: Q::parameters,
                read: |given| {
                    let query = Q::read(given)?;
                    Ok(Box::new(move |to| {
                        Box::pin(async move { Done::new(&query.run(to).await?) })
                    }))
                },
            },
            output: Output::of::<Q::Answer>(),
        }
    }

    /// Whether this is a command, and so is posted.
    pub(crate) const fn is_command(&self) -> bool {
        matches!(self.input, Input::Body { .. })
    }

    /// Whether it can be part of a batch: a command, or a query that nothing can be said about.
    pub(crate) fn fits_a_batch(&self) -> bool {
        match self.input {
            Input::Body { .. } => true,
            Input::Query { parameters, .. } => parameters().is_empty(),
        }
    }

    /// Reads what a command is given.
    pub(crate) fn read_body(
        &'static self,
        target: Target,
        mut body: Map<String, Value>,
    ) -> Result<Ready, Failure> {
        let Input::Body { read, .. } = self.input else {
            return Err(Code::MethodNotAllowed.into());
        };
        let except = body.remove("except").map_or(Ok(Vec::new()), except)?;
        Ok(Ready {
            call: self,
            target,
            except,
            run: read(body)?,
        })
    }

    /// Reads what a query is given.
    pub(crate) fn read_query(
        &'static self,
        target: Target,
        mut given: Parameters,
    ) -> Result<Ready, Failure> {
        let Input::Query { read, .. } = self.input else {
            return Err(Code::MethodNotAllowed.into());
        };
        let run = read(&mut given)?;
        given.end()?;
        Ok(Ready {
            call: self,
            target,
            except: Vec::new(),
            run,
        })
    }
}

impl Output {
    fn of<A: Answer>() -> Self {
        Self {
            status: A::STATUS,
            about: A::ABOUT,
            name: A::name,
            schema: A::schema,
            schemas: A::schemas,
        }
    }
}

impl Ready {
    pub(crate) fn kind(&self) -> Kind {
        self.target.kind()
    }

    /// Does it.
    pub(crate) async fn run(self, gateway: &Gateway) -> Result<Done, Failure> {
        let to = To {
            target: self.target.at(gateway).except(self.except),
            whom: self.target,
            gateway: gateway.clone(),
        };
        (self.run)(to).await
    }
}

/// The clients that are left out.
fn except(json: Value) -> Result<Vec<worker_sdk::ClientId>, Failure> {
    let ids: Vec<String> = serde_json::from_value(json)
        .map_err(|e| Failure::new(Code::InvalidBody, format!("`except`: {e}")))?;
    if ids.len() > MOST_NAMES {
        let says = format!("`except`: at most {MOST_NAMES} clients");
        return Err(Failure::new(Code::InvalidBody, says));
    }
    ids.iter().map(|id| client_id(id)).collect()
}

/// All entries.
pub(crate) fn calls() -> &'static [Call] {
    static CALLS: std::sync::LazyLock<Vec<Call>> = std::sync::LazyLock::new(|| {
        let mut calls = commands::all();
        calls.extend(queries::all());
        calls.extend(several::all());
        calls
    });
    &CALLS
}

/// The entry of this name for this kind of target.
pub(crate) fn find(name: &str, kind: Kind) -> Option<&'static Call> {
    let mut calls = calls().iter();
    calls.find(|call| call.name == name && call.kinds.contains(&kind))
}
