//! Apicurio's own API: schemas by the two kinds of ids that Confluent's does not know.

use reqwest::{Client, StatusCode};
use serde::Deserialize;

use crate::decode::RegisteredSchema;

/// A version of the API.
struct Version {
    path: &'static str,
    /// Asks for references to be put in place.
    whole: &'static str,
    /// What ends the path of an artifact's text.
    content: &'static str,
}

/// The versions, the newest first.
const VERSIONS: [Version; 2] = [
    Version { path: "v3", whole: "references=DEREFERENCE", content: "/content" },
    Version { path: "v2", whole: "dereference=true", content: "" },
];

/// What a schema refers to.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    group_id: Option<String>,
    artifact_id: String,
    version: String,
}

/// Apicurio's two kinds of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `globalId`.
    Global,
    /// `contentId`.
    Content,
}

/// A client of the API.
#[derive(Clone, Debug)]
pub struct Apicurio {
    root: String,
    client: Client,
}

impl Apicurio {
    /// Asks the registry whose API, of any kind, is at the URL.
    pub fn new(url: &str, client: Client) -> Self {
        let root = url.split("/apis/").next().unwrap_or_default();
        Self { root: root.trim_end_matches('/').to_owned(), client }
    }

    /// Returns the schema of an id with those it refers to; `None` when there is none.
    ///
    /// # Errors
    ///
    /// The registry does not answer, or refuses to.
    pub async fn schema(
        &self,
        kind: Kind,
        id: i64,
    ) -> Result<Option<RegisteredSchema>, reqwest::Error> {
        for version in &VERSIONS {
            let schema = match kind {
                Kind::Global => {
                    let path = format!("ids/globalIds/{id}?{}", version.whole);
                    let text = self.get(version, &path).await?;
                    text.map(|text| RegisteredSchema { text, references: Vec::new() })
                }
                Kind::Content => self.content(version, id).await?,
            };
            if schema.is_some() {
                return Ok(schema);
            }
        }
        Ok(None)
    }

    /// Returns a text by its own id, for which references are not put in place.
    async fn content(
        &self,
        version: &Version,
        id: i64,
    ) -> Result<Option<RegisteredSchema>, reqwest::Error> {
        let Some(text) = self.get(version, &format!("ids/contentIds/{id}")).await? else {
            return Ok(None);
        };
        let listed = self.get(version, &format!("ids/contentIds/{id}/references")).await?;
        let listed = listed.and_then(|text| serde_json::from_str::<Vec<Reference>>(&text).ok());
        let mut references = Vec::new();
        for Reference { group_id, artifact_id, version: number } in listed.unwrap_or_default() {
            let group = group_id.as_deref().unwrap_or("default");
            let Version { whole, content, .. } = version;
            let artifact = format!("groups/{group}/artifacts/{artifact_id}");
            let path = format!("{artifact}/versions/{number}{content}?{whole}");
            references.extend(self.get(version, &path).await?);
        }
        Ok(Some(RegisteredSchema { text, references }))
    }

    /// Asks once; `None` when there is nothing.
    async fn get(&self, version: &Version, path: &str) -> Result<Option<String>, reqwest::Error> {
        let url = format!("{}/apis/registry/{}/{path}", self.root, version.path);
        let answer = self.client.get(url).send().await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        answer.error_for_status()?.text().await.map(Some)
    }
}
