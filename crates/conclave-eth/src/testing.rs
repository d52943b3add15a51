//! What tests of several rooms use.

use serde_json::Value;

/// Places of a value, as JSON pointers: of every field, and of every item.
fn places(value: &Value, at: &str, into: &mut Vec<String>) {
    let inner: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(key, inner)| {
                (
                    format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")),
                    inner,
                )
            })
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(place, inner)| (format!("{at}/{place}"), inner))
            .collect(),
        _ => Vec::new(),
    };
    for (at, inner) in inner {
        places(inner, &at, into);
        into.push(at);
    }
}

/// Whatever may be left out, and whatever list may be empty, may be `null` instead, and means the same. Gives the names of
/// these places.
///
/// # Panics
/// If one does not mean the same.
pub fn null_is_absent<T: std::fmt::Debug>(value: &Value, read: impl Fn(&Value) -> Option<T>) -> Vec<String> {
    read(value).expect("a value that can be read");
    let mut all = Vec::new();
    places(value, "", &mut all);
    let mut optional = Vec::new();
    for at in all {
        let (outer, key) = at.rsplit_once('/').unwrap();
        let put = |new: Value| {
            let mut other = value.clone();
            *other.pointer_mut(&at).unwrap() = new;
            read(&other).map(|read| format!("{read:?}"))
        };
        let mut without = value.clone();
        let left_out = match without.pointer_mut(outer) {
            Some(Value::Object(fields)) => {
                fields.remove(&key.replace("~1", "/").replace("~0", "~")).unwrap();
                read(&without).map(|read| format!("{read:?}"))
            }
            _ => None,
        };
        let empty = value.pointer(&at).is_some_and(Value::is_array);
        let empty = empty.then(|| put(Value::Array(Vec::new()))).flatten();
        for same in [left_out, empty].into_iter().flatten() {
            assert_eq!(put(Value::Null), Some(same), "{at}");
            optional.push(at.clone());
        }
    }
    optional.dedup();
    optional
}

/// Containers of a preset as another implementation writes and hashes them: a file of the vectors.
///
/// # Panics
/// If there is no such file.
pub fn vectors(preset: &str) -> Value {
    let path = format!("{}/vectors/containers-{preset}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The bytes that a JSON text with `0x` stands for.
///
/// # Panics
/// If it is none.
pub fn unhex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap().strip_prefix("0x").unwrap()).unwrap()
}
