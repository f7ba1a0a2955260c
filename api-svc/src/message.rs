//! Messages in JSON: `{"text": "…"}` or `{"binary": "<base64>"}`.

use std::borrow::Cow;

use data_encoding::BASE64;
use serde::{Deserialize, Deserializer, de};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{AdditionalProperties, ObjectBuilder, OneOfBuilder, Type},
    },
};

/// What stands for bytes: base64 (RFC 4648, section 4), with padding.
pub(crate) const BASE64_PATTERN: &str =
    "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?$";

/// A message for clients. A text becomes a text frame, bytes a binary frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Message {
    Text(String),
    Binary(Vec<u8>),
}

impl From<Message> for worker_sdk::Message {
    fn from(message: Message) -> Self {
        match message {
            Message::Text(text) => text.into(),
            Message::Binary(bytes) => bytes.into(),
        }
    }
}

impl<'de> Deserialize<'de> for Message {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Fields {
            #[serde(default, deserialize_with = "given")]
            text: Option<String>,
            #[serde(default, deserialize_with = "given")]
            binary: Option<String>,
        }
        // Not null: that would be neither.
        fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
            String::deserialize(from).map(Some)
        }
        match Fields::deserialize(from)? {
            Fields {
                text: Some(text),
                binary: None,
            } => Ok(Self::Text(text)),
            Fields {
                text: None,
                binary: Some(binary),
            } => BASE64
                .decode(binary.as_bytes())
                .map(Self::Binary)
                .map_err(|e| de::Error::custom(format!("`binary` is not base64: {e}"))),
            _ => Err(de::Error::custom(
                "a message has either `text` or `binary`, and not both",
            )),
        }
    }
}

impl PartialSchema for Message {
    fn schema() -> RefOr<Schema> {
        let either = |name: &str, string: ObjectBuilder| {
            ObjectBuilder::new()
                .property(name, string.schema_type(Type::String))
                .required(name)
                .additional_properties(Some(AdditionalProperties::FreeForm(false)))
        };
        let text = ObjectBuilder::new().description(Some("a text frame"));
        let binary = ObjectBuilder::new()
            .description(Some("a binary frame, in base64"))
            .pattern(Some(BASE64_PATTERN))
            .content_encoding("base64");
        let either = OneOfBuilder::new()
            .item(either("text", text))
            .item(either("binary", binary))
            .description(Some("a message for clients"));
        Schema::OneOf(either.build()).into()
    }
}

impl ToSchema for Message {
    fn name() -> Cow<'static, str> {
        "Message".into()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_is_text_or_bytes_and_nothing_else() {
        let read = |json| serde_json::from_value::<Message>(json);
        assert_eq!(read(json!({"text": ""})).unwrap(), Message::Text("".into()));
        assert_eq!(
            read(json!({"binary": "AP8="})).unwrap(),
            Message::Binary(vec![0, 255])
        );
        for wrong in [
            json!({}),
            json!({"text": "a", "binary": ""}),
            json!({"text": null}),
            json!({"binary": "AP8"}),
            json!({"binary": "AP9="}),
            json!({"txt": "a"}),
            json!("a"),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
