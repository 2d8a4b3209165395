//! Schemas: what names one, where it comes from, and what it means.

pub mod apicurio;
pub mod avro;
pub mod connect;
pub mod envelope;
pub mod frame;
mod http;
pub mod json;
pub mod registry;
