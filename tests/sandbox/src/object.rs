//! Reading and writing the JSON of Kubernetes objects.
//!
//! Pointers are RFC 6901; a missing field reads as empty, as Go's zero values do. Keys that
//! contain slashes (labels, annotations) have functions of their own.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// The value at `pointer`; unlike serde_json's own it copies no segment.
pub(crate) fn at<'a>(object: &'a Value, pointer: &str) -> Option<&'a Value> {
    if pointer.contains('~') {
        return object.pointer(pointer);
    }
    pointer.split('/').skip(1).try_fold(object, |at, segment| match at {
        Value::Object(map) => map.get(segment),
        Value::Array(items) => items.get(segment.parse::<usize>().ok()?),
        _ => None,
    })
}

/// The string at `pointer`, empty when absent.
pub(crate) fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    at(object, pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The integer at `pointer`.
pub(crate) fn integer(object: &Value, pointer: &str) -> Option<i64> {
    at(object, pointer).and_then(Value::as_i64)
}

/// Whether the boolean at `pointer` is true.
pub(crate) fn flag(object: &Value, pointer: &str) -> bool {
    at(object, pointer).and_then(Value::as_bool).unwrap_or_default()
}

/// The list at `pointer`, empty when absent.
pub(crate) fn list<'a>(object: &'a Value, pointer: &str) -> &'a [Value] {
    at(object, pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

pub(crate) fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

pub(crate) fn namespace(object: &Value) -> &str {
    text(object, "/metadata/namespace")
}

pub(crate) fn uid(object: &Value) -> &str {
    text(object, "/metadata/uid")
}

pub(crate) fn version(object: &Value) -> &str {
    text(object, "/metadata/resourceVersion")
}

/// Whether a deletion was asked for and the object still waits for something.
pub(crate) fn deleting(object: &Value) -> bool {
    !text(object, "/metadata/deletionTimestamp").is_empty()
}

pub(crate) fn label<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    entry(object, "/metadata/labels", key)
}

pub(crate) fn annotation<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    entry(object, "/metadata/annotations", key)
}

/// The string `key` of the map at `pointer`.
pub(crate) fn entry<'a>(object: &'a Value, pointer: &str, key: &str) -> Option<&'a str> {
    at(object, pointer)?.get(key)?.as_str()
}

/// A JSON map of strings; values of other types are left out.
pub(crate) fn strings(map: Option<&Value>) -> BTreeMap<String, String> {
    map.and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// The owner reference with `controller: true`.
pub(crate) fn controller(object: &Value) -> Option<&Value> {
    list(object, "/metadata/ownerReferences").iter().find(|owner| flag(owner, "/controller"))
}

/// An owner reference that makes `owner` the controller of an object.
pub(crate) fn controlled_by(owner: &Value) -> Value {
    json!([{
        "apiVersion": text(owner, "/apiVersion"),
        "kind": text(owner, "/kind"),
        "name": name(owner),
        "uid": uid(owner),
        "controller": true,
        "blockOwnerDeletion": true,
    }])
}

/// Writes `value` at `pointer`, making the maps on the way.
pub(crate) fn set(object: &mut Value, pointer: &str, value: impl Into<Value>) {
    let mut at = object;
    for segment in pointer.split('/').skip(1) {
        let segment = if segment.contains('~') {
            Cow::Owned(segment.replace("~1", "/").replace("~0", "~"))
        } else {
            Cow::Borrowed(segment)
        };
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        let Value::Object(map) = at else { return };
        if !map.contains_key(segment.as_ref()) {
            map.insert(segment.as_ref().to_owned(), Value::Null);
        }
        let Some(below) = map.get_mut(segment.as_ref()) else { return };
        at = below;
    }
    *at = value.into();
}

/// Writes `value` at `pointer` unless something is there: a default.
pub(crate) fn default(object: &mut Value, pointer: &str, value: impl Into<Value>) {
    if at(object, pointer).is_none_or(Value::is_null) {
        set(object, pointer, value);
    }
}

/// Removes the last segment of `pointer` from its map.
pub(crate) fn remove(object: &mut Value, pointer: &str) {
    let Some((parent, last)) = pointer.rsplit_once('/') else { return };
    if let Some(map) = object.pointer_mut(parent).and_then(Value::as_object_mut) {
        map.remove(last);
    }
}

pub(crate) fn set_label(object: &mut Value, key: &str, value: &str) {
    set(object, &format!("/metadata/labels/{}", escape(key)), value);
}

pub(crate) fn set_annotation(object: &mut Value, key: &str, value: &str) {
    set(object, &format!("/metadata/annotations/{}", escape(key)), value);
}

/// The condition of that type.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    list(object, "/status/conditions").iter().find(|one| text(one, "/type") == kind)
}

/// Whether the condition of that type is `True`.
pub(crate) fn condition_holds(object: &Value, kind: &str) -> bool {
    condition(object, kind).is_some_and(|one| text(one, "/status") == "True")
}

/// Adds or replaces a condition; its transition time moves only when its status does.
pub(crate) fn set_condition(object: &mut Value, mut condition: Value, now: &str) {
    let mut all = list(object, "/status/conditions").to_vec();
    set(&mut condition, "/lastTransitionTime", now);
    match all.iter_mut().find(|one| text(one, "/type") == text(&condition, "/type")) {
        Some(one) => {
            if text(one, "/status") == text(&condition, "/status") {
                let since = text(one, "/lastTransitionTime").to_owned();
                set(&mut condition, "/lastTransitionTime", since);
            }
            *one = condition;
        }
        None => all.push(condition),
    }
    set(object, "/status/conditions", all);
}

/// Removes a condition.
pub(crate) fn clear_condition(object: &mut Value, kind: &str) {
    if let Some(all) = object.pointer_mut("/status/conditions").and_then(Value::as_array_mut) {
        all.retain(|one| text(one, "/type") != kind);
    }
}

/// A number that may be given as a share of `total` (`25%`), as in rollout strategies.
pub(crate) fn share(value: Option<&Value>, total: i64, round_up: bool) -> Option<i64> {
    match value? {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => {
            let percent: i64 = text.strip_suffix('%')?.parse().ok()?;
            let scaled = percent * total;
            Some(if round_up { (scaled + 99) / 100 } else { scaled / 100 })
        }
        _ => None,
    }
}

/// A short name-safe hash of JSON, in the alphabet that Kubernetes uses for such names.
pub(crate) fn hash(value: &Value) -> String {
    let mut state: u32 = 0x811c_9dc5;
    for byte in value.to_string().bytes() {
        state = (state ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    spell(u64::from(state), 10)
}

/// Spells a number with `length` letters of the alphabet of generated names.
pub(crate) fn spell(number: u64, length: usize) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    // The steps of SplitMix64, so that neighbouring numbers look unrelated.
    let mut state = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^= state >> 31;
    let base = ALPHABET.len() as u64;
    let mut word = String::new();
    for _ in 0..length {
        let index = usize::try_from(state % base).unwrap_or_default();
        word.push(char::from(ALPHABET[index]));
        state /= base;
    }
    word
}

fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
