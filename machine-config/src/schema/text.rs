//! Texts of a certain form, for the schema only: what stands between the brackets of a list or map, where a
//! field's own attribute does not reach. The forms are checked by `document::formats`.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use std::borrow::Cow;

macro_rules! text {
    ($name:ident, $format:literal, $example:literal) => {
        #[allow(dead_code, reason = "only its schema is used")]
        pub(super) struct $name;

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                schemars::json_schema!({ "type": "string", "format": $format, "examples": [$example] })
            }
        }
    };
}

text!(Cidr, "cidr", "10.0.7.11/24");
text!(Endpoint, "https-endpoint", "https://10.0.7.10:6443");
text!(Host, "host", "ntp1.example.org");
text!(LabelValue, "label-value", "storage");
