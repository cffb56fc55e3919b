//! Segments as JSON.

use std::time::UNIX_EPOCH;

use multiprocessing::{FieldValue, Listing, Object, Scalar, Segment, Snapshot, Structure, View};
use serde_json::{Map, Value, json};

/// Returns a line: an array with an object per segment.
pub fn list(listings: &[Listing]) -> String {
    let entries = listings.iter().map(|listing| Value::Object(entry(listing)));
    format!("{}\n", Value::Array(entries.collect()))
}

/// Returns a line: an object for a segment, with those inside.
pub fn object(listing: &Listing) -> String {
    let mut entry = entry(listing);
    if let Ok(segment) = &listing.segment {
        let objects = segment.objects().iter().map(|it| of_object(segment, it)).collect();
        entry.insert("objects".to_owned(), Value::Array(objects));
    }
    format!("{}\n", Value::Object(entry))
}

fn entry(listing: &Listing) -> Map<String, Value> {
    let mut entry = Map::new();
    let mut add = |key: &str, value: Value| entry.insert(key.to_owned(), value);
    add("name", json!(listing.name.as_str()));
    add("owner", json!(listing.owner));
    add("permissions", json!(format!("{:o}", listing.permissions)));
    add("bytes", json!(listing.bytes));
    add("attached", listing.attached.iter().map(|pid| pid.as_raw()).collect());
    add("stale", json!(listing.is_stale()));
    match &listing.segment {
        Ok(segment) => {
            let created = segment.created().duration_since(UNIX_EPOCH).unwrap_or_default();
            add("creator", json!(segment.creator().as_raw()));
            add("creator_is_alive", json!(segment.creator_is_alive()));
            add("created_unix_ms", json!(created.as_millis() as u64));
            add("generation", json!(segment.generation()));
        }
        Err(error) => _ = add("error", json!(error.to_string())),
    }
    entry
}

fn of_object(segment: &View<Segment>, object: &Object) -> Value {
    let Snapshot { elements, structures, lock, state, .. } = segment.snapshot(object);
    let elements: Value = match structures.as_slice() {
        [] => elements.iter().map(number).collect(),
        structures => structures.iter().map(of_structure).collect(),
    };
    json!({
        "name": object.name,
        "kind": object.kind.to_string(),
        "type": object.element.to_string(),
        "length": object.length,
        "bytes": object.bytes,
        "fields": object.fields,
        "elements": elements,
        "holder": lock.and_then(|(holder, _)| holder).map(|holder| holder.as_raw()),
        "recoveries": lock.map(|(_, recoveries)| recoveries),
        "state": state,
    })
}

fn of_structure(structure: &Structure) -> Value {
    structure.fields.iter().map(|(name, value)| (name.as_str(), of_field(value))).collect()
}

fn of_field(value: &FieldValue) -> Value {
    match value {
        FieldValue::Number(scalar) => number(scalar),
        FieldValue::Structure(structure) => of_structure(structure),
        FieldValue::Array(values) => values.iter().map(of_field).collect(),
        other => json!(other.to_string()),
    }
}

/// Returns a number. JSON has none for infinities, and for what is not a number: `null`.
fn number(scalar: &Scalar) -> Value {
    match scalar {
        Scalar::Unsigned(number) => json!(number),
        Scalar::Signed(number) => json!(number),
        Scalar::Float(number) => json!(number),
        other => json!(other.to_string()),
    }
}
