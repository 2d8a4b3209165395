//! The schema registry of the demo: two schemas behind Confluent's API on a loopback port.

use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Json;
use axum::{Router, routing};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// The id of the schema of an order's key.
pub(super) const ORDERS_KEY_ID: u32 = 1;
/// The id of the schema of an order's envelope.
pub(super) const ORDERS_VALUE_ID: u32 = 2;

const ORDERS_KEY: &str = include_str!("../../schemas/orders-key.avsc");
const ORDERS_VALUE: &str = include_str!("../../schemas/orders-value.avsc");

/// The registry; it ends when it is dropped.
#[derive(Debug)]
pub(super) struct Registry {
    url: String,
    _server: JoinSet<()>,
}

impl Registry {
    /// Serves the schemas.
    ///
    /// # Errors
    ///
    /// No port of the loopback interface is free.
    pub(super) async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let router = Router::new().route("/schemas/ids/{id}", routing::get(schema));
        let mut server = JoinSet::new();
        server.spawn(async move {
            // It ends by being dropped; a member that finds it gone says so.
            _ = axum::serve(listener, router).await;
        });
        Ok(Self { url, _server: server })
    }

    /// Returns where it is served.
    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

async fn schema(Path(id): Path<u32>) -> (StatusCode, Json<Value>) {
    let schema = match id {
        ORDERS_KEY_ID => ORDERS_KEY,
        ORDERS_VALUE_ID => ORDERS_VALUE,
        _ => {
            let error = json!({ "error_code": 40403, "message": "Schema not found" });
            return (StatusCode::NOT_FOUND, Json(error));
        }
    };
    // The files come from a connector with another prefix.
    let schema = schema.replace("dbserver1_avro.", "dbserver1.");
    (StatusCode::OK, Json(json!({ "schema": schema })))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    async fn answer(registry: &Registry, path: &str) -> (String, Value) {
        let address = registry.url().strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), serde_json::from_str(body).unwrap())
    }

    #[tokio::test]
    async fn schemas_are_served_by_their_ids() {
        let registry = Registry::start().await.unwrap();

        let (status, body) = answer(&registry, "/schemas/ids/2?deleted=true").await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        let schema = serde_json::from_str::<Value>(body["schema"].as_str().unwrap()).unwrap();
        assert_eq!(schema["connect.name"], "dbserver1.public.orders.Envelope");

        let (status, body) = answer(&registry, "/schemas/ids/9").await;
        assert_eq!(status, "HTTP/1.1 404 Not Found");
        assert_eq!(body["error_code"], 40403);
    }
}
