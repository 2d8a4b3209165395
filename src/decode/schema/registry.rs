//! The registry: schemas by their ids.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use schema_registry_converter::async_impl::schema_registry::{
    SrSettings, get_all_subjects, get_referenced_schema, get_schema_by_guid, get_schema_by_id,
};
use schema_registry_converter::error::SRCError;
use schema_registry_converter::schema_registry_common::{
    RegisteredReference, RegisteredSchema as Found,
};

use crate::decode::schema::apicurio::Apicurio;
use crate::decode::{RegisteredSchema, SchemaId};
use crate::settings::{self, IdKind};

/// How long one question may take.
const ASK_WAIT: Duration = Duration::from_secs(10);

/// Where schemas come from; each question is one attempt.
pub trait Schemas: Send + Sync {
    /// Returns a schema with those it refers to; `None` when there is none of that id.
    fn schema(
        &self,
        id: SchemaId,
    ) -> BoxFuture<'_, Result<Option<RegisteredSchema>, RegistryError>>;
}

/// A schema registry; a handle, cheap to clone. It remembers nothing: the decoder does.
#[derive(Clone, Debug)]
pub struct Registry {
    url: Arc<str>,
    client: Arc<SrSettings>,
    apicurio: Apicurio,
    use_id: Option<IdKind>,
}

/// The registry does not answer, or refuses to.
#[derive(Debug, thiserror::Error)]
#[error("schema registry \"{url}\": {what}")]
pub struct RegistryError {
    url: String,
    what: String,
}

impl Registry {
    /// Makes a client; nothing is asked yet.
    ///
    /// # Errors
    ///
    /// The settings make no HTTP client.
    pub fn new(settings: &settings::Registry) -> Result<Self, RegistryError> {
        let mut builder = SrSettings::new_builder(settings.url.clone());
        builder.no_proxy().set_timeout(ASK_WAIT);
        if let Some(user) = &settings.user {
            let password = settings.password.as_ref().map(settings::Secret::expose);
            builder.set_basic_authorization(user.expose(), password);
        }
        let url: Arc<str> = settings.url.as_str().into();
        let client = builder.build().map_err(|error| error_of(&url, error))?;
        let apicurio = Apicurio::new(settings, ASK_WAIT);
        let apicurio = apicurio.map_err(|error| Self::silent(&url, &error))?;
        Ok(Self { url, client: Arc::new(client), apicurio, use_id: settings.use_id })
    }

    /// Asks whether the registry answers and lets us in.
    ///
    /// # Errors
    ///
    /// It does not.
    pub async fn check(&self) -> Result<(), RegistryError> {
        match get_all_subjects(&self.client).await {
            Ok(_) => Ok(()),
            // A registry may serve schemas without listing subjects.
            Err(error) if is_missing(&error) => Ok(()),
            Err(error) => Err(error_of(&self.url, error)),
        }
    }

    /// Returns a schema with those it refers to; `None` when the registry says that there is none
    /// of that id.
    ///
    /// # Errors
    ///
    /// The registry does not answer, or refuses to: a later try may succeed.
    pub async fn schema(&self, id: SchemaId) -> Result<Option<RegisteredSchema>, RegistryError> {
        let found = match (id, self.use_id) {
            (SchemaId::Plain(id), Some(kind)) => return self.of_apicurio(kind, id.into()).await,
            (SchemaId::Wide(id), Some(kind)) => return self.of_apicurio(kind, id).await,
            (SchemaId::Plain(id), None) => get_schema_by_id(id, &self.client).await,
            (SchemaId::Guid(id), _) => get_schema_by_guid(&id.to_string(), &self.client).await,
            (SchemaId::Global(id), _) => return self.of_apicurio(IdKind::Global, id).await,
            (SchemaId::Content(id), _) => return self.of_apicurio(IdKind::Content, id).await,
            (SchemaId::Wide(id), None) => return self.of_either(id).await,
        };
        let found = match found {
            Ok(found) => found,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(error_of(&self.url, error)),
        };
        let references = self.references(&found).await?;
        Ok(Some(RegisteredSchema { text: found.schema, references }))
    }

    async fn of_apicurio(
        &self,
        kind: IdKind,
        id: i64,
    ) -> Result<Option<RegisteredSchema>, RegistryError> {
        let schema = self.apicurio.schema(kind, id).await;
        schema.map_err(|error| Self::silent(&self.url, &error))
    }

    /// Fetches the schema of an id that does not say of which kind it is: only where that makes no
    /// difference it is known.
    async fn of_either(&self, id: i64) -> Result<Option<RegisteredSchema>, RegistryError> {
        let global = self.of_apicurio(IdKind::Global, id).await?;
        let content = self.of_apicurio(IdKind::Content, id).await?;
        match (global, content) {
            (Some(global), Some(content)) if global != content => {
                let what = format!(
                    "{id} of eight bytes names one schema as a globalId and another as a \
                     contentId: say by --schema-registry-use-id which of them the converter writes"
                );
                Err(RegistryError { url: self.url.to_string(), what })
            }
            (global, content) => Ok(global.or(content)),
        }
    }

    fn silent(url: &str, error: &reqwest::Error) -> RegistryError {
        RegistryError { url: url.to_owned(), what: error.to_string() }
    }

    /// Fetches what a schema refers to, however deep.
    async fn references(&self, schema: &Found) -> Result<Vec<String>, RegistryError> {
        let name = |reference: &RegisteredReference| (reference.subject.clone(), reference.version);
        let mut seen = HashSet::new();
        let mut open = schema.references.clone();
        let mut texts = Vec::new();
        while let Some(reference) = open.pop() {
            if !seen.insert(name(&reference)) {
                continue;
            }
            let found = get_referenced_schema(&self.client, &reference).await;
            let found = found.map_err(|error| error_of(&self.url, error))?;
            open.extend(found.references);
            texts.push(found.schema);
        }
        Ok(texts)
    }
}

impl Schemas for Registry {
    fn schema(
        &self,
        id: SchemaId,
    ) -> BoxFuture<'_, Result<Option<RegisteredSchema>, RegistryError>> {
        Box::pin(self.schema(id))
    }
}

/// The library tells an HTTP status only in its text.
fn is_missing(error: &SRCError) -> bool {
    error.error.contains("status 404")
}

fn error_of(url: &str, error: SRCError) -> RegistryError {
    let what = match error.cause {
        Some(cause) => format!("{}: {cause}", error.error),
        None => error.error,
    };
    RegistryError { url: url.to_owned(), what }
}
