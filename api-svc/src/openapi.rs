//! The OpenAPI document, made from the list of calls.

use std::collections::BTreeMap;

use utoipa::{
    PartialSchema,
    openapi::{
        ComponentsBuilder, ContentBuilder, HttpMethod, InfoBuilder, LicenseBuilder, OpenApiBuilder,
        PathsBuilder, Ref, RefOr, Required, ResponseBuilder, Schema,
        path::{Operation, OperationBuilder, ParameterBuilder, ParameterIn, PathItemBuilder},
        request_body::RequestBodyBuilder,
        schema::{
            AdditionalProperties, AllOfBuilder, AnyOfBuilder, ArrayBuilder, Object, ObjectBuilder,
            OneOfBuilder, Type,
        },
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
    },
};

use crate::{
    call::{Call, Input, calls},
    failure::Code,
    message::Message,
    service::Limits,
    session::Session,
    target::{self, Kind, MOST_NAMES, client_id_schema, name_schema},
};

/// The document as JSON.
pub(crate) fn text(limits: &Limits) -> String {
    let mut components = Components::default();
    let mut paths = PathsBuilder::new();
    for kind in Kind::ONE {
        for call in calls().iter().filter(|call| call.kinds.contains(&kind)) {
            let (method, operation) = call_operation(call, kind, &mut components);
            let item = PathItemBuilder::new().operation(method, operation);
            paths = paths.path(path(call, kind), item.build());
        }
    }
    let batch = PathItemBuilder::new().operation(
        HttpMethod::Post,
        batch_operation(limits.max_batch, &mut components),
    );
    paths = paths.path("/v1/batch", batch.build());

    let info = InfoBuilder::new()
        .title("Gatebus")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Commands and queries for clients, uids and groups, for back ends in any language.",
        ))
        .license(Some(
            LicenseBuilder::new()
                .name("MIT OR Apache-2.0")
                .identifier(Some("MIT OR Apache-2.0"))
                .build(),
        ));
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    let document = OpenApiBuilder::new()
        .info(info.build())
        .paths(paths.build())
        .components(Some(
            components
                .build()
                .security_scheme("token", SecurityScheme::Http(bearer))
                .build(),
        ))
        .build();
    document.to_pretty_json().expect("plain data")
}

/// The path of a call, as the document writes it.
fn path(call: &Call, kind: Kind) -> String {
    match kind {
        Kind::All => format!("/v1/all/{}", call.name),
        kind => format!("/v1/{}/{{name}}/{}", kind.word(), call.name),
    }
}

/// The schemas that have a name.
#[derive(Default)]
struct Components(BTreeMap<String, RefOr<Schema>>);

impl Components {
    /// Adds a schema, and those that it refers to.
    fn add(
        &mut self,
        name: String,
        schema: RefOr<Schema>,
        more: fn(&mut Vec<(String, RefOr<Schema>)>),
    ) -> Ref {
        let mut others = Vec::new();
        more(&mut others);
        self.0.extend(others);
        self.0.insert(name.clone(), schema);
        Ref::from_schema_name(name)
    }

    fn build(mut self) -> ComponentsBuilder {
        let error = ObjectBuilder::new()
            .property("code", code_schema())
            .property("message", ObjectBuilder::new().schema_type(Type::String))
            .required("code")
            .required("message");
        let failed = ObjectBuilder::new()
            .property("error", error)
            .required("error");
        for (name, schema) in [
            ("Error", failed.into()),
            ("Message", Message::schema()),
            ("Session", Session::schema()),
            ("Target", target::schema(&Kind::ALL)),
            ("OneTarget", target::schema(&Kind::ONE)),
            ("ClientTarget", target::schema(&[Kind::Client])),
            ("SeveralTarget", target::schema(&[Kind::Uids, Kind::Groups])),
        ] {
            self.0.insert(name.into(), schema);
        }
        ComponentsBuilder::new().schemas_from_iter(self.0)
    }
}

fn code_schema() -> Object {
    let table: Vec<_> = Code::ALL
        .iter()
        .map(|code| format!("`{}`: {}", code.name(), code.means()))
        .collect();
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(Code::ALL.map(Code::name)))
        .description(Some(table.join("\n\n")))
        .build()
}

fn call_operation(call: &Call, kind: Kind, to: &mut Components) -> (HttpMethod, Operation) {
    let mut operation = OperationBuilder::new()
        .operation_id(Some(format!("{}_{}", kind.word(), call.name)))
        .tag(kind.word())
        .summary(Some(call.about))
        .security(SecurityRequirement::new("token", [""; 0]));
    if kind != Kind::All {
        let (about, schema) = match kind {
            Kind::Client => ("The client's id", client_id_schema()),
            Kind::Uid => ("The uid, percent-encoded", name_schema()),
            _ => ("The group's name, percent-encoded", name_schema()),
        };
        let name = ParameterBuilder::new()
            .name("name")
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(Some(about))
            .schema(Some(schema));
        operation = operation.parameter(name);
    }
    let method = match call.input {
        Input::Body {
            schema,
            schemas,
            optional,
            ..
        } => {
            let body = with(&schema(), &[("except", except_schema(), false)]);
            let body = to.add(format!("{}_body", call.name), body, schemas);
            let body = RequestBodyBuilder::new()
                .content(
                    "application/json",
                    ContentBuilder::new().schema(Some(body)).build(),
                )
                .required(Some(if optional {
                    Required::False
                } else {
                    Required::True
                }));
            operation = operation.request_body(Some(body.build()));
            HttpMethod::Post
        }
        Input::Query { parameters, .. } => {
            for parameter in parameters() {
                operation = operation.parameter(parameter);
            }
            HttpMethod::Get
        }
    };
    let output = &call.output;
    let answer = to.add(
        (output.name)().into_owned(),
        (output.schema)(),
        output.schemas,
    );
    let answer = ResponseBuilder::new().description(output.about).content(
        "application/json",
        ContentBuilder::new().schema(Some(answer)).build(),
    );
    operation = operation.response(output.status.to_string(), answer);
    (method, failures(operation).build())
}

