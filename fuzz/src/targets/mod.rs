//! Entry functions of the fuzz targets, which `tests/replay.rs` calls as well: what bytes mean as
//! records, and where the first ones come from.

mod bench;
mod fixture;

use std::collections::BTreeSet;

use bench::{Bench, Sample};
use fixture::{Avro, Fixture, Frame, LOG_ID, fixtures, logged, logged_in_avro, schemas};

/// A fuzz target.
pub struct Target {
    /// Its name, and that of its folders.
    pub name: &'static str,
    /// Decodes what the bytes stand for, panics where an invariant breaks, and returns how many rows
    /// were made.
    pub run: fn(&[u8]) -> usize,
    /// Returns the captured records as its input, each with its name.
    pub seeds: fn() -> Vec<Seed>,
}

/// What a target starts from: a captured record's name, and the input that stands for it.
pub type Seed = (String, Vec<u8>);

/// Values as JSON, behind a key and a zero.
pub const JSON_ENVELOPE: Target =
    Target { name: "json_envelope", run: json_envelope, seeds: json_envelope_seeds };
/// Avro's bytes: which schema and frame, the length of the key, the key, the value.
pub const AVRO_BODY: Target = Target { name: "avro_body", run: avro_body, seeds: avro_body_seeds };
/// An Avro schema, a zero, and a value's bytes.
pub const AVRO_SCHEMA: Target =
    Target { name: "avro_schema", run: avro_schema, seeds: avro_schema_seeds };
/// A record's key.
pub const KEY: Target = Target { name: "key", run: key, seeds: key_seeds };
/// Names and values of headers, each behind its length in one byte; 255 is a null value.
pub const HEADERS: Target = Target { name: "headers", run: headers, seeds: headers_seeds };

/// Every target.
pub const TARGETS: [Target; 5] = [JSON_ENVELOPE, AVRO_BODY, AVRO_SCHEMA, KEY, HEADERS];

/// The id under which a schema that is itself the input is registered.
const SCHEMA_ID: u32 = 999_999;
/// The id of the schema of a `users` key in the captured records.
const USERS_KEY_ID: u32 = 1;
/// The id of the schema of a `users` value.
const USERS_VALUE_ID: u32 = 2;
const NULL_LENGTH: u8 = 255;

fn json_envelope(bytes: &[u8]) -> usize {
    let (key, value) = split_at_zero(bytes);
    let (key, value) = match value {
        Some(value) => (Some(key), value),
        None => (None, key),
    };
    let sample = Sample::of(key, Some(value));
    Bench::new().judge(&[sample.clone(), sample.logged()])
}

fn json_envelope_seeds() -> Vec<Seed> {
    let joined = |fixture: &Fixture| {
        let value = fixture.json_value()?;
        let bytes = match &fixture.key {
            Some(key) => [key, &[0][..], value].concat(),
            None => value.to_vec(),
        };
        Some((fixture.name.clone(), bytes))
    };
    let logged = |action: &str| {
        let name = |format: &str| format!("{format}/log-{action}");
        let seed = |has_schema| [b"7\0", logged(action, has_schema).as_bytes()].concat();
        [(name("json"), seed(true)), (name("plain"), seed(false))]
    };
    fixtures().iter().filter_map(joined).chain(ACTIONS.into_iter().flat_map(logged)).collect()
}

/// The words of a change log.
const ACTIONS: [&str; 3] = ["INSERT", "UPDATE", "DELETE"];

/// How Avro's bytes come: by which frame, and whether by the topic of a change log.
const WAYS: [(Frame, bool); 5] = [
    (Frame::Four, false),
    (Frame::Eight, false),
    (Frame::Global, false),
    (Frame::Content, false),
    (Frame::Four, true),
];

fn avro_body(bytes: &[u8]) -> usize {
    let [chosen, key_length, rest @ ..] = bytes else { return 0 };
    let (place, way) =
        (usize::from(*chosen) % schemas().len(), usize::from(*chosen) / schemas().len());
    let (frame, is_logged) = WAYS[way % WAYS.len()];
    let id_at = |place: usize| schemas().keys().nth(place).copied().unwrap_or_default();
    let (key, value) = rest.split_at(usize::from(*key_length).min(rest.len()));
    // The captured schemas have a value's behind its key's.
    let key = (!key.is_empty()).then(|| (id_at(place.saturating_sub(1)), key));
    let sample = behind(frame, key, (id_at(place), value));
    Bench::new().judge(&[if is_logged { sample.logged() } else { sample }])
}

fn avro_body_seeds() -> Vec<Seed> {
    let body = |name: String, avro: Avro<'_>, is_logged: bool| {
        let place = schemas().keys().position(|known| *known == avro.id)?;
        let way = WAYS.iter().position(|way| *way == (avro.frame, is_logged))?;
        let chosen = u8::try_from(place + way * schemas().len()).expect("few schemas and ways");
        let bytes = [chosen, u8::try_from(avro.key.len()).ok()?];
        Some((name, [&bytes, avro.key, avro.value].concat()))
    };
    let captured = fixtures().iter();
    let captured =
        captured.filter_map(|fixture| body(fixture.name.clone(), fixture.avro()?, false));
    let logged = |action: &str| {
        let value = &logged_in_avro(action);
        let avro = Avro { frame: Frame::Four, id: LOG_ID, key: &[], value };
        body(format!("avro/log-{action}"), avro, true)
    };
    captured.chain(ACTIONS.into_iter().filter_map(logged)).collect()
}

