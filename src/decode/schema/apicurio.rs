//! Apicurio's own API: schemas by the two kinds of ids that Confluent's does not know.

use std::collections::HashSet;

use reqwest::{Client, StatusCode};
use serde::Deserialize;

use crate::decode::RegisteredSchema;
use crate::settings::IdKind;

/// A version of the API.
struct Version {
    path: &'static str,
    /// What ends the path of an artifact's text.
    content: &'static str,
}

/// The versions, the newest first.
const VERSIONS: [Version; 2] =
    [Version { path: "v3", content: "/content" }, Version { path: "v2", content: "" }];

/// What a schema refers to.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reference {
    group_id: Option<String>,
    artifact_id: String,
    version: String,
}

impl Reference {
    fn path(&self) -> String {
        let Self { group_id, artifact_id, version } = self;
        let group = group_id.as_deref().unwrap_or("default");
        format!("groups/{group}/artifacts/{artifact_id}/versions/{version}")
    }
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
        kind: IdKind,
        id: i64,
    ) -> Result<Option<RegisteredSchema>, reqwest::Error> {
        let ids = match kind {
            IdKind::Global => "globalIds",
            IdKind::Content => "contentIds",
        };
        let path = format!("ids/{ids}/{id}");
        for version in &VERSIONS {
            if let Some(text) = self.get(version, &path).await? {
                let references = self.references(version, &path).await?;
                return Ok(Some(RegisteredSchema { text, references }));
            }
        }
        Ok(None)
    }

    /// Fetches what a schema refers to, however deep. The API would put it in place for one kind of
    /// id, but not for the other.
    async fn references(
        &self,
        version: &Version,
        path: &str,
    ) -> Result<Vec<String>, reqwest::Error> {
        let mut seen = HashSet::new();
        let mut open = self.listed(version, path).await?;
        let mut texts = Vec::new();
        while let Some(artifact) = open.pop() {
            if seen.contains(&artifact) {
                continue;
            }
            let text = self.get(version, &format!("{artifact}{}", version.content)).await?;
            texts.extend(text);
            open.extend(self.listed(version, &artifact).await?);
            seen.insert(artifact);
        }
        Ok(texts)
    }

    /// Lists the paths of what a schema refers to itself.
    async fn listed(&self, version: &Version, path: &str) -> Result<Vec<String>, reqwest::Error> {
        let listed = self.get(version, &format!("{path}/references")).await?;
        let listed = listed.and_then(|text| serde_json::from_str::<Vec<Reference>>(&text).ok());
        Ok(listed.unwrap_or_default().iter().map(Reference::path).collect())
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