/// Every status with which a call can fail.
fn failures(mut operation: OperationBuilder) -> OperationBuilder {
    let mut says: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for code in Code::ALL {
        says.entry(code.status()).or_default().push(code.name());
    }
    for (status, codes) in says {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Error")));
        let response = ResponseBuilder::new()
            .description(codes.join(", "))
            .content("application/json", content.build());
        operation = operation.response(status.to_string(), response);
    }
    operation
}

fn batch_operation(most: usize, to: &mut Components) -> Operation {
    let in_batch = || calls().iter().filter(|call| call.fits_a_batch());
    let each = in_batch().fold(OneOfBuilder::new(), |each, call| {
        each.item(batch_call(call))
    });
    let list = ArrayBuilder::new().items(each).max_items(Some(most));
    let body = ObjectBuilder::new()
        .property("calls", list)
        .required("calls")
        .additional_properties(Some(AdditionalProperties::FreeForm(false)));
    let body = to.add("batch_body".into(), body.into(), |_| {});
    let mut answers = BTreeMap::new();
    for call in in_batch() {
        let output = &call.output;
        let name = (output.name)().into_owned();
        let answer = to.add(name.clone(), (output.schema)(), output.schemas);
        let status = status().enum_values(Some([output.status]));
        answers.insert(name, batch_result(answer, status));
    }
    let failed = Ref::from_schema_name("Error");
    let result = AnyOfBuilder::new()
        .item(batch_result(failed, status().minimum(Some(400))))
        .description(Some("`error`, or the fields of the call's answer"));
    let result = answers.into_values().fold(result, AnyOfBuilder::item);
    let results = ObjectBuilder::new()
        .property("results", ArrayBuilder::new().items(result))
        .required("results");
    let results = to.add("Results".into(), results.into(), |_| {});
    let content = |schema| ContentBuilder::new().schema(Some(schema)).build();
    let operation = OperationBuilder::new()
        .operation_id(Some("batch"))
        .tag("batch")
        .summary(Some(
            "Does calls in order, each whether or not the one before failed; a batch that is wrong anywhere is refused whole",
        ))
        .security(SecurityRequirement::new("token", [""; 0]))
        .request_body(Some(
            RequestBodyBuilder::new()
                .content("application/json", content(body))
                .required(Some(Required::True))
                .build(),
        ))
        .response(
            "200",
            ResponseBuilder::new()
                .description("a result for each call, in order")
                .content("application/json", content(results)),
        );
    failures(operation).build()
}

/// A call as an item of a batch.
fn batch_call(call: &Call) -> RefOr<Schema> {
    let target = match call.kinds {
        [Kind::Client] => "ClientTarget",
        [Kind::Uids, Kind::Groups] => "SeveralTarget",
        kinds if kinds.contains(&Kind::Clients) => "Target",
        _ => "OneTarget",
    };
    let target = RefOr::Ref(Ref::from_schema_name(target));
    let name = ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some([call.name]));
    match call.input {
        Input::Body { schema, .. } => with(
            &schema(),
            &[
                ("target", target, true),
                ("command", name.into(), true),
                ("except", except_schema(), false),
            ],
        ),
        Input::Query { .. } => with(
            &ObjectBuilder::new()
                .additional_properties(Some(AdditionalProperties::FreeForm(false)))
                .into(),
            &[("target", target, true), ("query", name.into(), true)],
        ),
    }
}

/// What becomes of a call: an answer, with its status.
fn batch_result(answer: Ref, status: ObjectBuilder) -> RefOr<Schema> {
    let status = ObjectBuilder::new()
        .property("status", status)
        .required("status");
    let both = AllOfBuilder::new().item(answer).item(status);
    Schema::AllOf(both.build()).into()
}

fn status() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .description(Some("the status that the call alone would have had"))
}

fn except_schema() -> RefOr<Schema> {
    ArrayBuilder::new()
        .items(client_id_schema())
        .max_items(Some(MOST_NAMES))
        .description(Some("ids of clients that are left out"))
        .into()
}

/// A schema with more properties, each of which may be required; in each of its alternatives, if it has some.
fn with(schema: &RefOr<Schema>, more: &[(&str, RefOr<Schema>, bool)]) -> RefOr<Schema> {
    let mut schema = schema.clone();
    match &mut schema {
        RefOr::T(Schema::Object(object)) => add(object, more),
        RefOr::T(Schema::OneOf(one)) => {
            for item in &mut one.items {
                *item = with(item, more);
            }
        }
        _ => unreachable!("a body is an object, or one of several"),
    }
    schema
}

fn add(object: &mut Object, more: &[(&str, RefOr<Schema>, bool)]) {
    for (name, schema, required) in more {
        object.properties.insert((*name).to_owned(), schema.clone());
        if *required {
            object.required.push((*name).to_owned());
        }
    }
}