/// Puts frames before Avro's bytes, or into headers.
fn behind(frame: Frame, key: Option<(u32, &[u8])>, value: (u32, &[u8])) -> Sample {
    let name = match frame {
        Frame::Four => {
            let key = key.map(|(id, key)| framed(id, key));
            return Sample::of(key.as_deref(), Some(&framed(value.0, value.1)));
        }
        Frame::Eight => {
            let key = key.map(|(id, key)| framed_wide(id, key));
            return Sample::of(key.as_deref(), Some(&framed_wide(value.0, value.1)));
        }
        Frame::Global => "globalId",
        Frame::Content => "contentId",
    };
    let mut sample = Sample::of(key.map(|(_, key)| key), Some(value.1));
    let sides = [("key", key), ("value", Some(value))];
    for (side, (id, _)) in sides.into_iter().filter_map(|(side, part)| Some((side, part?))) {
        let id = u64::from(id).to_be_bytes().to_vec();
        sample.headers.push((format!("apicurio.{side}.{name}").into_bytes(), Some(id)));
    }
    sample
}

fn avro_schema(bytes: &[u8]) -> usize {
    let (schema, body) = split_at_zero(bytes);
    let Ok(schema) = std::str::from_utf8(schema) else { return 0 };
    let body = body.unwrap_or_default();
    let (value, users_key) = (framed(SCHEMA_ID, body), framed(USERS_KEY_ID, &[2]));
    let users = Fixture::named("avro/users-create");
    let mut bench = Bench::new();
    bench.register(SCHEMA_ID, schema);
    bench.judge(&[
        Sample::of(None, Some(&value)),
        Sample::of(Some(&users_key), Some(&value)),
        Sample::of(Some(&value), users.value.as_deref()),
    ])
}

fn avro_schema_seeds() -> Vec<Seed> {
    let body = |fixture: &Fixture| {
        let Avro { id, value, .. } = fixture.avro()?;
        // One that refers to others is no schema alone.
        let schema = schemas().get(&id).filter(|schema| schema.references.is_empty())?;
        Some((fixture.name.clone(), [schema.text.as_bytes(), &[0], value].concat()))
    };
    fixtures().iter().filter_map(body).collect()
}

fn key(bytes: &[u8]) -> usize {
    let names =
        ["json/users-create", "plain/users-delete", "avro/users-update", "json/users-tombstone"];
    let sample = |name| Sample::of(Some(bytes), Fixture::named(name).value.as_deref());
    Bench::new().judge(&names.map(sample))
}

fn key_seeds() -> Vec<Seed> {
    let mut known = BTreeSet::new();
    let keys = fixtures().iter().filter_map(|it| Some((it.name.clone(), it.key.clone()?)));
    keys.filter(|(_, key)| known.insert(key.clone())).collect()
}

fn headers(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    let mut headers = Vec::new();
    while let Some(name) = take(&mut rest) {
        headers.push((
            name.unwrap_or_default().to_vec(),
            take(&mut rest).flatten().map(<[u8]>::to_vec),
        ));
    }
    let sample = |fixture: &Fixture| {
        let sample = Sample::of(fixture.key.as_deref(), fixture.value.as_deref());
        Sample { headers: headers.clone(), ..sample }
    };
    // Headers mark the halves of a changed key, and name the schema of bytes without a frame.
    let names = ["json/users-move-delete", "json/users-move-create", "avro/users-create"];
    let mut samples = names.map(|name| sample(Fixture::named(name))).to_vec();
    let bare = |bytes: &Option<Vec<u8>>| {
        bytes.as_deref().and_then(|bytes| bytes.get(5..)).map(<[u8]>::to_vec)
    };
    if let Some(framed) = samples.last() {
        let (key, value) = (bare(&framed.key), bare(&framed.value));
        samples.push(Sample { key, value, ..framed.clone() });
    }
    Bench::new().judge(&samples)
}

fn headers_seeds() -> Vec<Seed> {
    let id = |id: u32| Some(u64::from(id).to_be_bytes().to_vec());
    let apicurio =
        |side: &str, schema: u32| (format!("apicurio.{side}.globalId").into_bytes(), id(schema));
    let captured = fixtures().iter().map(|it| (it.name.clone(), it.headers.clone()));
    let named = vec![apicurio("key", USERS_KEY_ID), apicurio("value", USERS_VALUE_ID)];
    let mut known = BTreeSet::new();
    let seeds = captured.chain([("named".to_owned(), named)]);
    let seeds = seeds.filter_map(|(name, headers)| Some((name, packed(&headers)?)));
    seeds.filter(|(_, seed)| known.insert(seed.clone())).collect()
}

type Header = (Vec<u8>, Option<Vec<u8>>);

fn packed(headers: &[Header]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    for (name, value) in headers {
        for part in [Some(name), value.as_ref()] {
            bytes.push(part.map_or(Some(NULL_LENGTH), |part| u8::try_from(part.len()).ok())?);
            bytes.extend_from_slice(part.map_or(&[], Vec::as_slice));
        }
    }
    Some(bytes)
}

/// Takes one part behind its length; the outer `None` is the end, the inner one a null.
fn take<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    let (length, tail) = rest.split_first()?;
    if *length == NULL_LENGTH {
        *rest = tail;
        return Some(None);
    }
    let (part, tail) = tail.split_at(usize::from(*length).min(tail.len()));
    *rest = tail;
    Some(Some(part))
}

/// Splits at the first zero, which no JSON text holds.
fn split_at_zero(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut parts = bytes.splitn(2, |byte| *byte == 0);
    (parts.next().unwrap_or_default(), parts.next())
}

/// Puts Confluent's frame before Avro's bytes.
fn framed(id: u32, body: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], body].concat()
}

/// Puts Apicurio's frame of eight bytes there.
fn framed_wide(id: u32, body: &[u8]) -> Vec<u8> {
    [&[0], &u64::from(id).to_be_bytes()[..], body].concat()
}
